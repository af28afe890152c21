"""From exec of the VMM to the first write of the guest's init, and where that time goes."""

import trace_calls
from figure import Figure

MARK = "init-is-here"


def measure(box):
    figures = []
    medians = {}
    for key, meaning, command, limit in (
        ("boot_to_init_minstr", "thimble: exec to init's first write, 128 MiB, 1 vCPU",
         box.thimble_boot("bench_init.cpio"), 80),
        ("qemu_microvm_boot_to_init_minstr", "QEMU 7.2 microvm: the same kernel and initrd",
         box.qemu_boot("bench_init.cpio"), None),
    ):  # fmt: skip
        marks = [run["marks"][0] for run in box.repeat("marks", MARK, "--", *command)]
        figure = Figure(
            key=key,
            meaning=meaning,
            command=" ".join(command),
            values=[mark["latency_ns"] / 1e6 for mark in marks],
            busy=[mark["busy_ns"] / 1e6 for mark in marks],
            limit=limit,
        )
        figures.append(figure)
        medians[key] = figure.flat()[key]
    ours, theirs = medians.values()
    figures.append(
        Figure(
            key="boot_to_init_percent_of_qemu",
            meaning="the first as a share of the second (a factor of 2.5 is 40 %)",
            command="boot_to_init_minstr / qemu_microvm_boot_to_init_minstr",
            values=[100 * ours / theirs],
            limit=40,
        )
    )
    return figures + phases(box)


def phases(box):
    """One more boot of each, with the box's kernel tracing KVM calls and the guest telling its log."""
    figures = []
    for prefix, command in (
        ("boot_phase", box.thimble_boot("bench_init.cpio", words="phases")),
        ("qemu_microvm_boot_phase", box.qemu_boot("bench_init.cpio", words="phases")),
    ):
        with trace_calls.KvmCalls() as calls:
            run = box.call("marks", MARK, "log-ends", "--", *command)
        for name, (meaning, value) in divide(run, calls.times).items():
            figures.append(
                Figure(f"{prefix}_{name}_minstr", meaning, " ".join(command), [value], digits=2)
            )
    return figures


def divide(run, calls):
    start = run["start_ns"]
    mark = start + run["marks"][0]["latency_ns"]
    log = trace_calls.kernel_log(run["said"])
    # The guest's clock and the box's tick alike; the mark was written right after this record.
    guest_start = mark - log["init-starts"]
    points = [
        ("exec", "exec, dynamic linking, arguments, up to the first call to KVM", calls["first"]),
        ("vm", "VM, memory and devices, up to the last call before the kernel's file", calls["load_begins"]),
        ("load", "kernel and initrd into guest memory", calls["load_ends"]),
        ("vcpu", "vCPU and its registers, thread, up to the first KVM_RUN", calls["run"]),
        ("early", "guest kernel: entry to the first initcalls", guest_start + log["first initcall"]),
        ("drivers", "guest kernel: initcalls (drivers, file systems, network)", guest_start + log["run init"]),
        ("init", "guest kernel starts init; init's write reaches the VMM's stdout", mark),
    ]  # fmt: skip
    divided = {}
    before = start
    for name, meaning, at in points:
        divided[name] = (meaning, (at - before) / 1e6)
        before = at
    return divided
