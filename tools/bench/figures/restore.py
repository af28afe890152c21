"""A Linux guest saved while it writes to its console; from exec of a new VMM to its next byte. The
same with QEMU microvm and a RAM file that is mapped and not read (x-ignore-shared), in the same run.
"""

import os
import socket
import subprocess
import time

from box import HERE, QEMU, ROOT
from figure import Figure

SIZES = (128, 512)  # MiB; the first has the plain keys
CONTROL = "/tmp/restore.ctl"
MONITOR = "/tmp/restore.mon"


def measure(box):
    figures = []
    ours, theirs = [], []
    for mib in SIZES:
        figures += thimble(box, mib, ours)
    for mib in SIZES:
        figures += qemu(box, mib, theirs)
    figures.append(
        Figure(
            key="restore_to_next_byte_percent_of_qemu",
            meaning="the first as a share of QEMU's, %",
            command="restore_to_next_byte_minstr / qemu_template_restore_to_next_byte_minstr",
            values=[100 * ours[0] / theirs[0]],
            limit=10,
        )
    )
    return figures


def restore_figures(runs, key, meaning, command, mib, medians):
    made = []
    names = [f"{key}_{mib}_minstr"]
    if mib == SIZES[0]:
        names.insert(0, f"{key}_minstr")
    for name in names:
        made.append(
            Figure(
                key=name,
                meaning=f"{meaning}, {mib} MiB",
                command=command,
                values=[run["marks"][0]["latency_ns"] / 1e6 for run in runs],
                busy=[run["marks"][0]["busy_ns"] / 1e6 for run in runs],
            )
        )
    medians.append(made[0].flat()[names[0]])
    return made


# ---- ours


def thimble(box, mib, medians):
    boot = [word if word != "128M" else f"{mib}M" for word in box.thimble_boot("tick_init.cpio")]
    save = [HERE + "/thimble", "snapshot", "save", CONTROL]
    times = []
    with box.running([*boot, "--save-socket", CONTROL], "....."):
        for i in range(box.rounds):
            times.append(box.call("exit", "", "--", *save, f"/tmp/tick-{mib}-{i}"))
    box.remove(CONTROL)
    name = f"/tmp/tick-{mib}-0"
    restore = [HERE + "/thimble", "snapshot", "restore", name]
    runs = box.repeat("marks", ".", "--", *restore)
    command = " ".join([*boot, "--save-socket", CONTROL, "&", *save, name])
    figures = restore_figures(runs, "restore_to_next_byte",
                              "exec of `thimble snapshot restore` to the guest's next byte",
                              " ".join(restore), mib, medians)  # fmt: skip
    figures.append(
        Figure(
            key=f"snapshot_save_{mib}_minstr",
            meaning=f"exec of `thimble snapshot save` to its exit, {mib} MiB",
            command=command,
            values=[run["latency_ns"] / 1e6 for run in times],
            busy=[run["busy_ns"] / 1e6 for run in times],
        )
    )
    for file in ("state", "memory"):
        figures.append(
            Figure(
                key=f"snapshot_{file}_{mib}_kib",
                meaning=f"space of the snapshot's {file} file, {mib} MiB",
                command=command,
                values=[os.stat(f"{ROOT}{name}/{file}").st_blocks / 2],
                digits=0,
            )
        )
    for i in range(box.rounds):
        subprocess.run(["rm", "-r", f"{ROOT}/tmp/tick-{mib}-{i}"], check=True)
    return figures


# ---- QEMU's


def qemu(box, mib, medians):
    ram, state, monitor = (f"/tmp/qemu-{mib}.{end}" for end in ("ram", "state", "hmp"))
    boot = [word if word != "128" else str(mib) for word in box.qemu_boot("tick_init.cpio")]
    machine = boot.index("-M") + 1
    boot[machine] += ",memory-backend=ram"

    def with_ram(share):
        backend = f"memory-backend-file,id=ram,size={mib}M,mem-path={ram},share={share}"
        return [*boot, "-object", backend]

    with box.running([*with_ram("on"), "-monitor", f"unix:{MONITOR},server=on,wait=off"], "....."):
        save_qemu(ROOT + MONITOR, state)
    # The monitor's commands come from a file: nobody has to connect in time. The state comes from an
    # open descriptor: no other process is started for it.
    open(f"{ROOT}{monitor}.out", "w", encoding="utf-8").close()
    with open(f"{ROOT}{monitor}.in", "w", encoding="utf-8") as file:
        file.write("migrate_set_capability x-ignore-shared on\nmigrate_incoming fd:7\n")
    restore = [*with_ram("off"), "-incoming", "defer",
               "-chardev", f"pipe,id=hmp,path={monitor}", "-mon", "chardev=hmp"]  # fmt: skip
    quoted = " ".join(f"'{word}'" for word in restore)
    runs = box.repeat("marks", ".", "--", "/bin/sh", "-c", f"exec {quoted} 7<{state}")
    figures = restore_figures(runs, "qemu_template_restore_to_next_byte",
                              "QEMU 7.2 microvm restored from a RAM file (x-ignore-shared)",
                              " ".join(restore) + f" 7<{state}", mib, medians)  # fmt: skip
    for path in (ram, state, monitor + ".in", monitor + ".out"):
        box.remove(path)
    return figures


def save_qemu(path, state):
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(path)
        # Not stopped before: it would come up stopped.
        for command in ("migrate_set_capability x-ignore-shared on",
                        f'migrate "exec:cat > {state}"'):  # fmt: skip
            monitor.sendall(command.encode() + b"\n")
        for _ in range(100):
            time.sleep(0.2)
            monitor.sendall(b"info migrate\n")
            answer = monitor.recv(65536)
            if b"Migration status: completed" in answer:
                return
    raise RuntimeError(f"QEMU saved nothing: {answer!r}")
