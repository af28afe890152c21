"""What one more clone of a real server costs in memory: claimed from the pool, and after a call of one
of its tools. Guest memory by PSS: pages of the template that several clones have read are shared out
among them, pages that a clone has changed are its own."""

import time

import servers
from figure import Figure
from figures.clone_memory import memory_parts
from pool import STORE, Pool

CLONES = 10
LIMITS = {"python": (512, 1536), "node": (None, None)}


def measure(box):
    figures = []
    for server in servers.SERVERS:
        with Pool(box, server) as pool:
            figures += measure_server(pool, server)
    return figures


def measure_server(pool, server):
    with pool.held("hold", CLONES) as clones:
        time.sleep(1)
        idle = [memory_parts(pid) for pid in clones.pids]
        for line in (servers.INITIALIZE, servers.INITIALIZED, server.call):
            clones.ask(line)
        time.sleep(1)
        used = [memory_parts(pid) for pid in clones.pids]
    name = server.name
    command = f"claims hold {CLONES} DAEMON {STORE} TEMPLATE"
    asked = command + " <<< INITIALIZE, notifications/initialized, tools/call"
    idle_limit, used_limit = LIMITS[name]
    return [
        figure(f"clone_pss_idle_{name}_kib", f"{name}: guest memory (PSS) of each of {CLONES} clones that wait, KiB",
               command, idle, "pss", idle_limit),
        figure(f"clone_changed_idle_{name}_kib", "the part of it that is the clone's own", command, idle, "changed"),
        figure(f"clone_pss_after_call_{name}_kib", f"{name}: … after `initialize` and a call of a tool",
               asked, used, "pss", used_limit),
        figure(f"clone_changed_after_call_{name}_kib", "the part of it that is the clone's own", asked, used, "changed"),
        figure(f"clone_vmm_after_call_{name}_kib", "private memory of its VMM process outside guest memory",
               asked, used, "own"),
    ]  # fmt: skip


def figure(key, meaning, command, clones, part, limit=None):
    return Figure(key=key, meaning=meaning, command=command, values=[each[part] for each in clones],
                  limit=limit, digits=0)  # fmt: skip
