"""The bulk upstream: sends and swallows git bodies of any size as fast as the kernel does, plain and in TLS.

A process of its own, one thread a connection; every call that moves bytes runs outside of Python's lock, so it is
never what a measurement waits for (the table's row ``direct`` shows by how much). What it serves is in the path:

    POST /bench/length-N/git-upload-pack     N MiB with Content-Length
    POST /bench/chunked-N/git-upload-pack    N MiB in chunks of 32 KiB
    POST /bench/.../git-receive-pack         reads the body to its end, then answers how many bytes it was
    POST /bench/stalled/git-receive-pack     never reads the body

nginx could serve the first, but can only answer an upload before it has read it, or after writing it to a file.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
import sys
import threading
from typing import Final

MIB: Final = 1024 * 1024
CHUNK: Final = 32 * 1024
BLOCK: Final = (b"%x\r\n" % CHUNK + bytes(CHUNK) + b"\r\n") * (MIB // CHUNK)
FILE_MIB: Final = 64

_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_CHUNKED: Final = re.compile(rb"(?i)\r\ntransfer-encoding: *chunked")
_WANTED: Final = re.compile(rb"/(length|chunked)-([0-9]+)(?:\.git)?/git-upload-pack ")
_HEAD: Final = b"HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nContent-Type: application/x-git-%b-result\r\n%b\r\n\r\n"


class Visit:
    """One connection: requests until the client leaves."""

    def __init__(self, connection: socket.socket, file: int) -> None:
        self._connection, self._file = connection, file
        self._buffer = memoryview(bytearray(256 * 1024))

    def serve(self) -> None:
        """Answer one request after the other."""
        with contextlib.suppress(OSError), self._connection:
            while head := self._head():
                head, _, body = head.partition(b"\r\n\r\n")
                if b"/stalled" in head[: head.index(b"\r\n")]:
                    self._wait()
                    return
                size = self._swallow(head, body)
                self._answer(head, size)

    def _head(self) -> bytes:
        head = b""
        while b"\r\n\r\n" not in head:
            data = self._connection.recv(64 * 1024)
            if not data:
                return b""
            head += data
        return head

    def _wait(self) -> None:
        """Let the client wait until it leaves."""
        watch = select.poll()
        watch.register(self._connection, select.POLLRDHUP | select.POLLHUP)
        watch.poll()

    def _swallow(self, head: bytes, body: bytes) -> int:
        """Read what is left of the body; how many bytes it was, framing included."""
        length = _LENGTH.search(head)
        total, tail = len(body), body[-5:]
        # Bodies here are NUL bytes: nothing in one looks like the last chunk.
        while total < int(length[1]) if length else _CHUNKED.search(head) and tail != b"0\r\n\r\n":
            got = self._connection.recv_into(self._buffer)
            if not got:
                raise ConnectionError
            total += got
            tail = (tail + bytes(self._buffer[max(0, got - 5) : got]))[-5:]
        return total

    def _answer(self, head: bytes, size: int) -> None:
        wanted = _WANTED.search(head[: head.index(b"\r\n")])
        if wanted is None:
            body = b"%d" % size
            self._connection.sendall(_HEAD % (b"receive-pack", b"Content-Length: %d" % len(body)) + body)
            return
        mib = int(wanted[2])
        if wanted[1] == b"chunked":
            self._connection.sendall(_HEAD % (b"upload-pack", b"Transfer-Encoding: chunked"))
            for _ in range(mib):
                self._connection.sendall(BLOCK)
            self._connection.sendall(b"0\r\n\r\n")
        else:
            self._connection.sendall(_HEAD % (b"upload-pack", b"Content-Length: %d" % (mib * MIB)))
            self._send(mib * MIB)

    def _send(self, left: int) -> None:
        if isinstance(self._connection, ssl.SSLSocket):
            while left:
                left -= self._connection.send(bytes(min(left, MIB)))
        while left:
            left -= os.sendfile(self._connection.fileno(), self._file, 0, min(left, FILE_MIB * MIB))


def _accept(listener: socket.socket, context: ssl.SSLContext | None, file: int) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_visit, args=(connection, context, file), daemon=True).start()


def _visit(connection: socket.socket, context: ssl.SSLContext | None, file: int) -> None:
    with contextlib.suppress(OSError):
        Visit(context.wrap_socket(connection, server_side=True) if context else connection, file).serve()


def main(port: int, tls_port: int, chain: str) -> None:
    """Serve for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    file = os.memfd_create("zeros")
    os.truncate(file, FILE_MIB * MIB)
    plain, tls = (socket.create_server(("127.0.0.1", number), backlog=256) for number in (port, tls_port))
    threading.Thread(target=_accept, args=(plain, None, file), daemon=True).start()
    _accept(tls, context, file)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
