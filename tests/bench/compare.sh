#!/bin/bash
# The rules by which `make bench-check` judges a run: prints "ok - …" or "not ok - …" for each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec python3 -B - <<'PYTHON'
import os
import sys
import xml.etree.ElementTree

sys.path.insert(0, "tools/bench")
import compare
import report
import trace_calls
from figure import Figure, percentile, percentiles

failed = 0


def check(name, holds):
    global failed
    failed += not holds
    print(("ok - " if holds else "not ok - ") + name)


def worse(now, before):
    return compare.compare(now, before, [])[0]


base = {"a_minstr": 100.0, "a_minstr_min": 90.0, "a_minstr_max": 200.0, "a_minstr_command": "x"}
check("an unchanged run passes", worse(base, base) == [])
check("5 % more passes", worse({**base, "a_minstr": 105.0}, base) == [])
check("5.1 % more fails", len(worse({**base, "a_minstr": 105.1}, base)) == 1)
check("less passes and is told", compare.compare({**base, "a_minstr": 80.0}, base, [])[1] != [])
check("a figure that vanished fails", len(worse({}, base)) == 1)
check("a figure that is new passes", worse({**base, "b_minstr": 1.0}, base) == [])
check("minimum, maximum and command are not judged",
      worse({**base, "a_minstr_min": 999, "a_minstr_max": 999, "a_minstr_command": "y"}, base) == [])
check("busy time is judged like latency", len(worse({"a_busy": 106}, {"a_busy": 100})) == 1)
check("something where nothing was fails", len(worse({"a": 1}, {"a": 0})) == 1)

row = {"key": "a_minstr", "limit": 99.0}
check("a figure above its target is named", len(compare.missed_targets(base, [row])) == 1)
check("a figure at its target is not", compare.missed_targets({"a_minstr": 99.0}, [row]) == [])
check("a target without its figure is missed", len(compare.missed_targets({}, [row])) == 1)

clock = [{"key": "a_us", "limit": 1.0, "ceiling": 9.0, "repeatable": False}]
check("a figure on the clock is not compared",
      compare.compare({"a_us": 8.0}, {"a_us": 2.0}, clock) == ([], []))
check("... nor held to its target", compare.missed_targets({"a_us": 8.0}, clock) == [])
check("... but to its ceiling", len(compare.missed_targets({"a_us": 9.1}, clock)) == 1)
check("... and it must be there", len(compare.compare({}, {"a_us": 2.0}, clock)[0]) == 1)

flat = Figure("k", "m", "cmd", [3.0, 1.0, 2.0], [5.0, 5.0, 6.0]).flat()
check("a figure is its median, with minimum, maximum, busy time and command",
      flat == {"k": 2.0, "k_min": 1.0, "k_max": 3.0, "k_busy": 5.0, "k_command": "cmd"})

many = list(range(300, 0, -1))
check("a percentile is the nearest rank, in any order",
      [percentile(many, p) for p in (50, 95, 99, 100)] == [150, 285, 297, 300])
check("... of one value is that value", [percentile([7], p) for p in (1, 50, 99)] == [7, 7, 7])
check("... of two the first one is the median", percentile([1, 2], 50) == 1)
series = percentiles("k", "m", "cmd", [{"latency_ns": 1e6 * n, "busy_ns": 1e6} for n in many], limit=9)
check("a series becomes three figures, with the number of its runs",
      series[2].flat() == {"k_p99": 297.0, "k_p99_busy": 1.0, "k_p99_runs": 300, "k_p99_command": "cmd"})
check("... whose median is held to the target", [each.limit for each in series] == [9, None, None])
check("the number of runs is not judged", worse({"a_runs": 300}, {"a_runs": 30}) == [])

page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
fresh = report.table([{"key": "k", "meaning": "m", "limit": None, "flat": flat}])
check("a new table takes the place of the old one and nothing else",
      report.replace_table(page, fresh).startswith("before\n" + report.BEGIN)
      and report.replace_table(page, fresh).endswith(report.END + "\nafter\n")
      and "old" not in report.replace_table(page, fresh))
plot = report.plot({"boot_phase_exec_minstr": 3.0, "qemu_microvm_boot_phase_exec_minstr": 9.0})
check("the plot is well-formed", xml.etree.ElementTree.fromstring(plot) is not None)
starts = {"cold_to_first_answer_python_minstr": 100.0, "claim_to_first_answer_python_minstr_p50": 4.0}
drawn = report.first_answer_plot(starts)
check("... that of the first answers too, with how often a claim goes into a cold start",
      xml.etree.ElementTree.fromstring(drawn) is not None and "4.0 (1 : 25.0)" in drawn)
check("... and without figures", xml.etree.ElementTree.fromstring(report.first_answer_plot({})) is not None)

trace = """
 vmm-7 [000] ..... 10.000001: sys_enter: NR 16 (0, 5401, 7f, 0, 0, 0)
 vmm-7 [000] ..... 10.000100: sys_enter: NR 16 (3, ae00, 0, 0, 0, 0)
 vmm-7 [000] ..... 10.000200: sys_enter: NR 16 (3, 4020ae46, 7f, 0, 0, 0)
 vmm-7 [000] ..... 10.008200: sys_enter: NR 16 (8, ae41, 0, 0, 0, 0)
 vmm-7 [000] ..... 10.009000: sys_enter: NR 16 (c, ae80, 0, 0, 0, 0)
 vmm-7 [000] ..... 10.050000: sys_enter: NR 16 (c, ae80, 0, 0, 0, 0)
"""
times = trace_calls.divide(trace_calls.read_calls(trace.splitlines()))
check("the phases of a boot are read from a trace", times == {
    "first": 10_000_100_000, "load_begins": 10_000_200_000,
    "load_ends": 10_008_200_000, "run": 10_009_000_000})
said = """
6,94,11888,-;devtmpfs: initialized
6,123,16990,-;sched_clock: Marking stable (11683769, 1533727)->(20829433, -7611937)
6,128,15871,-;Run /init as init process
15,135,15974,-;init-starts
"""
check("the guest's log is read across a change of its clock", trace_calls.kernel_log(said) == {
    "first initcall": 11_888_000 - 7_611_937, "run init": 15_871_000, "init-starts": 15_974_000})
sys.exit(1 if failed else 0)
PYTHON
