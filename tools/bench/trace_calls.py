"""When a VMM called KVM, by the box's own tracing; and the times in a guest's kernel log."""

import re

TRACING = "/sys/kernel/tracing"
SYS_IOCTL = 16
GET_API_VERSION = 0xAE00
CREATE_VCPU = 0xAE41
RUN = 0xAE80


def write(name, text):
    with open(f"{TRACING}/{name}", "w", encoding="ascii") as file:
        file.write(text)


class KvmCalls:
    """As a context: traces ioctls. Afterwards `times` has, in ns of CLOCK_MONOTONIC: `first`,
    `load_begins`, `load_ends` and `run`. The load is the longest pause between two calls that are
    not KVM_RUN: no VMM talks to KVM while it copies the kernel."""

    def __enter__(self):
        write("tracing_on", "0")
        write("buffer_size_kb", "16384")
        write("trace_clock", "mono")
        write("trace", "")
        write("events/raw_syscalls/sys_enter/filter", f"id == {SYS_IOCTL}")
        write("events/raw_syscalls/sys_enter/enable", "1")
        write("tracing_on", "1")
        return self

    def __exit__(self, *_):
        write("tracing_on", "0")
        write("events/raw_syscalls/sys_enter/enable", "0")
        with open(f"{TRACING}/trace", encoding="utf-8") as file:
            self.times = divide(read_calls(file))


def read_calls(lines):
    """(ns, number of the ioctl) in order, of KVM's ioctls only."""
    calls = []
    for line in lines:
        found = re.search(r" (\d+)\.(\d{6}): sys_enter: NR 16 \(([0-9a-f]+), ([0-9a-f]+),", line)
        if found and int(found[4], 16) >> 8 & 0xFF == 0xAE:
            at = int(found[1]) * 1_000_000_000 + int(found[2]) * 1000
            calls.append((at, int(found[4], 16)))
    return calls


def divide(calls):
    run = next(at for at, number in calls if number == RUN)
    before = [at for at, _ in calls if at <= run]
    first = next(at for at, number in calls if number == GET_API_VERSION)
    pauses = [(b - a, a, b) for a, b in zip(before, before[1:]) if a >= first]
    _, begins, ends = max(pauses)
    return {"first": first, "load_begins": begins, "load_ends": ends, "run": run}


def kernel_log(said):
    """ns since the guest's clock began, of the records that divide a boot."""
    times = {}
    for microseconds, text in re.findall(r"^\d+,\d+,(\d+),[^;]*;(.*)$", said, re.MULTILINE):
        at = int(microseconds) * 1000
        if text == "init-starts":
            times["init-starts"] = at
        elif text.startswith("Run /init"):
            times["run init"] = at
        elif text.startswith("devtmpfs: initialized"):
            times["first initcall"] = at
        elif text.startswith("sched_clock: Marking stable"):
            # From here the log's clock is another one, ahead of the one before by this much.
            times["first initcall"] += int(re.search(r"(-?\d+)\)$", text)[1])
    return times
