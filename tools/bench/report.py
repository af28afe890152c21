"""The figures as text: Markdown for docs/benchmarks.md, plain lines for the terminal, a plot."""

from html import escape

BEGIN = "<!-- written by `make bench-accept`: begin -->"
END = "<!-- end -->"


def table(catalogue):
    lines = [
        BEGIN,
        "| key | what | median | min – max | busy | target |",
        "|---|---|---:|---:|---:|---:|",
    ]
    plain_rows = [row for row in catalogue if "_phase_" not in row["key"]]
    for row in plain_rows:
        flat, key = row["flat"], row["key"]
        spread = ""
        if key + "_min" in flat:
            spread = f"{flat[key + '_min']} – {flat[key + '_max']}"
        limit = "" if row["limit"] is None else f"≤ {row['limit']}"
        busy = flat.get(key + "_busy", "")
        lines.append(f"| `{key}` | {row['meaning']} | {flat[key]} | {spread} | {busy} | {limit} |")
    lines += ["", "### Where the time to init goes", "", *phase_table(catalogue)]
    lines += ["", "### The commands", "", *command_list(plain_rows), END]
    return "\n".join(lines) + "\n"


def phase_table(catalogue):
    lines = ["| phase | thimble | QEMU microvm |", "|---|---:|---:|"]
    values = {row["key"]: row for row in catalogue}
    total = [0.0, 0.0]
    for key, row in values.items():
        if not key.startswith("boot_phase_"):
            continue
        other = values.get("qemu_microvm_" + key)
        pair = [row["flat"][key], other["flat"][other["key"]] if other else 0.0]
        total = [a + b for a, b in zip(total, pair)]
        lines.append(f"| {row['meaning']} | {pair[0]:.2f} | {pair[1]:.2f} |")
    lines.append(f"| together | {total[0]:.2f} | {total[1]:.2f} |")
    return lines


def command_list(rows):
    """Each command once, with the figures that it made."""
    by_command = {}
    for row in rows:
        by_command.setdefault(row["flat"][row["key"] + "_command"], []).append(row["key"])
    lines = []
    for command, keys in by_command.items():
        lines += [", ".join(f"`{key}`" for key in keys) + ":", "", "```", command, "```", ""]
    return lines[:-1]


def replace_table(page, fresh):
    begin, end = page.index(BEGIN), page.index(END) + len(END)
    return page[:begin] + fresh.rstrip("\n") + page[end:]


def plain(catalogue):
    lines = []
    for row in catalogue:
        flat, key = row["flat"], row["key"]
        busy = f"  busy {flat[key + '_busy']}" if key + "_busy" in flat else ""
        limit = "" if row["limit"] is None else f"  (target: at most {row['limit']})"
        lines.append(f"{key:45} {flat[key]:>10}{busy}{limit}")
    return "\n".join(lines)


# ---- the plot --------------------------------------------------------------------------------------

PHASES = ["exec", "vm", "load", "vcpu", "early", "drivers", "init"]
COLOURS = ["#4e79a7", "#76b7b2", "#59a14f", "#edc948", "#f28e2b", "#e15759", "#b07aa1"]
LABELS = [
    "exec, linking", "VM, devices", "load", "vCPU", "kernel, early", "kernel, drivers", "init",
]  # fmt: skip
LEFT, WIDTH, BAR = 130, 560, 34


def plot(results):
    """Two bars: a boot to init by phase, thimble's and QEMU's."""
    bars = [("thimble", "boot_phase"), ("QEMU microvm", "qemu_microvm_boot_phase")]
    known = [(name, [results.get(f"{prefix}_{phase}_minstr", 0) for phase in PHASES])
             for name, prefix in bars]  # fmt: skip
    longest = max([sum(values) for _, values in known] + [1])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 80}" height="190" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="22" font-size="15">exec of the VMM to init\'s first write, '
        "million instructions of host and guest</text>",
    ]
    for i, (name, values) in enumerate(known):
        y = 40 + i * (BAR + 14)
        parts.append(f'<text x="10" y="{y + BAR / 2 + 5}">{escape(name)}</text>')
        x = float(LEFT)
        for value, colour in zip(values, COLOURS):
            width = WIDTH * value / longest
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
            )
            x += width
        parts.append(f'<text x="{x + 6:.1f}" y="{y + BAR / 2 + 5}">{sum(values):.1f}</text>')
    x = 10
    for label, colour in zip(LABELS, COLOURS):
        parts.append(f'<rect x="{x}" y="150" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 16}" y="161" font-size="12">{escape(label)}</text>')
        x += 34 + 7 * len(label)
    return "\n".join([*parts, "</svg>"]) + "\n"
