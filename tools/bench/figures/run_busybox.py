"""From exec of `thimble run -- echo hi` to its output and its exit, nothing running before."""

from figure import Figure

COMMAND = ["/bench/thimble", "run", "--", "echo", "hi"]


def measure(box):
    runs = box.repeat("exit", "hi\n", "--", *COMMAND)
    command = " ".join(COMMAND)
    return [
        Figure(
            key="run_busybox_cold_minstr",
            meaning="exec of `thimble run -- echo hi` to its output and exit",
            command=command,
            values=[run["latency_ns"] / 1e6 for run in runs],
            busy=[run["busy_ns"] / 1e6 for run in runs],
            limit=150,
        ),
        Figure(
            key="run_busybox_cold_output_minstr",
            meaning="the part of it up to the output",
            command=command,
            values=[run["output_ns"] / 1e6 for run in runs],
        ),
    ]
