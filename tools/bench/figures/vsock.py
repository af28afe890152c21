"""vsock between the host's socket and a program in the guest: round trip of a byte, and bulk."""

from figure import Figure

SOCKET = "/tmp/v.sock"


def measure(box):
    command = box.thimble_boot("vsock_init.cpio", "--vsock", SOCKET)
    runs = []
    for _ in range(max(2, box.rounds // 2)):
        with box.running(command, "vsock-listens"):
            runs.append(box.peer(SOCKET))
        box.remove(SOCKET)
    text = " ".join(command) + f" & vsock_peer {SOCKET}"
    return [
        Figure(
            key=f"vsock_{key}_kinstr",
            meaning=meaning,
            command=text,
            values=[run[f"{name}_ns"] / 1e3 for run in runs],
            busy=[run[f"{name}_busy_ns"] / 1e3 for run in runs],
        )
        for key, name, meaning in (
            ("round_trip", "round_trip", "vsock: one byte to an echoing guest and back"),
            ("to_guest_mib", "to_guest", "vsock: 1 MiB of a stream from host to guest"),
            ("from_guest_mib", "from_guest", "vsock: 1 MiB of a stream from guest to host"),
        )
    ]
