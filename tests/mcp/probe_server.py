"""An MCP server with one tool that looks for the host: kernel, name, files, network.

Standard library only, line by line over stdio. The tests compare what it sees with the real host.
"""

import json
import os
import socket
import sys


def try_connect():
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=2).close()
        return "connected"
    except OSError as error:
        return str(error)


def probe():
    home = os.path.expanduser("~")
    return {
        "kernel": os.uname().release,
        "hostname": socket.gethostname(),
        "boot_id": open("/proc/sys/kernel/random/boot_id").read().strip(),
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "home": sorted(os.listdir(home)) if os.path.isdir(home) else [],
        "root": sorted(os.listdir("/")),
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "environment": sorted(os.environ),
        "parent": os.getppid(),
        "parent_name": open(f"/proc/{os.getppid()}/comm").read().strip(),
        "connect": try_connect(),
    }


def answer(message):
    method = message["method"]
    if method == "initialize":
        version = message["params"]["protocolVersion"]
        info = {"name": "probe", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        tool = {"name": "probe", "description": "Says what can be seen", "inputSchema": {"type": "object"}}
        return {"tools": [tool]}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": json.dumps(probe())}]}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        reply = {"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
