#!/usr/bin/python3
"""What the coordinator's store costs and gives, on processes under load: the time from a restart after SIGKILL to the moment
that every serving seat was heard and nothing is under way, and seconds of forced rebalances with a store in memory and in a
file. Usage: restart_figures.py FOLDER_OF_PROGRAMS [--kills N] [--rebalances N]. A tool: built with the tests, run by hand."""
import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time

import msgpack
import zmq

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("programs")
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--rebalances", type=int, default=10)
parser.add_argument("--ranks", type=int, default=4)
args = parser.parse_args()

CONFIG = """
[coordinator]
bind = "tcp://127.0.0.1:{port}"
events = "tcp://127.0.0.1:{events}"
store = "{store}"
initial_ranks = {ranks}
num_redundant_experts = 16
policy = "fresh"
step_interval = 0
load_interval_steps = 4
[agent]
coordinator = "tcp://127.0.0.1:{port}"
slots_per_layer = 48
spare_pages = 8
data = "ipc://{folder}/data-*"
[[model]]
name = "m"
seed = 3
layers = 8
experts = 128
top_k = 8
hidden = 64
intermediate = 32
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Deployment:
    def __init__(self, folder, store):
        self.port, self.events, self.children = free_port(), free_port(), []
        self.config = os.path.join(folder, "ballast.toml")
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(CONFIG.format(port=self.port, events=self.events, store=store, ranks=args.ranks, folder=folder))
        self.at = ["--coordinator", f"tcp://127.0.0.1:{self.port}", "--events", f"tcp://127.0.0.1:{self.events}"]
        self.socket, self.last = None, 0
        self.start_coordinator()
        self.agents = [self.child("ballast-agent", "--config", self.config, "--name", f"a{n}") for n in range(args.ranks)]
        self.wait_for_all(steps=0)
        self.load = self.child("ballast", "bench", *self.at, "--concurrency", "8", "--duration", "100000", "--tokens", "2", "--steps", "16")

    def child(self, program, *words):
        log = open(os.path.join(os.path.dirname(self.config), program + ".log"), "a", encoding="utf-8")
        process = subprocess.Popen([os.path.join(args.programs, program), *words], stdout=log, stderr=log)
        self.children.append(process)
        return process

    def start_coordinator(self):
        self.coordinator = self.child("ballast-coordinator", "--config", self.config)

    def ask(self, kind, body, patience=0.05):
        """None if it was refused, or no answer came: then the next question goes over a new connection."""
        if self.socket is None:
            self.socket = zmq.Context.instance().socket(zmq.DEALER)
            self.socket.linger, self.socket.reconnect_ivl = 0, 5
            self.socket.connect(f"tcp://127.0.0.1:{self.port}")
        self.last += 1
        self.socket.send(msgpack.packb({"v": 1, "type": kind, "id": self.last, "sender": "figures", "body": body}))
        while self.socket.poll(patience * 1000):
            answer = msgpack.unpackb(self.socket.recv())
            if answer["id"] == self.last:
                return None if answer["type"] == "refused" else answer["body"]
        self.socket.close()
        self.socket = None
        return None

    def wait_for_all(self, steps=1):
        """Every seat serves and was heard by this coordinator (it tells of no step before), and nothing is under way."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            state = self.ask("get_status", {})
            if state and sum(s["state"] == "active" and s["step"] >= steps for s in state["seats"]) == args.ranks:
                if all(o["outcome"] != "running" for o in state["operations"]):
                    return state
            time.sleep(0.002)
        raise SystemExit("not reconciled within a minute")

    def end(self):
        for process in reversed(self.children):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


def spread(values, unit):
    values = sorted(values)
    return {"median": round(statistics.median(values), 1), "least": round(values[0], 1), "most": round(values[-1], 1),
            "n": len(values), "unit": unit}


def restarts(folder):
    d = Deployment(folder, f"sqlite://{folder}/state.db")
    took, lives = [], {s["seat"]: s["incarnation"] for s in d.wait_for_all()["seats"]}
    for number in range(args.kills):
        if number % 2:  # every other time while experts move
            d.ask("rebalance_request", {"request": f"r{number}", "force": True}, patience=5)
        d.coordinator.send_signal(signal.SIGKILL)
        d.coordinator.wait()
        begun = time.monotonic()
        d.start_coordinator()
        state = d.wait_for_all()
        took.append((time.monotonic() - begun) * 1000)
        if {s["seat"]: s["incarnation"] for s in state["seats"]} != lives:
            raise SystemExit("a seat had to join again")
    d.load.send_signal(signal.SIGINT)
    d.end()
    return spread(took, "ms")


def rebalances(folder, store):
    d = Deployment(folder, store)
    milliseconds, seen = [], 0
    while len(milliseconds) < args.rebalances:
        steps = d.ask("get_status", {}, patience=5)["steps"]
        if steps < seen + 200:  # for other loads than the last time
            time.sleep(0.01)
            continue
        seen = steps
        operation = d.ask("rebalance_request", {"request": f"at{steps}", "force": True}, patience=5)["operation"]
        found = []
        while not found or found[0]["outcome"] == "running":
            found = [o for o in d.ask("get_operations", {}, patience=5)["operations"] if o["id"] == operation]
            time.sleep(0.002)
        if found[0]["pages_copied"]:
            milliseconds.append(found[0]["seconds"] * 1000)
    d.end()
    return spread(milliseconds, "ms")


with tempfile.TemporaryDirectory() as place:
    print(json.dumps({"reconciled": restarts(place)}), flush=True)
for kind in ("memory", "sqlite"):
    with tempfile.TemporaryDirectory() as place:
        where = "memory" if kind == "memory" else f"sqlite://{place}/state.db"
        print(json.dumps({"rebalance": rebalances(place, where), "store": kind}), flush=True)
