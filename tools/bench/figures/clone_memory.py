"""What one more clone of a plain Linux guest costs in memory: as soon as it waits, and after its first
request (a byte over vsock that comes back). What clones share (the page cache of template and program)
is not counted."""

import re
import socket
import time

from box import HERE, ROOT
from figure import Figure

CLONES = 8
CONTROL = "/tmp/memory.ctl"
TEMPLATE = "/tmp/memory.template"
GUEST_MEMORY = 64 << 20  # mappings of this size are the guest's
PORT = 1024


def measure(box):
    boot = box.thimble_boot("vsock_init.cpio", "--vsock", "/tmp/first.sock", "--save-socket", CONTROL)
    with box.running(boot, "vsock-listens"):
        time.sleep(0.5)
        box.call("exit", "", "--", HERE + "/thimble", "snapshot", "save", CONTROL, TEMPLATE)
    box.remove(CONTROL)
    restore = [HERE + "/thimble", "snapshot", "restore", TEMPLATE, "--vsock"]
    with box.running([*restore, "/tmp/zero.sock"], ""):  # fills caches, verifies the memory file
        request("/tmp/zero.sock")
        idle, used, whole = measure_clones(box, restore)
    command = " ".join([*restore, "SOCKET", "& (8 of them)"])
    return [
        figure("clone_guest_idle_kib", "guest memory that a clone has changed when it waits, KiB", idle, "guest", command),
        figure("clone_guest_after_request_kib", "… after its first request", used, "guest", command),
        figure("clone_vmm_private_kib", "private memory of its VMM process outside guest memory", used, "vmm", command),
        figure("clone_front_private_kib", "private memory of the `thimble` that carries its streams", used, "front", command),
        Figure(
            key="clone_host_idle_kib",
            meaning="free memory of the host less for one clone that waits: all of the above and the kernel's part",
            command=command,
            values=[whole],
            digits=0,
            # What else the box's kernel frees and takes meanwhile is in it.
            repeatable=False,
            ceiling=16384,
        ),
    ]  # fmt: skip


def figure(key, meaning, clones, part, command):
    return Figure(key=key, meaning=meaning, command=command, values=[each[part] for each in clones], digits=0)


def measure_clones(box, restore, made=()):
    """Starts clones one inside the other's context; measures when all are there."""
    if len(made) == 0:
        measure_clones.free = free_kib()
    if len(made) < CLONES:
        path = f"/tmp/clone-{len(made)}.sock"
        with box.running([*restore, path], "") as pid:
            return measure_clones(box, restore, (*made, (pid, path)))
    time.sleep(2)
    whole = (measure_clones.free - free_kib()) / CLONES
    idle = [memory_of(pid) for pid, _ in made]
    for _, path in made:
        request(path)
    return idle, [memory_of(pid) for pid, _ in made], whole


def request(path):
    """Connects as soon as the socket is there; one byte there and back."""
    for _ in range(600):
        try:
            stream = socket.socket(socket.AF_UNIX)
            stream.connect(ROOT + path)
            break
        except OSError:
            stream.close()
            time.sleep(0.05)
    with stream:
        stream.settimeout(60)
        stream.sendall(f"CONNECT {PORT}\n".encode())
        if not stream.recv(64).startswith(b"OK"):
            raise RuntimeError(f"{path}: the guest does not listen")
        stream.sendall(b"e!")
        if stream.recv(1) != b"!":
            raise RuntimeError(f"{path}: no answer")


def free_kib():
    with open("/proc/meminfo", encoding="utf-8") as file:
        return int(re.search(r"MemFree:\s+(\d+)", file.read()).group(1))


def memory_of(pid):
    """Of the clone whose first process is `pid`: the VMM is the one with the guest's memory."""
    parts = {"guest": 0, "vmm": 0, "front": 0}
    waiting = [pid]
    while waiting:
        each = waiting.pop()
        guest, own = memory_of_process(each)
        parts["guest"] += guest
        parts["vmm" if guest else "front"] += own
        with open(f"/proc/{each}/task/{each}/children", encoding="utf-8") as file:
            waiting += [int(word) for word in file.read().split()]
    return parts


def memory_of_process(pid):
    """KiB of the guest's memory that it has changed, and of its own that nobody shares."""
    parts = memory_parts(pid)
    return parts["changed"], parts["own"]


def memory_parts(pid):
    """The same, and the guest's memory with its share of what others use too (PSS)."""
    parts = {"changed": 0, "pss": 0, "own": 0}
    is_guest = False
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
                is_guest = int(match[2], 16) - int(match[1], 16) >= GUEST_MEMORY
            elif match := re.match(r"(Anonymous|Pss|Private_Clean|Private_Dirty):\s+(\d+)", line):
                if is_guest and match[1] in ("Anonymous", "Pss"):
                    parts["changed" if match[1] == "Anonymous" else "pss"] += int(match[2])
                elif not is_guest and match[1].startswith("Private"):
                    parts["own"] += int(match[2])
    return parts
