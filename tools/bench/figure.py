"""What a figure is, and how figures become the flat keys of results.json.

For a figure KEY there are, in results.json: KEY (the median), KEY_min and KEY_max where it was
measured more than once, KEY_runs where KEY is one of a series' percentiles, KEY_busy where the busy time of the box's processor was counted apart from
the latency, and KEY_command. Smaller is better in every figure.
"""

from dataclasses import dataclass, field
from statistics import median

NOT_COMPARED = ("_min", "_max", "_runs", "_command")  # ends of keys that are no figures themselves


@dataclass
class Figure:
    key: str
    meaning: str
    command: str
    values: list  # in the figure's unit, one for each measurement
    busy: list = field(default_factory=list)  # the same measurements, as busy time
    limit: float | None = None  # at most; None: no target
    # False: wall-clock time, which differs from run to run with what else the machine does. Such a
    # figure is not compared with the committed run, and what fails is not its limit but its ceiling.
    repeatable: bool = True
    ceiling: float | None = None
    digits: int = 1
    runs: int | None = None  # of how many measurements `values` is what they are summed up to

    def flat(self):
        def rounded(value):
            return round(value, self.digits) if self.digits else round(value)

        keys = {self.key: rounded(median(self.values))}
        if len(self.values) > 1:
            keys[self.key + "_min"] = rounded(min(self.values))
            keys[self.key + "_max"] = rounded(max(self.values))
        if self.busy:
            keys[self.key + "_busy"] = rounded(median(self.busy))
        if self.runs:
            keys[self.key + "_runs"] = self.runs
        keys[self.key + "_command"] = self.command
        return keys


def is_compared(key, value):
    return isinstance(value, (int, float)) and not key.endswith(NOT_COMPARED)


def percentile(values, percent):
    """The nearest rank: the smallest value that `percent` % of all do not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]


def percentiles(key, meaning, command, times, limit=None):
    """KEY_p50, KEY_p95 and KEY_p99 in millions, of what stopwatch and claims print; `limit` is the
    median's."""
    latencies = [each["latency_ns"] / 1e6 for each in times]
    busy = [each["busy_ns"] / 1e6 for each in times]
    return [
        Figure(
            key=f"{key}_p{percent}",
            meaning=meaning if percent == 50 else f"…, p{percent}",
            command=command,
            values=[percentile(latencies, percent)],
            busy=[percentile(busy, percent)],
            limit=limit if percent == 50 else None,
            digits=2,
            runs=len(times),
        )
        for percent in (50, 95, 99)
    ]
