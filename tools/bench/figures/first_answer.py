"""From the start of a server to its answer to `initialize`: cold, as a clone by `thimble run`, and
from a pool claim in a program that embeds the library (programs/claims.cpp). THIMBLE_BENCH_RUNS
and THIMBLE_BENCH_CLAIMS say how often."""

import os
from statistics import median

import servers
from figure import Figure, percentiles
from pool import OWN, POOLED, STORE, Pool

CLAIMS = int(os.environ.get("THIMBLE_BENCH_CLAIMS", "30"))
RUNS = int(os.environ.get("THIMBLE_BENCH_RUNS", "30"))
ANSWER_LIMITS = {"python": 10, "node": 40}  # Minstr
PERCENT_OF_COLD = 3.3  # 30 : 1


def measure(box):
    figures = []
    for server in servers.SERVERS:
        with Pool(box, server) as pool:
            figures += measure_server(box, pool, server)
        with Pool(box, server, working_sets=False) as pool:
            claim = pool.claim_times(RUNS, servers.INITIALIZE)
        figures += percentiles(f"claim_without_working_set_{server.name}_minstr",
                               f"{server.name}: a claim where the daemon brings no working set in",
                               f"thimble daemon --no-working-sets & claims each {RUNS} DAEMON {STORE} TEMPLATE INITIALIZE",
                               claim)  # fmt: skip
    return figures


def measure_server(box, pool, server):
    name = server.name
    cold = pool.run_times(box.rounds, OWN, "--cold")
    run = pool.run_times(RUNS, {**OWN, "THIMBLE_DAEMON": "off"})
    pooled = pool.run_times(RUNS, POOLED)
    claim = pool.claim_times(CLAIMS, servers.INITIALIZE)
    start = f"stopwatch answer {RUNS} INITIALIZE -- thimble run"
    template = f"THIMBLE_TEMPLATES={STORE} THIMBLE_DAEMON"
    limit = ANSWER_LIMITS[name]
    figures = [
        Figure(
            key=f"cold_to_first_answer_{name}_minstr",
            meaning=f"{server.meaning}: exec of `thimble run --cold` to the answer to `initialize`",
            command=f"stopwatch answer {box.rounds} INITIALIZE -- thimble run --cold {server.shown}",
            values=[each["latency_ns"] / 1e6 for each in cold],
            busy=[each["busy_ns"] / 1e6 for each in cold],
        ),
        *percentiles(f"run_alone_to_first_answer_{name}_minstr", f"{name}: exec of `thimble run --no-daemon`, a clone in a process of its own",
                     f"{template}=off {start} {server.shown}", run),
        *percentiles(f"run_to_first_answer_{name}_minstr", f"{name}: exec of `thimble run`, a clone from the daemon's pool",
                     f"{template}=existing {start} {server.shown}", pooled, limit=limit),
        *percentiles(f"claim_to_first_answer_{name}_minstr", f"{name}: a claim by a program that runs already",
                     f"claims each {CLAIMS} DAEMON {STORE} TEMPLATE INITIALIZE", claim,
                     limit=limit),
    ]  # fmt: skip
    base = median(each["latency_ns"] for each in cold)
    for way, times, share in (("run_alone", run, None), ("run", pooled, None), ("claim", claim, PERCENT_OF_COLD)):
        figures.append(
            Figure(
                key=f"{way}_percent_of_cold_{name}",
                meaning=f"{name}: the {way.replace('_', ' ')} as a share of the cold start (30 : 1 is 3.3 %)",
                command=f"{way}_to_first_answer_{name}_minstr_p50 / cold_to_first_answer_{name}_minstr",
                values=[100 * median(each["latency_ns"] for each in times) / base],
                limit=share,
                digits=2,
            )
        )
    return figures
