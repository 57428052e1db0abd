"""What the tools that measure real deployments share: processes under load, questions to the coordinator that leads, and
the spread of what was measured."""
import json
import os
import signal
import socket
import statistics
import subprocess
import time

import msgpack
import zmq

CONFIG = """
[coordinator]
store = "{store}"
initial_ranks = {ranks}
num_redundant_experts = 16
policy = "fresh"
step_interval = 0
load_interval_steps = 4
[agent]
coordinator = "{gateways}"
slots_per_layer = {slots}
spare_pages = 8
data = "ipc://{folder}/data-*"
[[model]]
name = "m"
seed = 3
layers = {layers}
experts = {experts}
top_k = {top_k}
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
    """One coordinator or several over one store, and agents of one rank each."""

    def __init__(self, programs, folder, ranks, coordinators=1):
        self.programs, self.folder, self.ranks = programs, folder, ranks
        self.children, self.asked = [], 0
        ports = free_ports(2 * coordinators)
        self.gateways = [f"tcp://127.0.0.1:{p}" for p in ports[0::2]]
        self.events = [f"tcp://127.0.0.1:{p}" for p in ports[1::2]]
        self.sockets = [self.connected(n) for n in range(coordinators)]
        self.config = os.path.join(folder, "ballast.toml")

    def start(self, store, shape):
        """Until every seat serves, then with clients. `shape`: slots (a layer's, of a rank), layers, experts, top_k."""
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(CONFIG.format(store=store, ranks=self.ranks, folder=self.folder, gateways=",".join(self.gateways), **shape))
        self.coordinators = [self.start_coordinator(n) for n in range(len(self.gateways))]
        for n in range(self.ranks):
            self.child(f"agent-{n}", self.program("ballast-agent"), "--config", self.config, "--name", f"a{n}")
        self.wait_for_all(steps=0)
        self.load = self.child("load", self.program("ballast"), "bench", "--json", "--coordinator", ",".join(self.gateways),
                               "--events", ",".join(self.events), "--concurrency", "8", "--duration", "100000", "--tokens", "2",
                               "--steps", "16")

    def program(self, name):
        return os.path.join(self.programs, name)

    def child(self, name, *words):
        with open(os.path.join(self.folder, name + ".log"), "a", encoding="utf-8") as log:
            self.children.append(subprocess.Popen(words, stdout=log, stderr=log))
        return self.children[-1]

    def start_coordinator(self, number=0):
        return self.child(f"coordinator-{number}", self.program("ballast-coordinator"), "--config", self.config, "--bind",
                          self.gateways[number], "--events", self.events[number])

    def kill_coordinator(self, number=0):
        self.coordinators[number].kill()
        self.coordinators[number].wait()

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
            for number in range(len(self.gateways)):
                answer = self.ask_one(number, kind, body, patience)
                if answer is not None:
                    return number, answer
            time.sleep(0.002)
        raise SystemExit("no coordinator answers for a minute")

    def rebalance(self, request):
        """Asked for, under that name: the operation's number."""
        return self.ask("rebalance_request", {"request": request, "force": True}, patience=5)[1]["operation"]

    def wait_for_all(self, steps=1, idle=True):
        """Every seat serves and was heard by the coordinator that leads now (it tells of no step before)."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            leader, state = self.ask("get_status", {})
            heard = sum(s["state"] == "active" and s["step"] >= steps for s in state["seats"]) == self.ranks
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


def spread(values, unit, digits=1):
    return {"median": round(statistics.median(values), digits), "least": round(min(values), digits),
            "most": round(max(values), digits), "n": len(values), "unit": unit}
