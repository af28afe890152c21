"""Compares a run with an earlier one. Smaller is better; a figure may grow by 5 %, not more. A figure on
the clock says more of who else uses the machine than of a change of 5 %: it has a ceiling instead."""

from figure import is_compared

TOLERANCE = 0.05


def compare(now, before, figures):
    """Lists of lines: what got worse (each is a failure), and what got better by as much. `figures`:
    rows of the run's catalogue."""
    on_the_clock = {row["key"] for row in figures if not row.get("repeatable", True)}
    worse, better = [], []
    for key, old in before.items():
        if not is_compared(key, old):
            continue
        new = now.get(key)
        if new is None:
            worse.append(f"{key}: was {old}, is missing now")
            continue
        if key in on_the_clock:
            continue
        change = (new - old) / old if old else (1.0 if new > 0 else 0.0)
        line = f"{key}: {old} -> {new} ({change:+.1%})"
        if change > TOLERANCE:
            worse.append(line)
        elif change < -TOLERANCE:
            better.append(line)
    return worse, better


def missed_targets(now, figures):
    """Figures above what they must not exceed, one line for each."""
    missed = []
    for row in figures:
        most = row["limit"] if row.get("repeatable", True) else row.get("ceiling")
        if most is not None and now.get(row["key"], float("inf")) > most:
            missed.append(f"{row['key']}: {now.get(row['key'])}, it is to be at most {most}")
    return missed
