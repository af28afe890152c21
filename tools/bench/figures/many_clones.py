"""How claims and memory grow with the number of clones that are there already, and a hundred at once:
of clones that stay awake, and of a hundred whose memory is reclaimed. THIMBLE_BENCH_CLONES says with how
many it ends."""

import os
import resource
import time

import servers
from figure import Figure
from figures.clone_memory import free_kib, memory_parts
from pool import STORE, Pool

MAX_CLONES = int(os.environ.get("THIMBLE_BENCH_CLONES", "300"))
STEPS = (1, 10, 100, 300)
HUNDRED = 100
CLAIMS = 5  # from warm VMs that wait, with so many clones there
# Guests wake up by themselves, at first every few seconds (docs/pool.md): by then most are reclaimed.
UNTIL_REST_S = 60


def measure(box):
    server = servers.python()
    figures = []
    # `claims` has several descriptors for each clone.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Pool(box, server, options=("--reclaim-after", "never")) as pool:
        time.sleep(5)
        free = free_kib()
        with pool.held("storm", 0, servers.INITIALIZE) as clones:
            started = {"latency_ns": 0, "busy_ns": 0}
            for count in [step for step in STEPS if step <= MAX_CLONES]:
                clones.claim(count - len(clones.each))
                started = {key: started[key] + clones.together[key] for key in started}
                figures += at(count, clones, free)
                figures.append(one_more(count, pool))
                if count == HUNDRED:
                    figures += hundred(clones, started, server, free)
    if MAX_CLONES >= HUNDRED:
        with Pool(box, server) as pool:
            figures += hundred_at_rest(pool, server)
    return figures


def hundred_at_rest(pool, server):
    time.sleep(5)
    free = free_kib()
    with pool.held("storm", HUNDRED, servers.INITIALIZE) as clones:
        clones.ask(servers.INITIALIZED)
        clones.ask(server.call)
        time.sleep(UNTIL_REST_S)
        memory = (free - free_kib()) / 1024
        guests = [memory_parts(pid)["pss"] for pid in clones.pids]
        call = clones.ask(server.call)
    asked = f"claims storm {HUNDRED} DAEMON {STORE} TEMPLATE INITIALIZE <<< tools/call; sleep {UNTIL_REST_S}"
    return [
        Figure(key="hundred_at_rest_guest_pss_kib", command=asked, values=guests, digits=0,
               meaning=f"python: guest memory (PSS) of each of {HUNDRED}, a minute after a call, KiB"),
        Figure(key="hundred_at_rest_memory_mib", command=asked, values=[memory], digits=0, repeatable=False,
               ceiling=3000, meaning=f"… free memory of the host less with all {HUNDRED}, MiB"),
        Figure(key="hundred_at_rest_answer_minstr", command=asked + "; tools/call", values=[call["latency_ns"] / 1e6],
               busy=[call["busy_ns"] / 1e6], meaning="… then a tool of each is called at once, until all have answered"),
    ]  # fmt: skip


def command(count):
    return f"thimble daemon --reclaim-after never & claims storm {count} DAEMON {STORE} TEMPLATE INITIALIZE"


def at(count, clones, free):
    """With so many clones there."""
    last = clones.each[-max(1, count // 10) :]
    return [
        Figure(
            key=f"claim_of_{count}_minstr",
            meaning=f"python, clones claimed without a pause: claim to first answer, of the last {len(last)} of {count}",
            command=command(count),
            values=[each["latency_ns"] / 1e6 for each in last],
            busy=[each["busy_ns"] / 1e6 for each in last],
            digits=2,
        ),
        memory_figure(f"clones_{count}_guest_pss_kib", f"… guest memory (PSS) of each of the {count}, KiB", count,
                      [memory_parts(pid)["pss"] for pid in clones.pids]),
        memory_figure(f"clones_{count}_host_kib", "… free memory of the host less for each", count,
                      [(free - free_kib()) / count], of_host=True),
    ]  # fmt: skip


def one_more(count, pool):
    with pool.held("hold", CLAIMS, servers.INITIALIZE) as more:
        claims = more.each
    return Figure(
        key=f"claim_with_{count}_there_minstr",
        meaning=f"… one more with {count} there, from a warm VM that waits: claim to first answer",
        command=f"claims hold {CLAIMS} DAEMON {STORE} TEMPLATE INITIALIZE",
        values=[each["latency_ns"] / 1e6 for each in claims],
        busy=[each["busy_ns"] / 1e6 for each in claims],
        digits=2,
    )


def memory_figure(key, meaning, count, values, of_host=False):
    # What else the box's kernel frees and takes meanwhile is in the host's.
    return Figure(key=key, meaning=meaning, command=command(count), values=values, digits=0,
                  repeatable=not of_host, ceiling=65536 if of_host else None)  # fmt: skip


def hundred(clones, started, server, free):
    memory = (free - free_kib()) / 1024
    clones.ask(servers.INITIALIZED)
    call = clones.ask(server.call)
    return [
        Figure(
            key="hundred_vms_start_minstr",
            meaning=f"python: {HUNDRED} clones claimed without a pause, until the last one has answered",
            command=command(HUNDRED),
            values=[started["latency_ns"] / 1e6],
            busy=[started["busy_ns"] / 1e6],
        ),
        Figure(
            key="hundred_vms_answer_minstr",
            meaning=f"… then a tool of each of the {HUNDRED} is called at once, until all have answered",
            command=command(HUNDRED) + " <<< tools/call",
            values=[call["latency_ns"] / 1e6],
            busy=[call["busy_ns"] / 1e6],
        ),
        Figure(
            key="hundred_vms_memory_mib",
            meaning=f"… free memory of the host less with all {HUNDRED}, MiB",
            command=command(HUNDRED),
            values=[memory],
            digits=0,
            repeatable=False,
            ceiling=3000,
        ),
    ]
