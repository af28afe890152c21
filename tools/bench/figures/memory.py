"""Memory that a running VM costs the host beside the guest's own."""

from figure import Figure

COMMAND = ["/bench/thimble", "run", "--", "sh", "-c", "echo up; sleep 1000"]


def measure(box):
    runs = box.repeat("memory", "up\n", "--", *COMMAND)
    command = " ".join(COMMAND)
    return [
        Figure(
            key="vmm_private_kib",
            meaning="private memory of the VMM process outside guest memory, KiB (smaps)",
            command=command,
            values=[run["vmm_kib"] for run in runs],
            limit=2048,
            digits=0,
        ),
        Figure(
            key="run_front_private_kib",
            meaning="private memory of the `thimble run` that carries its streams, KiB",
            command=command,
            values=[run["front_kib"] for run in runs],
            digits=0,
        ),
        Figure(
            key="guest_touched_kib",
            meaning="memory that the guest has touched by then, KiB",
            command=command,
            values=[run["guest_kib"] for run in runs],
            digits=0,
        ),
    ]
