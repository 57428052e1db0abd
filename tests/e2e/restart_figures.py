#!/usr/bin/python3
"""What the coordinator's store costs and gives, on processes under load: the time from a restart after SIGKILL to the moment
that every serving seat was heard (reconciled), and that nothing is under way any more (ended), where every other kill falls
into the copies of a rebalance; and seconds of forced rebalances with a store in memory and in a file. Exit status 0: each restart was
reconciled within --bar milliseconds, no seat had to join again, no operation was lost, no request failed.
Usage: restart_figures.py FOLDER_OF_PROGRAMS [--kills N] [--rebalances N]. A tool: run by hand."""
import argparse
import json
import sys
import tempfile
import time

from figures import Deployment, incarnations, spread

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("programs")
parser.add_argument("--kills", type=int, default=20)
parser.add_argument("--rebalances", type=int, default=10)
parser.add_argument("--ranks", type=int, default=4)
parser.add_argument("--bar", type=float, default=1000.0, help="milliseconds")
args = parser.parse_args()

SHAPE = {"slots": 48, "layers": 8, "experts": 128, "top_k": 8}


def rebalance_of_other_loads(d):
    """The number of a rebalance that was asked for when the loads had changed since the last one."""
    first = d.wait_for_all()[1]["steps"]
    while (steps := d.wait_for_all()[1]["steps"]) < first + 200:
        time.sleep(0.01)
    return d.rebalance(f"at{steps}")


def found(state, operation):
    return next((o for o in state["operations"] if o["id"] == operation), None)


def copies_begin(d, operation):
    """Of a rebalance under way: False if it moved nothing."""
    while True:
        state = found(d.ask("get_status", {})[1], operation)
        if state["pages_copied"] or state["outcome"] != "running":
            return state["outcome"] == "running"


def restarts(d):
    took, faults, in_copies = {"reconciled": [], "ended": []}, [], 0
    lives = incarnations(d.wait_for_all()[1])
    for number in range(args.kills):
        operation = rebalance_of_other_loads(d) if number % 2 else None
        in_copies += operation is not None and copies_begin(d, operation)
        d.kill_coordinator()
        begun = time.monotonic()
        d.coordinators[0] = d.start_coordinator()
        d.wait_for_all(idle=False)
        took["reconciled"].append((time.monotonic() - begun) * 1000)
        _, state = d.wait_for_all()
        took["ended"].append((time.monotonic() - begun) * 1000)
        if incarnations(state) != lives:
            faults.append(f"kill {number}: a seat had to join again")
        if operation is not None and not found(state, operation):
            faults.append(f"kill {number}: operation {operation} was lost")
    return took, faults, in_copies


def rebalances(d):
    milliseconds = []
    while len(milliseconds) < args.rebalances:
        operation = rebalance_of_other_loads(d)
        done = found(d.wait_for_all()[1], operation)
        if done["pages_copied"]:
            milliseconds.append(done["seconds"] * 1000)
    return milliseconds


def measured(store, measure):
    with tempfile.TemporaryDirectory() as place:
        d = Deployment(args.programs, place, args.ranks)
        try:
            d.start(store.format(place=place), SHAPE)
            return measure(d), d.end_load()
        finally:
            d.end()


SQLITE = "sqlite://{place}/state.db"
(times, wrong, during), load = measured(SQLITE, restarts)
if load["requests_failed"] or not load["requests_answered"]:
    wrong.append("requests were lost")
in_time = sum(ms < args.bar for ms in times["reconciled"])
print(json.dumps({**{what: spread(values, "ms") for what, values in times.items()}, "in_copies": during, "below_bar": in_time,
                  "bar": args.bar, "faults": wrong, "answered": load["requests_answered"], "failed": load["requests_failed"]}), flush=True)
for kind, where in (("memory", "memory"), ("sqlite", SQLITE)):
    print(json.dumps({"rebalance": spread(measured(where, rebalances)[0], "ms"), "store": kind}), flush=True)
sys.exit(0 if in_time == args.kills and not wrong else 1)
