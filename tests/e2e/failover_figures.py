#!/usr/bin/python3
"""How long a takeover takes: three coordinators over one etcd, agents under load; the leading coordinator is killed with
SIGKILL, every other time while experts move, and the time is taken until another one leads and has heard every serving
seat. Exit status 0: each took less than --bar seconds, every operation was carried out once and ended, no seat had to join
again, no request was lost. Usage: failover_figures.py FOLDER_OF_PROGRAMS [--kills N]. A tool: run by hand."""
import argparse
import json
import os
import shutil
import sys
import tempfile
import time

from figures import Deployment, free_ports, incarnations, spread

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("programs")
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--ranks", type=int, default=3)
parser.add_argument("--bar", type=float, default=3.0, help="seconds")
args = parser.parse_args()

SHAPE = {"slots": 24, "layers": 4, "experts": 32, "top_k": 4}


def start_etcd(d):
    """The address of the store in it."""
    client, peers = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    d.child("etcd", shutil.which("etcd"), "--name", "m", "--data-dir", os.path.join(d.folder, "etcd"),
            "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peers,
            "--initial-advertise-peer-urls", peers, "--initial-cluster", f"m={peers}")
    return client.replace("http://", "etcd://") + "/figures"


def takeovers(d):
    took, faults = [], []
    for number in range(args.kills):
        leader, state = d.wait_for_all()
        lives, request = incarnations(state), f"r{number}"
        operation = d.rebalance(request) if number % 2 else None
        begun = time.monotonic()
        d.kill_coordinator(leader)
        d.wait_for_all(idle=False)
        took.append(time.monotonic() - begun)
        _, state = d.wait_for_all()
        if incarnations(state) != lives:
            faults.append(f"kill {number}: a seat had to join again")
        if operation is not None:
            again, found = d.rebalance(request), [o for o in state["operations"] if o["id"] == operation]
            if again != operation or len(found) != 1 or found[0]["outcome"] == "running":
                faults.append(f"kill {number}: operation {operation} was lost or carried out twice: {found}, again as {again}")
        d.coordinators[leader] = d.start_coordinator(leader)
        print(json.dumps({"kill": number, "seconds": round(took[-1], 3), "operation": operation}), flush=True)
    return took, faults


if not shutil.which("etcd"):
    print("skipped: etcd is not installed; deploy/install-deps.sh installs it")
    sys.exit(77)
with tempfile.TemporaryDirectory() as place:
    deployment = Deployment(args.programs, place, args.ranks, coordinators=3)
    try:
        deployment.start(start_etcd(deployment), SHAPE)
        seconds, wrong = takeovers(deployment)
        load = deployment.end_load()
    finally:
        deployment.end()
if load["requests_failed"] or not load["requests_answered"]:
    wrong.append("requests were lost")
in_time = sum(s < args.bar for s in seconds)
print(json.dumps({"takeover": spread(seconds, "s", digits=3), "below_bar": in_time, "bar": args.bar, "faults": wrong,
                  "answered": load["requests_answered"], "failed": load["requests_failed"]}))
sys.exit(0 if in_time == len(seconds) and not wrong else 1)
