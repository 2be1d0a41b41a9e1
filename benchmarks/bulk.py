"""Bulk transfers by a client that uses almost no processor time: raw sockets, sendfile, reads that the kernel discards.

Each transfer is one request on its own connection. Its status is checked, and that every byte arrived. The time is from
the first byte of the request to the last byte of the answer.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.targets import Place

MIB = 1024 * 1024
FILE_MIB = 64
DEADLINE = 60
"""Seconds that nothing may come, or be taken."""
CHUNK = b"10000\r\n" + bytes(65536) + b"\r\n"
"""64 KiB: what git, through curl, sends in one chunk of a push."""

_NONE = "0" * 40
_COMMAND = f"{_NONE} {'1' * 40} refs/heads/main\0report-status side-band-64k\n".encode()
PUSH = b"%04x%b0000PACK" % (len(_COMMAND) + 4, _COMMAND)
"""How a push's body begins: one command, the flush, the pack."""


class TransferError(Exception):
    """A transfer did not do what it should have."""


def down(place: Place, mib: int, *, chunked: bool = False) -> float:
    """Download ``mib`` MiB; MB/s."""
    kind = "chunked" if chunked else "length"
    path = f"/bench/{kind}-{mib}/git-upload-pack"
    with connect(place) as connection:
        began = time.perf_counter()
        connection.sendall(request_head(place, path, "upload-pack", b"Content-Length: 4") + b"0000")
        head, rest = _answer_head(connection)
        got = len(rest) + _discard(connection, head, mib * MIB - len(rest))
        took = time.perf_counter() - began
    if got < mib * MIB:
        raise TransferError(f"{place.name}: {got} bytes of {mib} MiB arrived")
    return mib * MIB / took / 1e6


def up(place: Place, mib: int, *, chunked: bool) -> float:
    """Upload ``mib`` MiB as the body of a push; MB/s."""
    size = mib * MIB + len(PUSH)
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    with connect(place) as connection:
        began = time.perf_counter()
        connection.sendall(request_head(place, "/bench/upload/git-receive-pack", "receive-pack", framing))
        if chunked:
            _send_chunks(connection, mib)
        else:
            _send_file(connection, mib)
        head, rest = _answer_head(connection)
        took = time.perf_counter() - began
        body = rest or connection.recv(4096)
    if not head.startswith(b"HTTP/1.1 200") or max(map(int, re.findall(rb"[0-9]+", body))) < mib * MIB:
        raise TransferError(f"{place.name}: {head!r} {body!r}")
    return mib * MIB / took / 1e6


def connect(place: Place) -> socket.socket:
    """Connect, with TLS where the place has it."""
    connection = socket.create_connection(("127.0.0.1", place.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for deadline in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # of the kernel: Python's own make sockets non-blocking
        connection.setsockopt(socket.SOL_SOCKET, deadline, struct.pack("ll", DEADLINE, 0))
    if place.authority is None:
        return connection
    return ssl.create_default_context(cafile=place.authority).wrap_socket(connection, server_hostname="localhost")


def request_head(place: Place, path: str, service: str, framing: bytes) -> bytes:
    """Write the head of a git request; ``framing`` is the field that says how long its body is."""
    lines = [
        f"POST {place.prefix}{path} HTTP/1.1",
        f"Host: 127.0.0.1:{place.port}",
        "User-Agent: git/2.39.5",
        "Accept-Encoding: deflate, gzip",
        f"Content-Type: application/x-git-{service}-request",
        f"Accept: application/x-git-{service}-result",
        *place.fields,
    ]
    return "\r\n".join(lines).encode() + b"\r\n" + framing + b"\r\n\r\n"


def _answer_head(connection: socket.socket) -> tuple[bytes, bytes]:
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(4096)
        if not data:
            raise TransferError(f"no answer: {head!r}")
        head += data
    head, _, rest = head.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise TransferError(f"{head!r} {rest!r}")
    return head, rest


def _discard(connection: socket.socket, head: bytes, left: int) -> int:
    """Read the body away: by count, or for a chunked one until its end."""
    buffer = bytearray(MIB)
    total = 0
    if b"content-length:" in head.lower():
        flags = 0 if isinstance(connection, ssl.SSLSocket) else socket.MSG_TRUNC
        while total < left and (got := connection.recv_into(buffer, 0, flags)):
            total += got
        return total
    tail = b""
    while tail != b"0\r\n\r\n" and (got := connection.recv_into(buffer)):
        total += got
        tail = (tail + buffer[max(0, got - 5) : got])[-5:]
    return total


def _send_chunks(connection: socket.socket, mib: int) -> None:
    connection.sendall(b"%x\r\n%b\r\n" % (len(PUSH), PUSH))
    block = CHUNK * 16
    for _ in range(mib):
        connection.sendall(block)
    connection.sendall(b"0\r\n\r\n")


def _send_file(connection: socket.socket, mib: int) -> None:
    connection.sendall(PUSH)
    if isinstance(connection, ssl.SSLSocket):
        for _ in range(mib):
            connection.sendall(bytes(MIB))
        return
    file = os.memfd_create("zeros")
    try:
        os.truncate(file, FILE_MIB * MIB)
        left = mib * MIB
        while left:
            left -= os.sendfile(connection.fileno(), file, 0, min(left, FILE_MIB * MIB))
    finally:
        os.close(file)
