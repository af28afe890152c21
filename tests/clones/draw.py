"""A server that draws from every source of random numbers that Python has: once before it awaits its
first line, and once for each line. Each line it prints is one JSON object, name -> value."""

import json
import os
import random
import secrets
import socket
import ssl
import sys
import tempfile
import time
import uuid

own = random.Random()
fixed = random.Random(7)


def text(path):
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def draw():
    return {
        "random": repr(random.random()),
        "own": repr(own.random()),
        "shuffle": str(random.sample(range(10**6), 8)),
        "system": repr(random.SystemRandom().random()),
        "uuid1": str(uuid.uuid1()),
        "uuidNode": str(uuid.uuid1().node),
        "uuid4": str(uuid.uuid4()),
        "secrets": secrets.token_hex(16),
        "urandom": os.urandom(16).hex(),
        "ssl": ssl.RAND_bytes(16).hex(),
        "tempfile": tempfile.mktemp(),
        "bootId": text("/proc/sys/kernel/random/boot_id"),
        "machineId": text("/etc/machine-id"),
    }


before = draw()
fixed.random()
for line in sys.stdin:
    if line == "before\n":
        print(json.dumps(before), flush=True)
    if line == "draw\n":
        print(json.dumps(draw()), flush=True)
    if line == "fixed\n":
        print(json.dumps({"fixed": repr(fixed.random())}), flush=True)
    if line == "who\n":
        print(json.dumps({"hostname": socket.gethostname(), "clock": int(time.time() * 1000),
                          "up": time.monotonic()}), flush=True)
