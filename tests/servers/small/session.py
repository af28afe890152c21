#!/usr/bin/env python3
"""One session with a server: prints its answer to tools/list as it came.   session.py LIMIT CMD…"""
import json
import subprocess
import sys

INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "small", "version": "1"}}


def main():
    server = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def request(number, method, params):
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        server.stdin.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        server.stdin.flush()
        return server.stdout.readline()

    request(1, "initialize", INITIALIZE)
    server.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
    tools = request(2, "tools/list", {})
    server.stdin.close()
    rest = server.stdout.read()
    status = server.wait(timeout=float(sys.argv[1]))
    sys.stdout.buffer.write(tools + rest)
    print("status", status)


main()
