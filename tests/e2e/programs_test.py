#!/usr/bin/python3
"""The programs as their users run them: `ballast serve`, the operator's verbs, a client in another language, an agent killed
with SIGKILL. Usage: programs_test.py FOLDER_OF_PROGRAMS. Processes are ended by their pid."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
import zlib

PROGRAMS = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "."
CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ballast_client.py")

CONFIG = """
[coordinator]
bind = "tcp://127.0.0.1:*"
events = "tcp://127.0.0.1:*"
initial_ranks = {initial}
num_redundant_experts = 4
load_interval_steps = 4
{more}
[agent]
coordinator = "{coordinator}"
ranks = {ranks}
slots_per_layer = 16
spare_pages = 4
{data}
[[model]]
name = "m"
seed = 3
layers = 2
experts = 16
top_k = 2
hidden = 32
intermediate = 16
"""


def run(*command, code=0, patience=120):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=patience)
    if code is not None and done.returncode != code:
        raise AssertionError(f"{command}: exit {done.returncode}, wanted {code}\n{done.stdout}\n{done.stderr}")
    return done


class Service:
    """A process that prints one line when it is ready."""

    def __init__(self, *command):
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.log = []
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        self.ready = self.process.stdout.readline()
        if not self.ready:
            raise AssertionError(f"{command} did not start: {''.join(self.log)}")

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


class Programs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.services = []
        self.addCleanup(self.end)

    def end(self):
        for service in reversed(self.services):
            service.stop()
        self.folder.cleanup()

    def config(self, name="ballast.toml", **values):
        values = {"initial": 2, "ranks": 3, "coordinator": "tcp://127.0.0.1:1", "data": "", "more": "", **values}
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(CONFIG.format(**values))
        return path

    def start(self, *command):
        self.services.append(Service(*command))
        return self.services[-1]

    def serve(self, **values):
        service = self.start(PROGRAMS + "/ballast", "serve", "--json", "--config", self.config(**values))
        self.ports = json.loads(service.ready)
        self.at = ["--coordinator", self.ports["coordinator"], "--events", self.ports["events"]]
        return service

    def ballast(self, *words, **options):
        done = run(PROGRAMS + "/ballast", *words, *self.at, "--json", **options)
        return json.loads(done.stdout)

    def client(self, *words, **options):
        lines = run("/usr/bin/python3", CLIENT, *self.at, *words, **options).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def test_a_client_in_another_language_scales_watches_and_streams(self):
        self.serve()
        quiet = self.client("request", "--model", "m", "--steps", 5)
        self.assertTrue(quiet[-1]["done"])
        watching = subprocess.Popen(["/usr/bin/python3", CLIENT, *self.at, "watch", "--count", "1"], stdout=subprocess.PIPE, text=True)
        scaled = self.client("scale", "--to", 3)
        self.assertEqual(scaled[-1]["outcome"], "done")
        self.client("scale", "--to", 2)
        self.assertIn("sequence", json.loads(watching.communicate(timeout=60)[0]))
        self.assertEqual(sum(s["state"] == "active" for s in self.client("status")[0]["seats"]), 2)
        again = self.client("request", "--model", "m", "--steps", 5)
        self.assertEqual([o["sha256"] for o in quiet[:-1]], [o["sha256"] for o in again[:-1]], "the same bits on any ranks")

    def test_an_operators_verbs_answer_in_json_and_refuse_in_one_line(self):
        self.serve()
        self.client("request", "--model", "m", "--steps", 3)
        self.assertEqual(self.ballast("scale", "--to", 3)["outcome"], "done")
        self.assertEqual(self.ballast("scale", "--seats", "0,2")["outcome"], "done")
        self.ballast("rebalance", "--dry-run")
        self.ballast("ops")
        bench = self.ballast("bench", "--concurrency", 4, "--num-requests", 20, "--tokens", 2, "--steps", 4)
        self.assertEqual(bench["requests_failed"], 0)
        for wrong in (["scale", "--to", "9"], ["scale", "--seats", "0,77"], ["abort", "4711"]):
            done = run(PROGRAMS + "/ballast", *wrong, *self.at, code=1)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        run(PROGRAMS + "/ballast", "juggle", code=2)
        nobody = run(PROGRAMS + "/ballast", "status", "--coordinator", "tcp://127.0.0.1:9", code=1)
        self.assertEqual(len(nobody.stderr.strip().splitlines()), 1, nobody.stderr)

    def test_bad_settings_end_a_program_with_one_line(self):
        broken = [("more", "num_redundant_expert = 4"), ("ranks", "0"), ("initial", "9"), ("more", "policy = \"magic\"")]
        for key, value in broken:
            path = self.config(**{key: value})
            done = run(PROGRAMS + "/ballast", "serve", "--config", path, code=1, patience=30)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertIn("ballast.toml", done.stderr)

    def test_loads_are_recorded_until_a_kill_and_plan_the_next_start(self):
        recording = os.path.join(self.folder.name, "loads.jsonl.gz")
        first = self.serve(more=f'record_stats = "{recording}"\nshares_interval_ms = 10')
        for _ in range(2):
            self.ballast("bench", "--concurrency", 4, "--num-requests", 40, "--tokens", 2, "--steps", 8)
        self.assertEqual(first.stop(signal.SIGKILL), -signal.SIGKILL)
        with open(recording, "rb") as packed:
            text = zlib.decompressobj(31).decompress(packed.read()).decode()
        self.assertTrue(text.endswith("\n"))
        meta, *records = (json.loads(line) for line in text.splitlines())
        self.assertEqual([meta[k] for k in ("record_type", "num_layers", "num_logical_experts")], ["eplb_load_meta", 2, 16])
        self.assertGreater(len(records), 10)
        for record in records:  # what the experts got is what the ranks got
            for layer in range(2):
                self.assertEqual(sum(record["expert_load"][layer]), sum(record["rank_load"][layer]))
        self.serve(more=f'read_stats = "{recording}"')
        self.assertTrue(self.client("request", "--model", "m", "--steps", 3)[-1]["done"])
        other = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "small-drift-s1.jsonl.gz")
        refused = run(PROGRAMS + "/ballast", "serve", "--config", self.config(more=f'read_stats = "{other}"'), code=1)
        self.assertIn("4 layers of 16 experts, but m has 2 layers of 16; record this model", refused.stderr)
        absent = run(PROGRAMS + "/ballast", "serve", "--config", self.config(more='read_stats = "nowhere"'), code=1)
        self.assertIn("nowhere", absent.stderr)
        self.assertEqual(len(absent.stderr.strip().splitlines()), 1, absent.stderr)

    def test_a_killed_agent_is_replaced_and_its_requests_are_answered(self):
        coordinator = self.start(PROGRAMS + "/ballast-coordinator", "--config",
                                 self.config(more='heartbeat_timeout_ms = 500\nstore = "memory"'))
        ports = [word.strip(",") for word in coordinator.ready.split() if word.strip(",").startswith("tcp://")]
        self.at = ["--coordinator", ports[0], "--events", ports[1]]
        agents = []
        for number in range(3):
            path = self.config(f"a{number}.toml", ranks=1, coordinator=ports[0],
                               data=f'data = "ipc://{self.folder.name}/d{number}-*"')
            agents.append(self.start(PROGRAMS + "/ballast-agent", "--config", path, "--name", f"a{number}"))
        before = self.client("request", "--model", "m", "--steps", 4)
        running = subprocess.Popen([PROGRAMS + "/ballast", "bench", *self.at, "--json", "--concurrency", "4", "--num-requests",
                                    "400", "--tokens", "2", "--steps", "40"], stdout=subprocess.PIPE, text=True)
        self.client("request", "--model", "m", "--steps", 50)  # the bench is under way, too
        active = [s["agent"] for s in self.client("status")[0]["seats"] if s["state"] == "active"]
        victim = agents[int(active[0][1:])]
        self.assertEqual(victim.stop(signal.SIGKILL), -signal.SIGKILL)
        result = json.loads(running.communicate(timeout=120)[0])
        self.assertEqual(result["requests_failed"], 0)
        after = self.client("request", "--model", "m", "--steps", 4)
        self.assertEqual([o["sha256"] for o in before[:-1]], [o["sha256"] for o in after[:-1]])


if __name__ == "__main__":
    unittest.main(verbosity=2)
