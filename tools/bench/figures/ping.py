"""What the way through thimble adds to one MCP ping over stdio: host and guest together."""

from figure import Figure

COUNT = "200"
FIRST = (
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",'
    '"capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}'
)
PING = '{"jsonrpc":"2.0","id":2,"method":"ping"}'


def measure(box):
    server = "/bench/ping_server"
    bare = [server]
    inside = ["/bench/thimble", "run", "--image", "/bench/ping.erofs", "--", "/ping_server"]
    box.make_image("ping.erofs", ["ping_server"])
    runs = {}
    for name, command in (("bare", bare), ("inside", inside)):
        runs[name] = [
            box.call("lines", COUNT, FIRST, PING, "--", *command)
            for _ in range(max(2, box.rounds // 2))
        ]
    base = min(run["latency_ns"] for run in runs["bare"])
    base_busy = min(run["busy_ns"] for run in runs["bare"])
    return [
        Figure(
            key="stdio_ping_added_kinstr",
            meaning="one MCP ping through thimble, less the same without it",
            command=f"stopwatch lines {COUNT} INITIALIZE PING -- {' '.join(inside)}",
            values=[(run["latency_ns"] - base) / 1e3 for run in runs["inside"]],
            busy=[(run["busy_ns"] - base_busy) / 1e3 for run in runs["inside"]],
        ),
        Figure(
            key="stdio_ping_bare_kinstr",
            meaning="the same server without thimble, for comparison",
            command=f"stopwatch lines {COUNT} INITIALIZE PING -- {' '.join(bare)}",
            values=[run["latency_ns"] / 1e3 for run in runs["bare"]],
            busy=[run["busy_ns"] / 1e3 for run in runs["bare"]],
        ),
    ]
