"""What a clone of a payload guest costs on this machine's own /dev/kvm, on the clock, beside the floor:
the bare system calls (programs/clone_floor.h)."""

import subprocess

from figure import Figure

PLACE = "machine"
CLONES = 1000
# Without load 0.3 ms. A grace period of the host's kernel in the way, which is what must not come
# back, costs 8 ms; a machine that is busy otherwise, 3.
CEILING_US = 6000

FIGURES = {
    "engine_clone_us_p50": ("a clone: made, mapped, set, up to its first exit; µs", 300),
    "engine_clone_us_p99": ("…, p99", None),
    "engine_clone_destroy_us_p50": ("… until it has ended by itself and is gone", 450),
    "shell_claim_us_p50": ("a prepared machine claimed, up to its first exit; µs", 150),
    "shell_claim_us_p99": ("…, p99", None),
    "engine_floor_us_p50": ("the bare system calls of a clone in the same minutes, up to the same exit", None),
    "engine_floor_destroy_us_p50": ("… until everything is closed", None),
    "engine_clone_devices_us_p50": ("a clone with disk, vsock and entropy, up to its first exit", None),
    "shell_claim_devices_us_p50": ("a claim with disk, vsock and entropy", None),
    "engine_idle_percent": ("how often the machine was idle before a batch of these", None),
}

# The aims of issue 5's engine as shares of the floor that was measured when they were set (190 µs up to
# the first exit, 270 until everything is closed): what else a machine does slows both alike.
OF_FLOOR = {
    "engine_clone_percent_of_floor": ("engine_clone_us_p50", "engine_floor_us_p50", 300, 190),
    "engine_clone_destroy_percent_of_floor": ("engine_clone_destroy_us_p50", "engine_floor_destroy_us_p50", 450, 270),
    "shell_claim_percent_of_floor": ("shell_claim_us_p50", "engine_floor_us_p50", 150, 190),
}  # fmt: skip


def measure(build):
    command = [f"{build}/bench/clone_engine", f"{build}/payload/serial_echo.elf", str(CLONES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = dict(line.split() for line in done.stdout.splitlines())
    shown = f"build/bench/clone_engine build/payload/serial_echo.elf {CLONES}"
    return [
        Figure(
            key=key,
            meaning=meaning,
            command=shown,
            values=[float(found[key])],
            limit=limit,
            repeatable=False,
            ceiling=CEILING_US if key.endswith("us_p50") and "destroy" not in key else None,
        )
        for key, (meaning, limit) in FIGURES.items()
    ] + [of_floor(key, found) for key in OF_FLOOR]


def of_floor(key, found):
    over, under, aim, floor = OF_FLOOR[key]
    return Figure(
        key=key,
        meaning=f"share of the floor in the same minutes, % (the aim: {aim} of {floor} µs)",
        command=f"{over} / {under}",
        values=[100 * float(found[over]) / float(found[under])],
        limit=round(100 * aim / floor),
        repeatable=False,
        digits=0,
    )
