#!/usr/bin/env python3
"""Report pages in headless Chromium: page_check.py BALLAST DATA. Exit status 77: there is no Chromium."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import chromium

BALLAST, DATA = "", ""

PIXELS = """[...document.querySelectorAll('.heat canvas')].map(c =>
    c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((h, x) => (h * 31 + x) >>> 0, 7))"""
EVIL = "</script><img src=x onerror=window.broken=1>{{data}}"
settled = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def ballast(*words):
    subprocess.run([BALLAST, *words], check=True, stdout=subprocess.DEVNULL)


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.browser = chromium.Browser()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.addClassCleanup(cls.browser.__exit__)
        drift, shift = (os.path.join(DATA, f"small-{kind}.jsonl.gz") for kind in ("drift-s1", "shift-s3"))
        sizes = ["--ranks", "4", "--redundant", "4"]
        ballast("report", "--stats", drift, *sizes, "--out", cls.path("one"))
        ballast("report", "--stats", f"{drift},{shift}", *sizes, "--policy", "economy,deepseek", "--out", cls.path("many"))
        ballast("simulate", "--stats", drift, *sizes, "--policy", "economy,deepseek,fresh", "--json", cls.path("sim"))
        ballast("report", "--simulation", cls.path("sim"), "--out", cls.path("simulated"))
        cls.write_evil()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name + ".html")

    @classmethod
    def write_evil(cls):
        records = [{"record_type": "eplb_load_meta", "version": 1, "model": EVIL, "num_ranks": 1, "num_groups": 1,
                    "num_nodes": 1, "num_layers": 1, "num_redundant_experts": 0}]
        records += [{"record_type": "eplb_load_stats", "version": 1, "step": i, "expert_load": [[1, 2, 3, i % 7]]}
                    for i in range(1, 33)]
        stats = os.path.join(cls.folder.name, "evil.jsonl")
        with open(stats, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        ballast("report", "--stats", stats, "--ranks", "2", "--out", cls.path("evil"))

    def open(self, name, width=1280, height=900, touch=False, colours="light"):
        self.browser.errors.clear()
        self.browser.requests.clear()
        self.browser.size(width, height, 2 if touch else 1, touch)
        self.browser.colours(colours)
        self.browser.open(self.path(name))
        self.browser.ask(settled)

    def ask(self, expression):
        return self.browser.ask(expression)

    def step(self, number):
        self.ask(f"(s => {{ s.value = {number}; s.dispatchEvent(new Event('input')); }})(document.getElementById('slider'))")

    def assert_clean(self):
        self.assertEqual(self.browser.errors, [])
        self.assertEqual([url for url in self.browser.requests if not url.startswith("file://")], [])
        self.assertLessEqual(len(self.browser.requests), 1, "only the page itself")
        self.assertEqual(self.ask("document.documentElement.dataset.ready"), "yes")

    def test_every_chart_is_drawn(self):
        for name, canvases, charts in (("one", 2, 6), ("many", 2, 7), ("simulated", 0, 3)):
            with self.subTest(name):
                self.open(name)
                self.assert_clean()
                self.assertEqual(self.ask("document.querySelectorAll('.heat canvas').length"), canvases)
                visible = "[...document.querySelectorAll('main svg')].filter(s => s.getBoundingClientRect().height > 0)"
                self.assertGreaterEqual(self.ask(visible + ".length"), charts)
                self.assertTrue(self.ask(visible + ".every(s => s.querySelector('rect, path, circle'))"))
                self.assertFalse(self.ask("/NaN|undefined|Infinity/.test(document.querySelector('main').innerHTML)"))

    def test_the_slider_changes_heat_maps_and_words(self):
        self.open("one")
        before, said = self.ask(PIXELS), self.ask("document.getElementById('where').textContent")
        self.assertNotEqual(before[0], before[1], "the even layout is another one than the planned")
        self.step(9)
        after = self.ask(PIXELS)
        self.assertNotEqual(before[0], after[0])
        self.assertNotEqual(before[1], after[1])
        self.assertIn("rebalance 10 of 21", self.ask("document.getElementById('where').textContent"))
        self.assertNotEqual(said, self.ask("document.getElementById('where').textContent"))
        self.step(0)
        self.assertEqual(before, self.ask(PIXELS))

    def test_the_keyboard_moves_the_slider(self):
        self.open("one")
        self.ask("document.getElementById('slider').focus()")
        self.browser.press("ArrowRight", 39)
        self.assertIn("rebalance 2 of 21", self.ask("document.getElementById('slider').getAttribute('aria-valuetext')"))

    def test_play_goes_on_by_itself_and_stops(self):
        self.open("one")
        self.step(18)
        self.ask("document.getElementById('play').click()")
        self.assertEqual(self.ask("document.getElementById('play').getAttribute('aria-pressed')"), "true")
        self.ask("""new Promise(done => new MutationObserver((_, all) => {
            if (document.getElementById('play').getAttribute('aria-pressed') === 'false') all.disconnect(), done();
        }).observe(document.getElementById('play'), {attributes: true}))""")
        self.assertEqual(self.ask("document.getElementById('slider').value"), "20")

    def test_other_runs_can_be_chosen(self):
        self.open("many")
        names = self.ask("[...document.getElementById('right').options].map(o => o.text)")
        self.assertEqual(len(names), 6)
        before = self.ask(PIXELS)
        self.ask(f"(s => {{ s.value = {names.index('deepseek, small-shift')}; s.dispatchEvent(new Event('change')); }})"
                 "(document.getElementById('right'))")
        self.assertNotEqual(before[1], self.ask(PIXELS)[1])
        self.assertEqual(self.ask("document.querySelector('#heat-right .panel-title span:nth-child(2)').textContent"),
                         "deepseek, small-shift")
        self.ask("document.querySelector('#scatter circle').dispatchEvent(new MouseEvent('click'))")
        self.assertEqual(self.ask("document.getElementById('right').selectedOptions[0].text"), "economy, small-drift")
        self.assert_clean()

    def test_nothing_is_wider_than_a_phone(self):
        for name in ("one", "many", "simulated", "evil"):
            for width in (320, 390, 768):
                with self.subTest(name=name, width=width):
                    self.open(name, width, 844, touch=True)
                    self.assertLessEqual(self.ask("document.documentElement.scrollWidth"), width)
                    self.assert_clean()

    def test_light_and_dark_differ(self):
        paper = "getComputedStyle(document.body).backgroundColor"
        self.open("one", colours="light")
        light = self.ask(paper)
        self.open("one", colours="dark")
        self.assertNotEqual(light, self.ask(paper))

    def test_charts_and_controls_have_names(self):
        self.open("many")
        self.assertTrue(self.ask("[...document.querySelectorAll('[role=img]')].every(e => e.getAttribute('aria-label'))"))
        self.assertTrue(self.ask("""[...document.querySelectorAll('main select, main input, main button')].every(
            e => e.getAttribute('aria-label') || e.textContent.trim())"""))

    def test_names_of_recordings_stay_words(self):
        self.open("evil")
        self.assert_clean()
        self.assertIsNone(self.ask("window.broken"))
        self.assertEqual(self.ask("document.images.length"), 0)
        self.assertIn(EVIL, self.ask("document.title"))
        self.assertIn(EVIL, self.ask("document.getElementById('lead').textContent"))


if __name__ == "__main__":
    BALLAST, DATA = sys.argv[1:3]
    if chromium.program() is None:
        print("skipped: no chromium on the path; deploy/install-deps.sh --browser brings one")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
