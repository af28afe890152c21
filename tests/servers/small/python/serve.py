"""A small MCP server on stdin and stdout; the kind is the first argument."""
import json
import sys


def threads():
    import threading
    found = []
    threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()
    worker = threading.Thread(target=lambda: found.append("joined"))
    worker.start()
    worker.join()
    return found[0]


def sqlite():
    import sqlite3
    return sqlite3.connect(":memory:").execute("select 6 * 7").fetchone()[0]


def processes():
    import subprocess
    return subprocess.run([sys.executable, "-c", "print('child')"], capture_output=True, text=True).stdout.strip()


def asyncio_():
    import asyncio

    async def both():
        return await asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0.01, "b"))
    return "".join(asyncio.run(both()))


def zones():
    import datetime
    import zoneinfo
    return str(datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo")).utcoffset())


kinds = {"threads": threads, "processes": processes, "asyncio": asyncio_, "sqlite": sqlite, "zones": zones}
kind = sys.argv[1]
tried = ["sqlite", "zones"] if kind == "library" else [kind]
tools = [{"name": name, "description": str(kinds[name]()), "inputSchema": {"type": "object"}} for name in tried]
answers = {
    "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": kind, "version": "1"}},
    "tools/list": {"tools": tools},
}
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answers.get(message["method"], {})}), flush=True)
