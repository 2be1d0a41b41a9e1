"""A client that sends bytes as they are, keeps what it receives, and reads it by h11: attacker and judge.

h11 shares no code with credgate. ``Heard`` says how the connection ended, for an answer that is whole because the
connection closed and one that was cut by a reset must never be mistaken for one another.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import time
from typing import TYPE_CHECKING, Self

import h11
from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 20.0
"""Seconds after which a connection that has not ended counts as a hang; generous, for busy machines."""
RESET = struct.pack("ii", 1, 0)


@frozen
class Answer:
    """One answer that the client received."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    body: bytes
    whole: bool

    def get(self, name: bytes) -> bytes | None:
        """Find a field."""
        return dict(self.fields).get(name)


@frozen
class Heard:
    """What the client received, and how that ended: ``closed``, ``reset`` or still ``open``."""

    data: bytes
    end: str

    @property
    def answers(self) -> list[Answer]:
        """The answers in it; a piece that is no answer raises AssertionError."""
        return list(parse(self.data, ended=self.end == "closed"))

    @property
    def only(self) -> Answer:
        """The one answer in it."""
        answers = self.answers
        assert len(answers) == 1, self
        return answers[0]


def parse(data: bytes, *, ended: bool) -> Iterator[Answer]:
    """Read ``data`` as answers to GETs, interim ones left out."""
    while data:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 17)
        parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(data)
        if ended:
            parser.receive_data(b"")
        answer, data = _one(parser)
        if answer is None:
            return
        yield answer


def _one(parser: h11.Connection) -> tuple[Answer | None, bytes]:
    head: h11.Response | None = None
    body, whole = bytearray(), False
    with contextlib.suppress(h11.RemoteProtocolError):
        while True:
            event = parser.next_event()
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                whole = True
                break
            elif not isinstance(event, h11.InformationalResponse):
                break
    if head is None:
        return None, b""
    fields = tuple((bytes(name), bytes(value)) for name, value in head.headers)
    return Answer(head.status_code, fields, bytes(body), whole), parser.trailing_data[0] if whole else b""


def login(line: str) -> bytes:
    """Write the Authorization field that shows a session's ``TOKEN:SECRET``."""
    return b"Authorization: Basic " + base64.b64encode(b"x:" + line.encode())


class RawClient:
    """One connection to the gateway, from a loopback address of choice."""

    def __init__(self, port: int, *, source: str = "127.0.0.1", receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send all of it, unless the gateway ends the connection first; whether all was sent."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def reset(self) -> None:
        """Leave without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()

    def hear(self, *, answers: int = 0, seconds: float = DEADLINE) -> Heard:
        """Receive until the connection ends, or this many whole answers have come (0: none is enough), or too long."""
        data, deadline = bytearray(), time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return Heard(bytes(data), "open")
            self.socket.settimeout(left)
            try:
                piece = self.socket.recv(1 << 16)
            except TimeoutError:
                return Heard(bytes(data), "open")
            except ConnectionResetError:
                return Heard(bytes(data), "reset")
            if not piece:
                return Heard(bytes(data), "closed")
            data += piece
            if answers and sum(one.whole for one in parse(bytes(data), ended=False)) >= answers:
                return Heard(bytes(data), "open")


def ask(port: int, data: bytes, *, answers: int = 0, source: str = "127.0.0.1") -> Heard:
    """Send ``data`` on a connection of its own, and receive."""
    with RawClient(port, source=source) as client:
        client.send(data)
        return client.hear(answers=answers)
