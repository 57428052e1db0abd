#!/usr/bin/python3
"""A coordinator and two agents as processes, a GPU each, under load: 1 -> 2 ranks and back, a rebalance, a SIGKILL, and many
scale cycles. One line a figure; exit status 0 only if no request failed and every operation ended well.
Usage: two_processes.py FOLDER_OF_PROGRAMS [--backend cuda|host] [--layers N] [--cycles N]. Processes are ended by their pid."""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("programs")
parser.add_argument("--backend", default="cuda")
parser.add_argument("--exchange", default="")
parser.add_argument("--layers", type=int, default=8)
parser.add_argument("--experts", type=int, default=128)
parser.add_argument("--hidden", type=int, default=2048)
parser.add_argument("--intermediate", type=int, default=768)
parser.add_argument("--gpus", type=int, default=2, help="1: both share the first one; times while two ranks run then tell little")
parser.add_argument("--cycles", type=int, default=20)
parser.add_argument("--seconds", type=float, default=2)
parser.add_argument("--logs", default="", help="folder to keep the programs' logs in; they then log every command")
args = parser.parse_args()

CONFIG = """
[coordinator]
bind = "tcp://127.0.0.1:*"
events = "tcp://127.0.0.1:*"
store = "memory"
initial_ranks = 1
num_redundant_experts = {redundant}
step_interval = 0
heartbeat_ms = 10
heartbeat_timeout_ms = 120
command_retry_ms = 200
[agent]
coordinator = "{coordinator}"
backend = "{backend}"
first_gpu = {gpu}
max_members = 2
transfer_gbps = {gbps}
ranks = 1
slots_per_layer = {experts}
spare_pages = {spare}
data = "ipc://{folder}/{name}-*"
{exchange}
[[model]]
name = "m"
checkpoint = "{folder}/model"
"""

folder = tempfile.TemporaryDirectory()
running, failures = [], []


def figure(name, **values):
    print(name, " ".join(f"{k}={v:.3f}" if isinstance(v, float) else f"{k}={v}" for k, v in values.items()), flush=True)


def check(holds, what):
    if not holds:
        failures.append(what)
        print("FAILED:", what, flush=True)


def config(name, **values):
    path = os.path.join(folder.name, name + ".toml")
    with open(path, "w", encoding="utf-8") as out:
        out.write(CONFIG.format(folder=folder.name, name=name, backend=args.backend, experts=args.experts, redundant=args.experts // 8, spare=args.experts // 8 * 8, gbps=100,
                                exchange=f'exchange = "{args.exchange}"' if args.exchange else "", **values))
    return path


def start(*command):
    verbose = ["--verbose"] if args.logs else []
    with open(os.path.join(args.logs or folder.name, f"log{len(running)}"), "w", encoding="utf-8") as log:
        process = subprocess.Popen([str(c) for c in command] + verbose, stdout=subprocess.PIPE, stderr=log, text=True)
    running.append(process)
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{command} did not start: " + open(log.name, encoding="utf-8").read())
    return process, line


def ballast(*words):
    done = subprocess.run([os.path.join(args.programs, "ballast"), *[str(w) for w in words], *at, "--json"],
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        check(False, f"ballast {' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
        return {}
    return json.loads(done.stdout)


def load(concurrency, seconds):
    return subprocess.Popen([os.path.join(args.programs, "ballast"), "bench", *at, "--json", "--concurrency", str(concurrency),
                             "--tokens", "4", "--steps", "64", "--duration", str(seconds)], stdout=subprocess.PIPE, text=True)


def result(process):
    out = process.communicate(timeout=300)[0]
    report = json.loads(out) if out else {"requests_failed": -1}
    check(report["requests_failed"] == 0, f"requests failed: {report['requests_failed']}")
    return report


def quiet(name, concurrency):
    report = result(load(concurrency, args.seconds))
    figure(name, tokens_per_s=report["output_token_throughput"], step_p50_ms=report["itl_ms"]["median"],
           step_p99_ms=report["itl_ms"]["p99"], answered=report["requests_answered"])
    return report


def during(name, concurrency, *words):
    traffic = load(concurrency, 3600)
    wait_for_steps()
    began = time.monotonic()
    done = ballast(*words)
    spent = time.monotonic() - began
    wait_for_steps()
    traffic.send_signal(signal.SIGINT)
    report = result(traffic)
    check(done.get("outcome") == "done", f"{name}: {done.get('outcome')} {done.get('reason')}")
    figure(name, command_to_done_s=spent, operation_s=done.get("seconds", -1.0), pages=done.get("pages_copied", -1),
           step_p50_ms=report["itl_ms"]["median"], step_p99_ms=report["itl_ms"]["p99"], step_max_ms=report["itl_ms"]["max"],
           failed=report["requests_failed"])


def status():
    return ballast("status")


def wait_for_steps(more=20):
    goal = status()["steps"] + more
    while status()["steps"] < goal:
        pass


def wait_active(wanted):
    while sum(s["state"] == "active" for s in status()["seats"]) != wanted:
        pass


def resources(processes):
    out = []
    for p in processes:
        fields = dict(line.split(":", 1) for line in open(f"/proc/{p.pid}/status", encoding="utf-8") if ":" in line)
        out.append({"rss_mib": int(fields["VmRSS"].split()[0]) // 1024, "threads": int(fields["Threads"]),
                    "descriptors": len(os.listdir(f"/proc/{p.pid}/fd"))})
    return out


def gpu_mib():
    if not shutil.which("nvidia-smi"):
        return []
    done = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True,
                          text=True, check=False)
    return [int(x) for x in done.stdout.split()] if done.returncode == 0 else []


def cycles(agents, count):
    traffic = load(16, 3600)
    wait_for_steps()
    samples = []
    for i in range(count):
        for ranks in (2, 1):
            done = ballast("scale", "--to", ranks)
            check(done.get("outcome") == "done", f"cycle {i}: scale to {ranks}: {done.get('reason')}")
        if i in (count // 4, count - 1):
            samples.append((resources(agents), gpu_mib()))
    traffic.send_signal(signal.SIGINT)
    result(traffic)
    for (name, sample), gpu in zip(zip(("quarter", "end"), [s[0] for s in samples]), [s[1] for s in samples]):
        for number, use in enumerate(sample):
            figure(f"cycles={count} after={name} agent={number}", **use, gpu_mib=gpu[number] if number < len(gpu) else -1)


def kill(agents):
    ballast("scale", "--to", 2)
    traffic = load(16, 3600)
    wait_for_steps()
    active = [s for s in status()["seats"] if s["state"] == "active"]
    victim = agents[1]
    began = time.monotonic()
    victim.send_signal(signal.SIGKILL)  # it ends some time later: the driver gives the memory of its GPU back first
    wait_active(1)
    fenced = time.monotonic() - began
    wait_for_steps(2)
    spent = time.monotonic() - began
    victim.wait()
    wait_for_steps()
    traffic.send_signal(signal.SIGINT)
    report = result(traffic)
    figure("kill", active_before=len(active), seen_lost_s=fenced, steps_again_s=spent, step_max_ms=report["itl_ms"]["max"],
           failed=report["requests_failed"], resends=report["resends"])


def make_checkpoint():
    subprocess.run([os.path.join(args.programs, "ballast"), "make-checkpoint", os.path.join(folder.name, "model"), "--layers",
                    str(args.layers), "--experts", str(args.experts), "--top-k", str(min(8, args.experts // 2)), "--hidden",
                    str(args.hidden), "--intermediate", str(args.intermediate)], check=True, stdout=subprocess.DEVNULL)


try:
    began = time.monotonic()
    make_checkpoint()
    figure("checkpoint", seconds=time.monotonic() - began)
    _, line = start(os.path.join(args.programs, "ballast-coordinator"), "--config", config("c", coordinator="tcp://127.0.0.1:1", gpu=0))
    ports = [word.strip(",") for word in line.split() if word.strip(",").startswith("tcp://")]
    at = ["--coordinator", ports[0], "--events", ports[1]]
    began = time.monotonic()
    agents = [start(os.path.join(args.programs, "ballast-agent"), "--config", config(f"a{n}", coordinator=ports[0], gpu=n % args.gpus),
                    "--name", f"a{n}")[0] for n in range(2)]
    wait_active(1)
    figure("loaded", layers=args.layers, seconds=time.monotonic() - began)
    one = quiet("one_rank", 16)
    during("scale_1_to_2", 16, "scale", "--to", 2)
    two = quiet("two_ranks", 32)
    figure("throughput_ratio", of=two["output_token_throughput"] / one["output_token_throughput"])
    during("rebalance", 32, "rebalance", "--force")
    during("scale_2_to_1", 16, "scale", "--to", 1)
    cycles(agents, args.cycles)
    kill(agents)
finally:
    for process in reversed(running):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    if failures or sys.exc_info()[0]:
        for name in sorted(os.listdir(folder.name)):
            if name.startswith("log"):
                print(f"== {name}", "".join(open(os.path.join(folder.name, name), encoding="utf-8").readlines()[-15:]), sep="\n")
    folder.cleanup()
sys.exit(1 if failures else 0)
