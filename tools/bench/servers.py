"""The MCP servers that are frozen and cloned: what starts them, and what they are asked."""

import json
import os
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))


def request(number, method, **params):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


INITIALIZE = request(1, "initialize", protocolVersion="2025-06-18", capabilities={},
                     clientInfo={"name": "bench", "version": "1"})  # fmt: skip
INITIALIZED = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"})


@dataclass
class Server:
    name: str
    meaning: str
    image: str  # its name in the store of images
    words: list  # of `thimble run` and `thimble template`, after the options
    shown: str  # the same, as docs/benchmarks.md has it
    call: str  # a request for one of its tools


def python():
    with open(f"{HERE}/programs/mcp_server.py", encoding="utf-8") as file:
        source = file.read()
    return Server("python", "a Python server of the standard library", "python",
                  ["--image", "python", "--", "python3", "-c", source],
                  '--image python -- python3 -c "$(<tools/bench/programs/mcp_server.py)"',
                  request(2, "tools/call", name="echo", arguments={"text": "hello"}))  # fmt: skip


def node():
    package = "@modelcontextprotocol/server-memory"
    return Server("node", "npm's server-memory", f"npm:{package}@latest",
                  ["--", "npx", "-y", package], f"-- npx -y {package}",
                  request(2, "tools/call", name="read_graph", arguments={}))  # fmt: skip


SERVERS = [python(), node()]
# `thimble prepare` takes these words of each.
COMMANDS = [["--", "echo"], *[server.words for server in SERVERS]]
