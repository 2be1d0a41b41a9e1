"""Sends UDP datagrams to ``address port`` as fast as it can until it is ended, and never reads.

Run as a script: ``flood.py ADDRESS PORT NAME``. Every datagram is a query for an A record with another id.
"""

from __future__ import annotations

import socket
import sys


def main() -> None:
    """Send until the end."""
    host, port, name = sys.argv[1:]
    labels = b"".join(len(part).to_bytes() + part.encode() for part in name.split("."))
    tail = b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
    queries = [number.to_bytes(2) + tail for number in range(65536)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.connect((host, int(port)))
        while True:
            for query in queries:
                try:
                    sending.send(query)
                except ConnectionRefusedError:
                    return


if __name__ == "__main__":
    main()
