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


# What stands side by side for each server: key, label, colour.
STARTS = [
    ("cold_to_first_answer_{}_minstr", "cold: thimble run --cold", "#e15759"),
    ("run_alone_to_first_answer_{}_minstr_p50", "clone: thimble run, no daemon", "#edc948"),
    ("run_to_first_answer_{}_minstr_p50", "clone from the pool: thimble run", "#76b7b2"),
    ("claim_to_first_answer_{}_minstr_p50", "claim by a program that runs", "#4e79a7"),
]
SERVERS = [
    ("python", "a Python server of the standard library"),
    ("node", "npm's @modelcontextprotocol/server-memory"),
]
LABEL_WIDTH, START_WIDTH, START_BAR, PANEL = 230, 420, 24, 172


def first_answer_plot(results):
    """A panel for each server, with a scale of its own: a bar for each way to start it."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL_WIDTH + START_WIDTH + 150}" '
        f'height="{40 + PANEL * len(SERVERS)}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="22" font-size="15">from the start to the answer to initialize, million '
        "instructions of host and guest</text>",
        f'<text x="10" y="{PANEL * len(SERVERS) + 30}" font-size="12">1 : n: a cold start takes n times '
        "as long; each server has a scale of its own</text>",
    ]
    for i, (name, title) in enumerate(SERVERS):
        parts += server_panel(results, name, title, 40 + i * PANEL)
    return "\n".join([*parts, "</svg>"]) + "\n"


def server_panel(results, name, title, top):
    values = [results.get(key.format(name), 0) for key, _, _ in STARTS]
    cold = values[0]
    parts = [f'<text x="10" y="{top + 18}" font-weight="bold">{escape(title)}</text>']
    for row, (value, (_, label, colour)) in enumerate(zip(values, STARTS)):
        y = top + 28 + row * (START_BAR + 8)
        width = START_WIDTH * value / max([*values, 1])
        ratio = f" (1 : {cold / value:.1f})" if row and value else ""
        middle = y + START_BAR / 2 + 5
        parts += [
            f'<text x="10" y="{middle}">{escape(label)}</text>',
            f'<rect x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{START_BAR}" fill="{colour}"/>',
            f'<text x="{LABEL_WIDTH + width + 6:.1f}" y="{middle}">{value:.1f}{ratio}</text>',
        ]
    return parts


PLOTS = {"benchmarks.svg": plot, "first_answer.svg": first_answer_plot}
