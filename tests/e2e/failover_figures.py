#!/usr/bin/python3
"""How long a takeover takes: three coordinators over one etcd, agents under load; the leading coordinator is killed with
SIGKILL, every other time while experts move, and the time is taken until another one leads and has heard every serving
seat. Exit status 0: each took less than --bar seconds, every operation was carried out once and ended, no seat had to join
again, no request was lost. Usage: failover_figures.py FOLDER_OF_PROGRAMS [--kills N]. A tool: run by hand."""
import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import msgpack
import zmq

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("programs")
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--ranks", type=int, default=3)
parser.add_argument("--bar", type=float, default=3.0, help="seconds")
args = parser.parse_args()

COORDINATORS = 3
CONFIG = """
[coordinator]
store = "etcd://127.0.0.1:{etcd}/figures"
initial_ranks = {ranks}
num_redundant_experts = 16
policy = "fresh"
step_interval = 0
load_interval_steps = 4
[agent]
coordinator = "{gateways}"
slots_per_layer = 24
spare_pages = 8
data = "ipc://{folder}/data-*"
[[model]]
name = "m"
seed = 3
layers = 4
experts = 32
top_k = 4
hidden = 64
intermediate = 32
"""


def free_ports(count):
    held = [socket.socket() for _ in range(count)]
    for probe in held:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in held]
    for probe in held:
        probe.close()
    return ports


class Deployment:
    def __init__(self, folder):
        self.folder, self.children, self.asked = folder, [], 0
        ports = free_ports(2 + 2 * COORDINATORS)
        etcd, peer = ports[:2]
        self.gateways = [f"tcp://127.0.0.1:{p}" for p in ports[2::2]]
        self.events = [f"tcp://127.0.0.1:{p}" for p in ports[3::2]]
        self.sockets = [self.connected(n) for n in range(COORDINATORS)]
        self.config = os.path.join(folder, "ballast.toml")
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(CONFIG.format(etcd=etcd, ranks=args.ranks, folder=folder, gateways=",".join(self.gateways)))
        client, peers = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
        self.child("etcd", shutil.which("etcd"), "--name", "m", "--data-dir", os.path.join(folder, "etcd"),
                   "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peers,
                   "--initial-advertise-peer-urls", peers, "--initial-cluster", f"m={peers}")
        self.coordinators = [self.start_coordinator(n) for n in range(COORDINATORS)]
        for n in range(args.ranks):
            self.child(f"agent-{n}", self.program("ballast-agent"), "--config", self.config, "--name", f"a{n}")
        self.wait_for_all(steps=0)
        self.load = self.child("load", self.program("ballast"), "bench", "--json", "--coordinator", ",".join(self.gateways),
                               "--events", ",".join(self.events), "--concurrency", "8", "--duration", "100000", "--tokens", "2",
                               "--steps", "16")

    def program(self, name):
        return os.path.join(args.programs, name)

    def child(self, name, *words):
        with open(os.path.join(self.folder, name + ".log"), "a", encoding="utf-8") as log:
            self.children.append(subprocess.Popen(words, stdout=log, stderr=log))
        return self.children[-1]

    def start_coordinator(self, number):
        return self.child(f"coordinator-{number}", self.program("ballast-coordinator"), "--config", self.config, "--bind",
                          self.gateways[number], "--events", self.events[number])

    def connected(self, number):
        dealer = zmq.Context.instance().socket(zmq.DEALER)
        dealer.linger, dealer.reconnect_ivl, dealer.immediate, dealer.sndtimeo = 0, 5, 1, 0
        dealer.connect(self.gateways[number])
        return dealer

    def ask_one(self, number, kind, body, patience):
        """None: not there, or it does not lead, or refuses."""
        self.asked += 1
        dealer = self.sockets[number]
        try:
            dealer.send(msgpack.packb({"v": 1, "type": kind, "id": self.asked, "sender": "figures", "body": body}))
        except zmq.Again:
            return None
        while dealer.poll(patience * 1000):
            answer = msgpack.unpackb(dealer.recv())
            if answer["id"] == self.asked:
                return None if answer["type"] in ("refused", "standby") else answer["body"]
        return None

    def ask(self, kind, body, patience=0.05):
        """Who leads, and its answer."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            for number in range(COORDINATORS):
                answer = self.ask_one(number, kind, body, patience)
                if answer is not None:
                    return number, answer
            time.sleep(0.002)
        raise SystemExit("nobody leads for a minute")

    def wait_for_all(self, steps=1, idle=True):
        """Every seat serves and was heard by the coordinator that leads now (it tells of no step before)."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            leader, state = self.ask("get_status", {})
            heard = sum(s["state"] == "active" and s["step"] >= steps for s in state["seats"]) == args.ranks
            if heard and not (idle and any(o["outcome"] == "running" for o in state["operations"])):
                return leader, state
            time.sleep(0.002)
        raise SystemExit("not every seat was heard within a minute")

    def end_load(self):
        """And what it tells of itself."""
        self.load.send_signal(signal.SIGINT)
        self.load.wait(60)
        with open(os.path.join(self.folder, "load.log"), encoding="utf-8") as log:
            return json.loads([line for line in log if line.startswith("{")][-1])

    def end(self):
        for process in reversed(self.children):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def incarnations(state):
    return {s["seat"]: s["incarnation"] for s in state["seats"]}


def takeovers(d):
    took, faults = [], []
    for number in range(args.kills):
        leader, state = d.wait_for_all()
        lives, request = incarnations(state), {"request": f"r{number}", "force": True}
        operation = None
        if number % 2:
            _, answer = d.ask("rebalance_request", request, patience=5)
            operation = answer["operation"]
        d.coordinators[leader].kill()
        begun = time.monotonic()
        d.coordinators[leader].wait()
        d.wait_for_all(idle=False)
        took.append(time.monotonic() - begun)
        _, state = d.wait_for_all()
        if incarnations(state) != lives:
            faults.append(f"kill {number}: a seat had to join again")
        if operation is not None:
            _, again = d.ask("rebalance_request", request, patience=5)
            found = [o for o in state["operations"] if o["id"] == operation]
            if again["operation"] != operation or len(found) != 1 or found[0]["outcome"] == "running":
                faults.append(f"kill {number}: operation {operation} was lost or carried out twice: {found}, again as {again}")
        d.coordinators[leader] = d.start_coordinator(leader)
        print(json.dumps({"kill": number, "seconds": round(took[-1], 3), "operation": operation}), flush=True)
    return took, faults


if not shutil.which("etcd"):
    print("skipped: etcd is not installed; deploy/install-deps.sh installs it")
    sys.exit(77)
with tempfile.TemporaryDirectory() as place:
    deployment = Deployment(place)
    try:
        seconds, wrong = takeovers(deployment)
        load = deployment.end_load()
    finally:
        deployment.end()
if load["requests_failed"] or not load["requests_answered"]:
    wrong.append("requests were lost")
in_time = sum(s < args.bar for s in seconds)
print(json.dumps({"takeover": {"median": round(statistics.median(seconds), 3), "least": round(min(seconds), 3),
                               "most": round(max(seconds), 3), "n": len(seconds), "unit": "s"},
                  "below_bar": in_time, "bar": args.bar, "faults": wrong, "answered": load["requests_answered"],
                  "failed": load["requests_failed"]}))
sys.exit(0 if in_time == len(seconds) and not wrong else 1)
