"""Reads of a virtio disk past the guest's page cache, ours beside QEMU microvm's: the same guest
program, the same image in the box's memory."""

from figure import Figure

IMAGE = "/bench/disk.img"
MEBIBYTES = 64
# As in programs/disk_init.cpp.
RANDOM_READS = 512
SEQUENTIAL_READS = 48
MARKS = ["random-begins", "random-ends", "sequential-ends"]


def measure(box):
    box.make_file(IMAGE, MEBIBYTES << 20)
    drive = f"file={IMAGE},format=raw,if=none,id=d,readonly=on"
    device = ["-device", "virtio-blk-device,drive=d"]
    figures = []
    for prefix, whose, command in (
        ("blk", "thimble", box.thimble_boot("disk_init.cpio", "--disk", IMAGE)),
        ("qemu_microvm_blk", "QEMU microvm",
         box.qemu_boot("disk_init.cpio", "-drive", drive, *device)),
        ("qemu_microvm_uring_blk", "QEMU microvm, aio=io_uring",
         box.qemu_boot("disk_init.cpio", "-drive", drive + ",aio=io_uring", *device)),
    ):  # fmt: skip
        runs = [
            box.call("marks", *MARKS, "--", *command)["marks"]
            for _ in range(max(2, box.rounds // 2))
        ]
        for name, meaning, part, count in (
            ("random_4k", "one 4 KiB read at a random place", 1, RANDOM_READS),
            ("sequential_1m", "one 1 MiB read in sequence", 2, SEQUENTIAL_READS),
        ):
            figures.append(
                Figure(
                    key=f"{prefix}_{name}_kinstr",
                    meaning=f"{whose}: {meaning}",
                    command=" ".join(command),
                    values=[per_read(run, part, count, "latency_ns") for run in runs],
                    busy=[per_read(run, part, count, "busy_ns") for run in runs],
                )
            )
    return figures


def per_read(marks, part, count, clock):
    return (marks[part][clock] - marks[part - 1][clock]) / count / 1e3
