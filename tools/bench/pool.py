"""A template of a server, and a daemon that keeps warm VMs of it, in the root of box.py."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time

from box import ENVIRONMENT, HERE, ROOT

STORE = "/tmp/templates"
RUNTIME = "/tmp/pool"
THIMBLE = HERE + "/thimble"
# What every command here runs with. OWN: a clone in a process of its own; POOLED: from the daemon.
OWN = {**ENVIRONMENT, "THIMBLE_TEMPLATES": STORE, "THIMBLE_RUNTIME": RUNTIME}
POOLED = {**OWN, "THIMBLE_DAEMON": "existing"}


class Pool:
    def __init__(self, box, server, working_sets=True, options=()):
        self.box = box
        self.server = server
        self.working_sets = working_sets  # one is recorded, and warm VMs have it
        self.options = options  # of the daemon
        self.template = None  # its name

    def _only(self, *command, **options):
        words = [self.box.stopwatch, "--root", ROOT, "only", "--", *command]
        return subprocess.Popen(words, env=OWN, **options)

    def __enter__(self):
        """Makes the template that `thimble run` of the server uses, and starts the daemon."""
        make = self._only(THIMBLE, "template", "auto", "--freeze", "ready", *self.server.words,
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
        said = make.communicate()[1]
        found = re.search(r"template (auto-\w+): ", said)
        if make.returncode != 0 or found is None:
            raise RuntimeError(f"no template of {self.server.name}: {said.strip()}")
        self.template = found[1]
        if self.working_sets:
            self._record()
        os.makedirs(ROOT + RUNTIME, mode=0o700, exist_ok=True)
        without = [] if self.working_sets else ["--no-working-sets"]
        self.daemon = self._only(THIMBLE, "daemon", "--idle-exit", "never", "--idle", "1h", *without, *self.options,
                                 stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        while not os.path.exists(f"{ROOT}{RUNTIME}/daemon.sock"):
            if self.daemon.poll() is not None:
                raise RuntimeError("the daemon does not start")
            time.sleep(0.1)
        self.run_times(1, POOLED)  # the template is in use: warm VMs of it are made
        return self

    def _record(self):
        """A first session, as a client has it: `initialize`, then a call of a tool."""
        from servers import INITIALIZE, INITIALIZED

        run = self._only(THIMBLE, "run", "--no-daemon", *self.server.words, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        said = run.communicate("\n".join([INITIALIZE, INITIALIZED, self.server.call, ""]))
        if not os.path.exists(f"{ROOT}{STORE}/{self.template}/working"):
            raise RuntimeError(f"no working set of {self.server.name}: {said[1].strip()}")

    def __exit__(self, *_):
        self.daemon.kill()
        self.daemon.wait()
        time.sleep(1)  # its VMs end
        for left in (STORE, RUNTIME):
            shutil.rmtree(ROOT + left, ignore_errors=True)

    def run_times(self, count, environment, *options):
        """Of `thimble run`, from exec to the answer to `initialize`."""
        from servers import INITIALIZE

        return self.box.call("answer", str(count), INITIALIZE, "--", THIMBLE, "run", *options,
                             *self.server.words, env=environment)  # fmt: skip

    def _claims(self, how, count, line):
        words = [HERE + "/claims", how, str(count), RUNTIME, STORE, self.template]
        return self._only(*words, *([line] if line else []), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

    def claim_times(self, count, line):
        """One after another, each given back before the next; after one that does not count."""
        claims = self._claims("each", count + 1, line)
        said, error = claims.communicate()
        if claims.returncode != 0:
            raise RuntimeError(f"claims: {error.strip()}")
        return [json.loads(each) for each in said.splitlines()][1:-1]

    @contextlib.contextmanager
    def held(self, how, count, line=None):
        """`count` clones at once, until the context ends: Held."""
        claims = self._claims(how, count, line)
        try:
            yield Held(claims, count)
        finally:
            claims.kill()
            claims.communicate()


class Held:
    """Clones that one process holds. `each`: what the claim of each took; `together`: of the last
    ones that were claimed together."""

    def __init__(self, claims, count):
        self.claims = claims
        self.each = []
        self._take(count)

    def _take(self, count):
        self.each += [self._next() for _ in range(count)]
        self.together = self._next()

    def _next(self):
        line = self.claims.stdout.readline()
        if not line:
            raise RuntimeError(f"claims: {self.claims.stderr.read().strip()}")
        return json.loads(line)

    def _send(self, line):
        self.claims.stdin.write(line + "\n")
        self.claims.stdin.flush()

    def claim(self, count):
        """More of them."""
        self._send(f"+{count}")
        self._take(count)

    def ask(self, line):
        """All of them at once; the time until all have answered."""
        self._send(line)
        return self._next()

    @property
    def pids(self):
        return [each["pid"] for each in self.each]
