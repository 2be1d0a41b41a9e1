"""Moving bytes: nothing is lost, doubled or reordered whatever the kernel takes, and reads grow only where they may."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest
from twisted.internet import abstract
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport

from credgate.service.upstream import flow
from credgate.service.upstream.flow import (
    BUFFER_SIZE,
    CAREFUL_SIZE,
    GROWN_SIZE,
    MAX_PIECES,
    Valve,
    grow,
    pace,
    send,
    shrink,
)


class Kernel:
    """A socket that takes ``room`` bytes, then says that it would block; or fails."""

    def __init__(self, room: int, *, broken: bool = False) -> None:
        self.room, self.broken = room, broken
        self.taken = b""
        self.pieces: list[int] = []

    def setblocking(self, _flag: bool) -> None:  # noqa: FBT001 - as sockets have it
        """Take it."""

    def fileno(self) -> int:
        """Have a number."""
        return 99

    def sendmsg(self, parts: list[bytes]) -> int:
        """Take what there is room for."""
        self.pieces.append(len(parts))
        return self.send(b"".join(parts))

    def send(self, data: bytes) -> int:
        """Take what there is room for."""
        if self.broken:
            raise ConnectionResetError(104, "reset")
        if not self.room:
            raise BlockingIOError(11, "would block")
        taken = bytes(data[: self.room])
        self.taken += taken
        self.room -= len(taken)
        return len(taken)


class Waiting:
    """A reactor that notes who wants to write."""

    def __init__(self) -> None:
        self.writers: set[object] = set()

    def addWriter(self, writer: object) -> None:
        """Note it."""
        self.writers.add(writer)

    def removeWriter(self, writer: object) -> None:
        """Note it."""
        self.writers.discard(writer)

    def removeReader(self, _reader: object) -> None:
        """Take it."""


def connected(room: int, *, broken: bool = False) -> tuple[Connection, Kernel, Waiting]:
    """Twisted's own TCP transport over a fake kernel."""
    kernel, reactor = Kernel(room, broken=broken), Waiting()
    transport = Connection(kernel, object(), reactor)  # type: ignore[arg-type]
    transport.connected = 1
    return transport, kernel, reactor


def test_private_fields_of_twisted_exist() -> None:
    """``send`` passes by a buffer of Twisted's; should it move, this says so before bytes are reordered."""
    transport, _, _ = connected(0)
    assert transport._tempDataLen == 0
    assert transport.dataBuffer == b""
    assert transport._writeDisconnected is False
    assert transport._writeDisconnecting is False
    assert "_tempDataLen" in abstract.FileDescriptor.write.__code__.co_names


def test_bytes_that_the_kernel_accepts_are_sent_at_once() -> None:
    """No turn of the reactor, nothing to wait for."""
    transport, kernel, reactor = connected(100)
    send(transport, [b"one ", b"two"])
    assert kernel.taken == b"one two"
    assert kernel.pieces == [2]
    assert reactor.writers == set()


@pytest.mark.parametrize("room", [0, 1, 4, 6])
def test_bytes_that_the_kernel_does_not_accept_follow_in_order(room: int) -> None:
    """Also when more is sent before the kernel takes the rest."""
    transport, kernel, reactor = connected(room)
    send(transport, [b"one ", b"two"])
    assert kernel.taken == b"one two"[:room]
    assert reactor.writers == {transport}
    send(transport, [b" three"])
    kernel.room = 100
    assert transport.doWrite() is None
    assert kernel.taken == b"one two three"
    assert reactor.writers == set()
    send(transport, [b" four"])
    assert kernel.taken == b"one two three four"


def test_a_full_transport_closes_its_valve() -> None:
    """Back-pressure is the transport's, whichever way the bytes went."""
    transport, kernel, _ = connected(10)
    said: list[str] = []
    transport.registerProducer(Valve(lambda: said.append("close"), lambda: said.append("open")), True)  # noqa: FBT003
    send(transport, [bytes(BUFFER_SIZE + 11)])
    assert said == ["close"]
    kernel.room = 2 * BUFFER_SIZE
    transport.doWrite()
    assert said == ["close", "open"]


def test_error_of_a_send_is_reported_by_the_transport() -> None:
    """Nothing is raised into the parser; the reactor meets the error and ends the connection."""
    transport, _, reactor = connected(0, broken=True)
    send(transport, [b"one"])
    assert reactor.writers == {transport}
    assert isinstance(transport.doWrite(), Exception)


@pytest.mark.parametrize("state", ["closed", "closing", "half-closing", "half-closed"])
def test_closing_transport_is_not_bypassed(state: str) -> None:
    """What Twisted would drop, or send later, is not sent behind its back."""
    transport, kernel, _ = connected(100)
    if state == "closed":
        transport.connected = 0
    elif state == "closing":
        transport.disconnecting = 1
    elif state == "half-closing":
        transport._writeDisconnecting = True
    else:
        transport._writeDisconnected = True
    send(transport, [b"one"])
    assert kernel.taken == b""


def test_many_pieces_are_joined() -> None:
    """The kernel takes only so many in one call."""
    transport, kernel, _ = connected(1000)
    send(transport, [b"x"] * (MAX_PIECES + 1))
    assert kernel.taken == b"x" * (MAX_PIECES + 1)
    assert kernel.pieces == [1]


def test_transport_other_than_tcp_is_written_to() -> None:
    """TLS, or a test's."""
    transport: Any = StringTransport()
    send(transport, [b"one ", b"two"])
    assert transport.value() == b"one two"


def test_reads_grow_while_they_are_full_and_shrink_again() -> None:
    """A connection that moves bulk reads more at once; one that is held does not keep that."""
    transport, _, _ = connected(0)
    transport.bufferSize = BUFFER_SIZE
    grow(transport, BUFFER_SIZE - 1)
    assert transport.bufferSize == BUFFER_SIZE
    grow(transport, BUFFER_SIZE)
    assert transport.bufferSize == GROWN_SIZE
    shrink(transport)
    assert transport.bufferSize == BUFFER_SIZE


def test_reads_that_are_mostly_framing_become_small_and_stay_so_when_held() -> None:
    """A chunk of one byte costs ten times as much as bulk, so such a client gets shorter turns."""
    transport, _, _ = connected(0)
    transport.bufferSize = GROWN_SIZE
    pace(transport, GROWN_SIZE, GROWN_SIZE // 6)
    assert transport.bufferSize == CAREFUL_SIZE
    shrink(transport)
    assert transport.bufferSize == CAREFUL_SIZE
    pace(transport, CAREFUL_SIZE - 1, CAREFUL_SIZE - 9)
    assert transport.bufferSize == CAREFUL_SIZE
    pace(transport, CAREFUL_SIZE, CAREFUL_SIZE - 8)
    assert transport.bufferSize == GROWN_SIZE


def test_a_valve_ignores_the_end_of_its_consumer() -> None:
    """The consumer's own connectionLost says it; a valve that closed the other side would make a cut look finished."""
    said: list[str] = []
    valve = Valve(lambda: said.append("close"), lambda: said.append("open"))
    valve.stopProducing()
    assert said == []
    valve.pauseProducing()
    valve.resumeProducing()
    assert said == ["close", "open"]


def test_bytes_pass_a_real_socket_unchanged(reactor_free_pair: tuple[socket.socket, socket.socket]) -> None:
    """The same on a kernel that is one."""
    ours, theirs = reactor_free_pair
    transport = Connection(ours, object(), Waiting())  # type: ignore[arg-type]
    transport.connected = 1
    sent = random.Random(1).randbytes(4_000_000)
    for place in range(0, len(sent), 50_000):
        piece = sent[place : place + 50_000]
        flow.send(transport, [piece[:7], piece[7:]])
    got = b""
    while len(got) < len(sent):
        got += theirs.recv(1 << 20)
        transport.doWrite()
    assert got == sent


@pytest.fixture
def reactor_free_pair() -> Any:
    """Two ends of a connection."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    with ours, theirs:
        yield ours, theirs
