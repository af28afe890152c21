"""`thimble top` on a terminal: top.py THIMBLE WORD, where WORD is in what it shows. Prints a line for
each property, as properties.sh does."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

THIMBLE, WORD = sys.argv[1:]
ENTER, LEAVE = b"\033[?1049h", b"\033[?1049l"
TIMEOUT = 60


class Terminal:
    """A terminal of its own with `thimble top` in it."""

    def __init__(self):
        self.shown = b""
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            time.sleep(0.2)  # until the terminal has its size
            os.execv(THIMBLE, [THIMBLE, "top"])
        self.resize(24, 100)
        self.before = termios.tcgetattr(self.end)

    def resize(self, rows, columns):
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        if not select.select([self.end], [], [], 0.1)[0]:
            return
        try:
            self.shown += os.read(self.end, 65536)
        except OSError:
            pass  # nobody holds the other end any more

    def shows(self, what):
        limit = time.monotonic() + TIMEOUT
        while what not in self.shown and time.monotonic() < limit:
            self.read()
        return what in self.shown

    def exit_code(self):
        limit = time.monotonic() + TIMEOUT
        while time.monotonic() < limit:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        return "none"


def tell(name, holds, found):
    print(f"ok - {name}" if holds else f"not ok - {name}\n    found: {found}", flush=True)


def expect_end(name, act, code):
    terminal = Terminal()
    terminal.shows(b"thimble top")
    raw = termios.tcgetattr(terminal.end) != terminal.before
    act(terminal)
    found = terminal.exit_code()
    as_before = termios.tcgetattr(terminal.end) == terminal.before and terminal.shown.endswith(LEAVE)
    tell(f"top: {name}", found == code and raw and as_before, f"{found}, {terminal.shown[-60:]}")


terminal = Terminal()
tell("top shows what runs", terminal.shows(WORD.encode()), terminal.shown)
tell("… on a screen of its own", terminal.shown.startswith(ENTER), terminal.shown)
terminal.shown = b""
terminal.resize(5, 10)
tell("… no wider than the window", terminal.shows(b"thimble to\033[K") and WORD.encode() not in terminal.shown, terminal.shown)
os.write(terminal.end, b"q")
terminal.exit_code()

expect_end("q ends it", lambda t: os.write(t.end, b"q"), 0)
expect_end("so does Ctrl-C", lambda t: os.write(t.end, b"\3"), 0)
expect_end("SIGTERM too, and the terminal is as before", lambda t: os.kill(t.pid, signal.SIGTERM), 143)
