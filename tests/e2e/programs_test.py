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

import msgpack
import zmq

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

    def make_keys(self, **roles):
        """A key file for each name; those with a role are on the list of peers."""
        rows = []
        for name, role in roles.items():
            public = json.loads(run(PROGRAMS + "/ballast", "keygen", "--json", self.path(name)).stdout)["public"]
            if role:
                rows.append(f'[[peer]]\nname = "{name}"\nrole = "{role}"\nkey = "{public}"\n')
        with open(self.path("peers"), "w", encoding="utf-8") as out:
            out.writelines(rows)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def secured(self, name, more=""):
        return f'{more}\n[security]\nkeys = "{self.path(name)}"\npeers = "{self.path("peers")}"\n'

    def start_secured(self):
        self.make_keys(coordinator=None, a0="agent", a1="agent", alice="operator", carol="client", olaf="observer", eve=None)
        coordinator = self.start(PROGRAMS + "/ballast-coordinator", "--config",
                                 self.config(more='store = "memory"', data=self.secured("coordinator")))
        ports = [word for word in coordinator.ready.split() if word.startswith("tcp://")]
        self.at = ["--coordinator", ports[0], "--events", ports[1]]
        for name in ("a0", "a1"):
            path = self.config(name + ".toml", ranks=1, coordinator=ports[0],
                               data=self.secured(name, 'data = "tcp://127.0.0.1:*"'))
            self.start(PROGRAMS + "/ballast-agent", "--config", path, "--name", name)
        return coordinator

    def logs(self):
        return "".join(line for service in self.services for line in service.log)

    def test_with_keys_everybody_does_what_the_list_says_and_nobody_else_anything(self):
        coordinator = self.start_secured()
        keys = {name: ["--keys", self.path(name)] for name in ("alice", "carol", "olaf", "eve")}
        answered = self.client(*keys["carol"], "request", "--model", "m", "--steps", 5)
        self.assertTrue(answered[-1]["done"])
        watching = subprocess.Popen(["/usr/bin/python3", CLIENT, *self.at, *keys["olaf"], "watch"], stdout=subprocess.PIPE, text=True)
        while watching.poll() is None:  # until it has connected and heard of one
            self.assertEqual(self.ballast("scale", "--to", 1, *keys["alice"])["outcome"], "done")
            self.assertEqual(self.ballast("scale", "--to", 2, *keys["alice"])["outcome"], "done")
        self.assertIn("sequence", json.loads(watching.communicate()[0]))
        for name, words in (("carol", ["scale", "--to", "1"]), ("olaf", ["scale", "--to", "1"]), ("carol", ["ops"])):
            done = run(PROGRAMS + "/ballast", *words, *self.at, *keys[name], code=1)
            self.assertIn(f"/{name} to send here", done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        refused = run("/usr/bin/python3", CLIENT, *self.at, *keys["olaf"], "--patience", "3", "request", "--model", "m", code=1)
        self.assertIn("not for observer/olaf", refused.stderr)
        unknown = run(PROGRAMS + "/ballast", "status", *self.at, *keys["eve"], "--timeout", "1", code=1)
        self.assertEqual(len(unknown.stderr.strip().splitlines()), 1, unknown.stderr)
        plain = [word.split("?")[0] for word in self.at]
        run(PROGRAMS + "/ballast", "status", *plain, "--timeout", "1", code=1)
        self.assertIn("this process has none", run(PROGRAMS + "/ballast", "status", *self.at, code=1).stderr)
        again = self.client(*keys["carol"], "request", "--model", "m", "--steps", 5)
        self.assertEqual([o["sha256"] for o in answered[:-1]], [o["sha256"] for o in again[:-1]])
        log = self.logs()
        self.assertIn("turned away", log)
        self.assertIn("not for client/carol to send here", log)
        for name in ("coordinator", "a0", "a1", *keys):
            with open(self.path(name), encoding="utf-8") as file:
                secret = file.read().split('secret = "')[1][:64]
            self.assertNotIn(secret, log + coordinator.ready)

    def test_a_replayed_command_is_answered_as_before_and_does_nothing(self):
        self.serve()
        self.client("request", "--model", "m", "--steps", 3)
        frame = msgpack.packb({"v": 1, "type": "scale_request", "id": 5, "sender": "me", "body": {"request": "once", "ranks": 3}})
        answers = []
        for _ in range(3):  # each from a socket of its own, as by somebody who has listened
            with zmq.Context.instance().socket(zmq.DEALER) as socket:
                socket.linger = 0
                socket.connect(self.ports["coordinator"])
                socket.send(frame)
                self.assertTrue(socket.poll(60_000))
                answers.append(msgpack.unpackb(socket.recv())["body"])
        self.assertEqual(answers, [answers[0]] * 3)
        self.assertEqual(self.ballast("scale", "--to", 2)["outcome"], "done")
        with zmq.Context.instance().socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.connect(self.ports["coordinator"])
            socket.send(frame)
            self.assertTrue(socket.poll(60_000))
            self.assertEqual(msgpack.unpackb(socket.recv())["body"], answers[0])
        self.assertEqual(sum(s["state"] == "active" for s in self.client("status")[0]["seats"]), 2)

    def test_what_would_be_spoken_in_the_clear_beyond_this_host_is_refused(self):
        done = run(PROGRAMS + "/ballast-coordinator", "--config", self.config(more='store = "memory"'), "--bind", "tcp://0.0.0.0:*", code=1)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertIn("ballast keygen", done.stderr)
        run(PROGRAMS + "/ballast", "keygen", self.path("mine"))
        twice = run(PROGRAMS + "/ballast", "keygen", self.path("mine"), code=1)
        self.assertIn("not overwritten", twice.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
