#!/usr/bin/env python3
"""So many first runs of one server at once, each with a client that says initialize.
    storm.py [--limit SECONDS] COUNT CMD…

CMD is `thimble run -v -- SERVER`; in a word of it, @ stands for the run's number: another server for
each. Says in one line each what became of them: how many answered, were booted, were clones, and when;
then what the others said. Its status is 0 when all have answered."""
import argparse
import re
import subprocess
import tempfile
import threading
import time

INITIALIZE = (b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",'
              b'"capabilities":{},"clientInfo":{"name":"storm","version":"1"}}}\n')


class Client(threading.Thread):
    """One run, from its start to its end."""

    def __init__(self, command, limit, began):
        super().__init__()
        self.command, self.limit, self.began = command, limit, began
        self.answered = None
        self.status = None
        self.said = ""

    def run(self):
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
            late = threading.Timer(self.limit, process.kill)
            late.start()
            try:
                process.stdin.write(INITIALIZE)
                process.stdin.flush()
                if b'"result"' in process.stdout.readline():
                    self.answered = time.monotonic() - self.began
                process.stdin.close()
            except BrokenPipeError:
                pass
            process.stdout.read()
            self.status = process.wait()
            late.cancel()
            errors.seek(0)
            self.said = errors.read().decode(errors="replace")

    @property
    def is_clone(self):
        return "a clone of auto-" in self.said and "booting instead" not in self.said

    @property
    def is_well(self):
        return self.answered is not None and self.status == 0


def times(clients):
    found = sorted(client.answered for client in clients if client.answered is not None)
    if not found:
        return "none"
    return f"{len(found)}, after {found[0]:.1f} to {found[-1]:.1f} s, half of them within {found[len(found) // 2]:.1f} s"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=float, default=900)
    parser.add_argument("count", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    wanted = parser.parse_args()
    began = time.monotonic()
    clients = [Client([word.replace("@", str(number)) for word in wanted.command], wanted.limit, began)
               for number in range(wanted.count)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    well = [client for client in clients if client.is_well]
    print(f"answered: {times(well)}")
    print(f"booted: {times([client for client in well if not client.is_clone])}")
    print(f"clones: {times([client for client in well if client.is_clone])}")
    print(f"waited: {sum('waiting for' in client.said for client in clients)}")
    for client in clients:
        if not client.is_well:
            lines = re.sub(r"\n", " | ", client.said.strip())
            print(f"failed: status {client.status}, answered {client.answered}: {lines[-600:]}")
    return 0 if len(well) == wanted.count else 1


raise SystemExit(main())
