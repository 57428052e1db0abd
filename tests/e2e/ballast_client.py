#!/usr/bin/python3
"""A client of Ballast written from messages/PROTOCOL.md alone. Prints JSON, one object a line.
Exit status: 0 done; 1 refused, aborted, failed or no answer; 2 wrong usage."""
import argparse
import hashlib
import json
import random
import struct
import sys
import time
import tomllib
import uuid

import msgpack
import zmq


def fail(text):
    sys.exit("ballast_client: " + text)


def show(what):
    print(json.dumps(what), flush=True)


class Channel:
    """A DEALER to a coordinator or a front end, or a SUB to a coordinator's events."""

    keys = None  # of this process: the table of its key file

    def __init__(self, address, kind=zmq.DEALER):
        self.address, self.last_id = address, 0
        self.socket = zmq.Context.instance().socket(kind)
        self.socket.linger = 0
        if kind == zmq.SUB:
            self.socket.subscribe(b"")
        endpoint, _, server = address.partition("?key=")
        if server:
            if not Channel.keys:
                fail("%s expects a key; give --keys" % endpoint)
            self.socket.curve_serverkey = bytes.fromhex(server)
            self.socket.curve_publickey = bytes.fromhex(Channel.keys["public"])
            self.socket.curve_secretkey = bytes.fromhex(Channel.keys["secret"])
        self.socket.connect(endpoint)

    def send(self, kind, body):
        self.last_id += 1
        self.socket.send(msgpack.packb({"v": 1, "type": kind, "id": self.last_id, "sender": "python", "body": body}))
        return self.last_id

    def receive(self, seconds):
        """The next envelope, or None if none comes in time."""
        return msgpack.unpackb(self.socket.recv()) if self.socket.poll(max(0, int(seconds * 1000))) else None

    def ask(self, kind, body, patience=10):
        """The answer to a request, which is sent again while there is none."""
        asked, begun = set(), time.monotonic()
        while time.monotonic() < begun + patience:
            asked.add(self.send(kind, body))
            answer = self.receive(1)
            while answer is not None and answer["id"] not in asked:
                answer = self.receive(1)
            if answer is not None and answer["type"] == "refused":
                fail("{code}: {text}".format(**answer["body"]["failure"]))
            if answer is not None:
                return answer["body"]
        fail("%s does not answer %s within %d s" % (self.address, kind, patience))


def watch(args, _control):
    events, seen = Channel(args.events, zmq.SUB), None
    for _ in range(args.count):
        event = events.receive(args.patience)
        if event is None:
            fail("no event within %d s" % args.patience)
        show({**event["body"], "gap": seen not in (None, event["body"]["sequence"] - 1)})
        seen = event["body"]["sequence"]


def scale(args, control):
    events = Channel(args.events, zmq.SUB)  # before the command, so that nothing of it is missed
    operation = control.ask("scale_request", {"request": uuid.uuid4().hex, "ranks": args.to})["operation"]
    show({"accepted": operation})
    give_up, shown = time.monotonic() + args.patience, None
    while time.monotonic() < give_up:
        event = events.receive(1)  # events may be lost: without any, ask
        states = event["body"]["operation"] if event else control.ask("get_operations", {})["operations"]
        for state in states:
            if state["id"] != operation or (state["phase"], state["outcome"]) == shown:
                continue
            shown = state["phase"], state["outcome"]
            show({"by": "event" if event else "asking", **state})
            if state["outcome"] == "done":
                return
            if state["outcome"] != "running":
                fail("operation %d %s: %s" % (operation, state["outcome"], state["reason"]))
    fail("operation %d is not done within %d s" % (operation, args.patience))


def channel_to(control, avoid, patience):
    """To any front end with an active seat, another than `avoid` if there is one."""
    begun = time.monotonic()
    while time.monotonic() < begun + patience:
        found = {s["front_end"] for s in control.ask("get_status", {})["seats"] if s["state"] == "active"} - {""}
        if found:
            return Channel(random.choice(sorted(found - {avoid} or found)))
        time.sleep(0.1)
    fail("no seat is active")


def request(args, control):
    channel, due, progress = channel_to(control, None, args.patience), 0, time.monotonic()
    widths = {m["name"]: args.hidden or m.get("hidden") for m in control.ask("get_status", {})["models"]}
    if not widths.get(args.model):
        fail("model %s is not served, or its width is not told (then give --hidden)" % args.model)
    draw, values = random.Random(args.seed), args.tokens * widths[args.model]
    hidden = struct.pack("<%df" % values, *(draw.uniform(-1, 1) for _ in range(values)))
    name, have, moves, sends = "python-" + uuid.uuid4().hex, 0, 0, 0
    while have < args.steps:
        if time.monotonic() > progress + args.patience:
            fail("step %d of %s did not come within %d s" % (have, name, args.patience))
        if time.monotonic() >= due:  # at first, after a move, a refusal or a silence: from where we stand
            channel.send("inference_request", {"id": name, "model": args.model, "tokens": args.tokens, "steps": args.steps,
                                               "first_step": have, "hidden": hidden})
            sends, due = sends + 1, time.monotonic() + 2
        message = channel.receive(due - time.monotonic())
        kind, body = (message["type"], message["body"]) if message else (None, {})
        if kind == "inference_output" and body["id"] == name and body["step"] == have:
            have, hidden = have + 1, body["hidden"]
            progress, due = time.monotonic(), time.monotonic() + 2
            show({"step": body["step"], "sha256": hashlib.sha256(hidden).hexdigest(), "from": channel.address})
        elif kind == "request_moved" and body["id"] == name:
            channel, moves, due = Channel(body["front_end"]), moves + 1, 0
            show({"moved_to": channel.address, "next_step": body["next_step"]})
        elif kind is None or kind in ("request_refused", "refused"):
            if kind and body["failure"]["code"] != "unavailable":
                fail("{code}: {text}".format(**body["failure"]))
            time.sleep(0.1 if kind else 0)
            channel, due = channel_to(control, channel.address, args.patience), 0
    show({"done": True, "steps": have, "moves": moves, "sends": sends})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coordinator", default="tcp://127.0.0.1:7070")
    parser.add_argument("--events", default="tcp://127.0.0.1:7071")
    parser.add_argument("--keys", help="key file of `ballast keygen`, where the addresses expect one")
    parser.add_argument("--patience", type=float, default=60, help="seconds without progress before giving up")
    verbs = parser.add_subparsers(required=True)
    verbs.add_parser("status").set_defaults(run=lambda _, control: show(control.ask("get_status", {})))
    for run, options in ((watch, {"--count": 1}), (scale, {"--to": None}),
                         (request, {"--model": None, "--tokens": 4, "--steps": 8, "--hidden": 0, "--seed": 1})):
        verb = verbs.add_parser(run.__name__)
        verb.set_defaults(run=run)
        for option, default in options.items():
            verb.add_argument(option, type=str if option == "--model" else int, default=default, required=default is None)
    args = parser.parse_args()
    if args.keys:
        with open(args.keys, "rb") as file:
            Channel.keys = tomllib.load(file)
    args.run(args, Channel(args.coordinator))


main()
