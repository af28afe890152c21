"""Compares a run with an earlier one. Smaller is better; a figure may grow by 5 %, not more."""

from figure import is_compared

TOLERANCE = 0.05


def compare(now, before):
    """Lists of lines: what got worse (each is a failure), and what got better by as much."""
    worse, better = [], []
    for key, old in before.items():
        if not is_compared(key, old):
            continue
        new = now.get(key)
        if new is None:
            worse.append(f"{key}: was {old}, is missing now")
            continue
        change = (new - old) / old if old else (1.0 if new > 0 else 0.0)
        line = f"{key}: {old} -> {new} ({change:+.1%})"
        if change > TOLERANCE:
            worse.append(line)
        elif change < -TOLERANCE:
            better.append(line)
    return worse, better


def missed_targets(now, figures):
    """Figures above their limit, one line for each. `figures`: rows of the run's catalogue."""
    return [
        f"{row['key']}: {now.get(row['key'])}, the target is at most {row['limit']}"
        for row in figures
        if row.get("limit") is not None and now.get(row["key"], float("inf")) > row["limit"]
    ]
