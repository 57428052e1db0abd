#!/usr/bin/python3
"""A partition between hosts: two network namespaces, joined by a veth pair that is cut under load and joined again, before
and after the silence is noticed. Nothing is lost, the answers have the same bits, and a rank that was given up comes
back as a new incarnation. Needs root and `ip netns`; skipped elsewhere (exit 77).
Usage: partition_test.py FOLDER_OF_PROGRAMS"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAMS = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "."
CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ballast_client.py")
LEFT, RIGHT = f"ballast-pl{os.getpid()}", f"ballast-pr{os.getpid()}"
AT = {LEFT: "10.213.78.1", RIGHT: "10.213.78.2"}
GATEWAY = ["--coordinator", f"tcp://{AT[LEFT]}:7070", "--events", f"tcp://{AT[LEFT]}:7071"]
OPERATOR = [*GATEWAY, "--insecure"]

CONFIG = """
[coordinator]
bind = "tcp://{left}:7070"
events = "tcp://{left}:7071"
initial_ranks = 2
num_redundant_experts = 4
load_interval_steps = 4
heartbeat_timeout_ms = 4000
store = "memory"
[agent]
coordinator = "tcp://{left}:7070"
front_end = "tcp://{here}:*"
data = "tcp://{here}:*"
slots_per_layer = 20
spare_pages = 4
[security]
insecure = true
[[model]]
name = "m"
seed = 3
layers = 2
experts = 16
top_k = 2
hidden = 32
intermediate = 16
"""


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True)


def why_not():
    if os.geteuid() != 0:
        return "must run as root, to make network namespaces"
    if shutil.which("ip") is None:
        return "there is no ip (package iproute2)"
    for space in (LEFT, RIGHT):
        made = ip("netns", "add", space)
        if made.returncode != 0:
            return f"no network namespace can be made: {made.stderr.strip()}"
    made = ip("link", "add", "bal0", "netns", LEFT, "type", "veth", "peer", "name", "bal0", "netns", RIGHT)
    if made.returncode != 0:
        return f"no veth pair can be made: {made.stderr.strip()}"
    return None


class Partition(unittest.TestCase):
    def setUp(self):
        for space, address in AT.items():
            ip("-n", space, "address", "replace", f"{address}/30", "dev", "bal0")
            ip("-n", space, "link", "set", "bal0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        self.folder = tempfile.TemporaryDirectory()
        self.processes = []
        self.addCleanup(self.end)
        self.start(LEFT, "ballast-coordinator")
        for space, name in ((LEFT, "a0"), (RIGHT, "a1"), (LEFT, "a2")):
            self.start(space, "ballast-agent", "--name", name, "--node", space)
            self.wait(lambda n=name: self.seat(n))
        self.wait(lambda: len(self.active()) == 2)
        if "a1" not in self.active():
            self.ballast("scale", "--seats", ",".join(str(self.seat(n)["seat"]) for n in ("a0", "a1")))
        self.before = self.request()

    def end(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait(60)
            process.stdout.close()
        self.folder.cleanup()

    def start(self, space, program, *words):
        path = os.path.join(self.folder.name, f"{space}.toml")
        with open(path, "w", encoding="utf-8") as out:
            out.write(CONFIG.format(left=AT[LEFT], here=AT[space]))
        with open(os.path.join(self.folder.name, "log"), "a", encoding="utf-8") as log:
            process = subprocess.Popen(["ip", "netns", "exec", space, f"{PROGRAMS}/{program}", "--config", path, *words],
                                       stdout=subprocess.PIPE, stderr=log, text=True)
        self.processes.append(process)
        self.assertTrue(process.stdout.readline(), f"{program} did not start")

    def run_left(self, *words):
        done = subprocess.run(["ip", "netns", "exec", LEFT, *words], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def ballast(self, *words):
        return json.loads(self.run_left(f"{PROGRAMS}/ballast", *words, *OPERATOR, "--json"))

    def request(self):
        lines = self.run_left("/usr/bin/python3", CLIENT, *GATEWAY, "request", "--model", "m", "--steps", "6").splitlines()
        return [json.loads(line)["sha256"] for line in lines[:-1]]

    def seats(self):
        return self.ballast("status")["seats"]

    def seat(self, agent):
        return next((s for s in self.seats() if s["agent"] == agent), None)

    def active(self):
        return sorted(s["agent"] for s in self.seats() if s["state"] == "active")

    def wait(self, holds):  # every look takes a process and a round trip
        for _ in range(2000):
            if holds():
                return
        self.fail("it did not come true")

    def load(self):
        return subprocess.Popen(["ip", "netns", "exec", LEFT, f"{PROGRAMS}/ballast", "bench", *OPERATOR, "--json", "--concurrency",
                                 "6", "--tokens", "2", "--steps", "16", "--duration", "600"],
                                stdout=subprocess.PIPE, text=True)

    def cut(self):
        self.assertEqual(ip("-n", RIGHT, "link", "set", "bal0", "down").returncode, 0)

    def heal(self):
        self.assertEqual(ip("-n", RIGHT, "link", "set", "bal0", "up").returncode, 0)

    def end_load(self, load):
        load.send_signal(2)
        result = json.loads(load.communicate(timeout=120)[0])
        self.assertEqual(result["requests_failed"], 0)
        self.assertEqual(result["requests_answered"], result["requests_sent"])
        self.assertGreater(result["requests_answered"], 0)
        self.assertEqual(self.request(), self.before, "the same bits as before")

    def test_healed_before_it_is_noticed_costs_a_pause(self):
        load = self.load()
        self.cut()
        seen = self.run_left(f"{PROGRAMS}/ballast", "watch", *OPERATOR, "--seconds", "1")
        self.heal()
        self.assertNotIn("lost", seen)
        self.request()
        self.assertEqual([s["incarnation"] for s in self.seats()], [1, 1, 1], "nobody was given up")
        self.assertEqual(self.active(), ["a0", "a1"])
        self.end_load(load)

    def test_healed_after_it_was_noticed_brings_the_rank_back_as_another_incarnation(self):
        load = self.load()
        self.cut()
        self.wait(lambda: self.seat("a1")["state"] == "lost")
        self.wait(lambda: self.active() == ["a0", "a2"])
        self.assertEqual(self.request(), self.before)
        self.heal()
        self.wait(lambda: self.seat("a1")["incarnation"] == 2 and self.seat("a1")["state"] == "idle")
        self.ballast("scale", "--to", "3")
        self.assertEqual(self.active(), ["a0", "a1", "a2"])
        self.end_load(load)


if __name__ == "__main__":
    REASON = why_not()
    if REASON is None:
        OUTCOME = unittest.main(verbosity=2, exit=False).result
    for one in (LEFT, RIGHT):
        ip("netns", "del", one)
    if REASON is not None:
        print("skip: " + REASON)
        sys.exit(77)
    sys.exit(0 if OUTCOME.wasSuccessful() else 1)
