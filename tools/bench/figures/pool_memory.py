"""What one more clone of a real server costs in memory: claimed from the pool, and after a call of one
of its tools; as it is once it waits for its client, reclaimed (docs/pool.md), and while it is
awake. Guest memory by PSS: pages of the template that several clones have read are shared out among
them, pages that a clone has changed are its own. What a reclaimed clone keeps in their place is in the
private memory of its VMM process. And what a call takes that wakes it."""

import time

import servers
from box import ROOT
from differences import FEW_WORDS, differences
from figure import Figure
from figures.clone_memory import memory_parts
from pool import STORE, Pool

CLONES = 10
CALLS = 5
LIMITS = {"python": (512, 1536), "node": (None, None)}
LONGEST_S = 30
AT_REST_KIB = 64  # of guest memory: nothing, or a page that something looks at


def measure(box):
    figures = []
    for server in servers.SERVERS:
        with Pool(box, server) as pool:
            figures += measure_at_rest(pool, server)
            figures += measure_calls(pool, server)
        with Pool(box, server, options=("--reclaim-after", "never")) as pool:
            figures += measure_awake(pool, server)
        # With a working set a clone has pages that it has not changed yet.
        with Pool(box, server, working_sets=False, options=("--reclaim-after", "never")) as pool:
            figures += measure_differences(pool, server)
    return figures


def await_rest(clones):
    """Until all of them are reclaimed at once. One that never is, is in the figures."""
    for _ in range(LONGEST_S * 10):
        parts = [memory_parts(pid) for pid in clones.pids]
        if all(each["pss"] <= AT_REST_KIB for each in parts):
            return parts
        time.sleep(0.1)
    return parts


def call_once(clones, server):
    for line in (servers.INITIALIZE, servers.INITIALIZED, server.call):
        clones.ask(line)


def measure_at_rest(pool, server):
    with pool.held("hold", CLONES) as clones:
        idle = await_rest(clones)
        call_once(clones, server)
        time.sleep(0.1)
        used = await_rest(clones)
    name = server.name
    command = f"claims hold {CLONES} DAEMON {STORE} TEMPLATE"
    asked = command + " <<< INITIALIZE, notifications/initialized, tools/call"
    idle_limit, used_limit = LIMITS[name]
    return [
        figure(f"clone_pss_idle_{name}_kib", f"{name}: guest memory (PSS) of each of {CLONES} clones that wait, KiB",
               command, idle, "pss", idle_limit),
        figure(f"clone_vmm_idle_{name}_kib", "private memory of its VMM process, with what it keeps of the guest's",
               command, idle, "own"),
        figure(f"clone_pss_after_call_{name}_kib", f"{name}: … guest memory after `initialize` and a call of a tool",
               asked, used, "pss", used_limit),
        figure(f"clone_vmm_after_call_{name}_kib", "private memory of its VMM process then", asked, used, "own"),
    ]  # fmt: skip


def measure_awake(pool, server):
    with pool.held("hold", CLONES) as clones:
        time.sleep(1)
        idle = [memory_parts(pid) for pid in clones.pids]
        call_once(clones, server)
        time.sleep(1)
        used = [memory_parts(pid) for pid in clones.pids]
    name = server.name
    command = f"thimble daemon --reclaim-after never & claims hold {CLONES} DAEMON {STORE} TEMPLATE"
    asked = command + " <<< INITIALIZE, notifications/initialized, tools/call"
    return [
        figure(f"awake_pss_idle_{name}_kib", f"{name}: the same of clones whose memory is never reclaimed", command, idle, "pss"),
        figure(f"awake_changed_idle_{name}_kib", "the part of it that is the clone's own", command, idle, "changed"),
        figure(f"awake_pss_after_call_{name}_kib", f"{name}: … after `initialize` and a call", asked, used, "pss"),
        figure(f"awake_changed_after_call_{name}_kib", "the part of it that is the clone's own", asked, used, "changed"),
        figure(f"awake_vmm_after_call_{name}_kib", "private memory of its VMM process outside guest memory", asked,
               used, "own"),
    ]  # fmt: skip


def measure_differences(pool, server):
    with pool.held("hold", 1) as clones:
        time.sleep(1)
        template = f"{ROOT}{STORE}/{pool.template}/memory"
        idle = differences(clones.pids[0], template)
        call_once(clones, server)
        time.sleep(1)
        used = differences(clones.pids[0], template)
    command = f"thimble daemon --reclaim-after never --no-working-sets & claims hold 1 DAEMON {STORE} TEMPLATE"
    figures = []
    for when, found in (("idle", idle), ("after_call", used)):
        name = f"{when}_{server.name}"
        figures += [
            one(f"changed_pages_{name}", f"{server.name}, {when.replace('_', ' ')}: pages that a clone has made its own",
                command, found.pages),
            one(f"changed_pages_same_{name}", "… whose content is the template's", command, found.same),
            one(f"changed_pages_few_{name}", f"… that differ in 1 to {FEW_WORDS} words", command, found.few),
            one(f"changed_words_{name}_kib", "… and all that differs in them, KiB", command, found.words * 8 / 1024),
        ]  # fmt: skip
    return figures


def one(key, meaning, command, value):
    return Figure(key=key, meaning=meaning, command=command, values=[value], digits=0)


def measure_calls(pool, server):
    with pool.held("hold", 1) as clones:
        call_once(clones, server)
        awake = [clones.ask(server.call) for _ in range(CALLS)]
        woken = []
        for _ in range(CALLS):
            await_rest(clones)
            woken.append(clones.ask(server.call))
    command = f"claims hold 1 DAEMON {STORE} TEMPLATE <<< tools/call"
    return [
        times(f"call_awake_{server.name}_minstr", f"{server.name}: a call of a tool, to its answer", command, awake),
        times(f"call_at_rest_{server.name}_minstr", "… of a clone whose memory was reclaimed", command, woken),
    ]  # fmt: skip


def times(key, meaning, command, took):
    return Figure(key=key, meaning=meaning, command=command, values=[each["latency_ns"] / 1e6 for each in took],
                  busy=[each["busy_ns"] / 1e6 for each in took], digits=2)  # fmt: skip


def figure(key, meaning, command, clones, part, limit=None):
    return Figure(key=key, meaning=meaning, command=command, values=[each[part] for each in clones],
                  limit=limit, digits=0)  # fmt: skip
