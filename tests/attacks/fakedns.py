"""A resolver that answers any question by TCP alone, with a message of the test's choice: up to 64 KiB."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_TRUNCATED, _ANSWERED = 0x8380, 0x8180


class FakeDns:
    """Listens on a loopback port, UDP and TCP, until ``close``.

    ``script`` is given the question's bytes and returns how many answers there are, and the bytes behind the question.
    """

    def __init__(self) -> None:
        self.script: Callable[[bytes], tuple[int, bytes]] = lambda _question: (0, b"")
        self._tcp, self._udp = socket.create_server(("127.0.0.1", 0)), socket.socket(type=socket.SOCK_DGRAM)
        self.port: int = self._tcp.getsockname()[1]
        self._udp.bind(("127.0.0.1", self.port))
        for serve in (self._datagrams, self._streams):
            threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        """End both threads."""
        for one in (self._tcp, self._udp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _datagrams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, place = self._udp.recvfrom(4096)
                if not query:
                    return
                self._udp.sendto(_message(query, _TRUNCATED, 0, b""), place)

    def _streams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _place = self._tcp.accept()
                threading.Thread(target=self._stream, args=(stream,), daemon=True).start()

    def _stream(self, stream: socket.socket) -> None:
        with stream, stream.makefile("rwb") as file, contextlib.suppress(OSError):
            while length := file.read(2):
                query = file.read(int.from_bytes(length, "big"))
                reply = _message(query, _ANSWERED, *self.script(_question(query)))
                file.write(len(reply).to_bytes(2, "big") + reply)
                file.flush()


def _question(query: bytes) -> bytes:
    at = 12
    while query[at]:
        at += query[at] + 1
    return query[12 : at + 5]


def _message(query: bytes, flags: int, count: int, rest: bytes) -> bytes:
    head = query[:2] + struct.pack("!5H", flags, 1, count, 0, 0)
    return (head + _question(query) + rest)[:65535]
