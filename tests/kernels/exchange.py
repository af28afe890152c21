"""Connects to a guest's vsock port by the VM's socket, sends what it is told to and compares what
comes back: exchange.py SOCKET PORT BYTES. Waits for the socket, and for the guest to listen."""

import os
import socket
import sys
import threading
import time

path, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def connected():
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(path)
            stream.sendall(b"CONNECT %d\n" % port)
            answer = b""
            while not answer.endswith(b"\n"):
                more = stream.recv(1)
                if not more:
                    break
                answer += more
            if answer.startswith(b"OK "):
                return stream
        except OSError:
            pass
        stream.close()
        time.sleep(0.3)
    sys.exit("exchange: nobody listens in the guest")


stream = connected()
sent = os.urandom(count)
sender = threading.Thread(target=lambda: (stream.sendall(sent), stream.shutdown(socket.SHUT_WR)))
sender.start()
received = b""
while True:
    more = stream.recv(65536)
    if not more:
        break
    received += more
sender.join()
print("exchange: same" if received == sent else f"exchange: {len(received)} bytes came back, or others")
