"""The UDP and TCP listeners, with fake transports and a fake clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.testing import StringTransportWithDisconnection

from credgate.dns.framing import Frames, frame
from credgate.service.dns import listeners
from credgate.service.dns.listeners import Datagrams, Stream, StreamFactory
from tests.fakes import dnswire as w
from tests.service.dns.test_queries import FOUND, Rig

PEER = IPv4Address("TCP", "10.0.0.1", 4000)
REFUSED = w.question("secret.example")
ASKED = w.question("ok.example")


class Socket:
    """A datagram socket that sends, or fails to."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []
        self.broken = False

    def getHandle(self) -> Socket:
        """Return itself: this is the transport, too."""
        return self

    def sendto(self, reply: bytes, addr: Any) -> None:
        """Take a datagram."""
        if self.broken:
            raise BlockingIOError
        self.sent.append((reply, addr))


class Door:
    """The UDP listener."""

    def __init__(self) -> None:
        self.rig, self.socket = Rig(), Socket()
        self.protocol = Datagrams(self.rig.handler, self.rig.clock)
        self.protocol.makeConnection(self.socket)

    def send(self, message: bytes) -> list[tuple[bytes, Any]]:
        """Send a datagram; what was sent back so far."""
        self.protocol.datagramReceived(message, ("10.0.0.1", 4000))
        return self.socket.sent


def test_a_datagram_is_answered_to_its_sender() -> None:
    """At once, or after the upstream has answered."""
    door = Door()
    assert [(w.rcode(reply), addr) for reply, addr in door.send(REFUSED)] == [("NXDOMAIN", ("10.0.0.1", 4000))]
    assert len(door.send(ASKED)) == 1
    door.rig.lookups.waiting[0][1].callback(FOUND)
    assert w.answers(door.socket.sent[1][0])


def test_message_without_reply_sends_nothing() -> None:
    """Nothing is sent for a response or for one octet."""
    door = Door()
    assert door.send(w.question("ok.example", flags=0x8180)) == []
    assert door.send(b"\0") == []


def test_unsendable_reply_is_dropped_and_counted() -> None:
    """For example with a full socket buffer; no traceback for each packet."""
    door = Door()
    door.socket.broken = True
    door.send(REFUSED)
    door.send(ASKED)
    door.rig.lookups.waiting[0][1].callback(FOUND)
    assert door.protocol.unsent == 2


def test_late_reply_after_stop_is_dropped() -> None:
    """The service stopped before the reply was ready."""
    door = Door()
    door.send(ASKED)
    door.protocol.stopProtocol()
    door.rig.lookups.waiting[0][1].callback(FOUND)
    assert door.socket.sent == []


class Line:
    """One TCP connection."""

    def __init__(self, most: int = 10, most_per_address: int = 10) -> None:
        self.rig = Rig()
        self.factory = StreamFactory(self.rig.handler, self.rig.clock, most, most_per_address)
        self.stream, self.transport = self.connect()

    def connect(self, peer: Any = PEER) -> tuple[Any, Any]:
        """Open a connection; ``None`` if it is not accepted."""
        stream: Any = self.factory.buildProtocol(peer)
        if stream is None:
            return None, None
        transport: Any = StringTransportWithDisconnection(peerAddress=peer)
        transport.protocol = stream
        stream.makeConnection(transport)
        return stream, transport

    def send(self, *messages: bytes) -> None:
        """Send messages in one go."""
        self.stream.dataReceived(b"".join(map(frame, messages)))

    def replies(self) -> list[str]:
        """Say the codes of what has come back."""
        return [w.rcode(reply) for reply in Frames(65535).receive(self.transport.value())]


def test_pipelined_questions_are_answered() -> None:
    """Several in one read; a query that waits for an upstream does not delay the others."""
    line = Line()
    line.send(REFUSED, ASKED, REFUSED)
    assert line.replies() == ["NXDOMAIN", "NXDOMAIN"]
    line.rig.lookups.waiting[0][1].callback(FOUND)
    assert line.replies() == ["NXDOMAIN", "NXDOMAIN", "NOERROR"]


def test_stream_is_parsed_for_any_split() -> None:
    """Byte by byte, length and message alike."""
    line = Line()
    for octet in frame(REFUSED) + frame(REFUSED):
        line.stream.dataReceived(bytes([octet]))
    assert line.replies() == ["NXDOMAIN", "NXDOMAIN"]


def test_invalid_length_closes_the_connection() -> None:
    """0 and above the limit; the questions before it were answered in their own reads."""
    for length in (b"\0\0", b"\x02\x01", b"\xff\xff"):
        line = Line()
        line.stream.dataReceived(length)
        assert line.transport.disconnected


def test_message_without_reply_does_not_block_the_stream() -> None:
    """A hundred responses do not count as waiting queries."""
    line = Line()
    line.send(*[w.question("ok.example", flags=0x8000)] * 8)
    line.send(*[w.question("ok.example", flags=0x8000)] * 100)
    line.send(REFUSED)
    assert line.replies() == ["NXDOMAIN"]


def test_idle_connection_is_closed() -> None:
    """Ten seconds after the last message, from the first moment on."""
    line = Line()
    line.rig.clock.advance(listeners.IDLE - 0.1)
    line.send(REFUSED)
    line.rig.clock.advance(listeners.IDLE - 0.1)
    assert not line.transport.disconnected
    line.rig.clock.advance(0.2)
    assert line.transport.disconnected
    assert line.rig.clock.getDelayedCalls() == []


def test_slow_message_ends_on_an_absolute_deadline() -> None:
    """Sending an octet a second does not extend the deadline."""
    line = Line()
    for octet in frame(REFUSED)[:2]:
        line.stream.dataReceived(bytes([octet]))
        line.rig.clock.advance(0.9)
    assert not line.transport.disconnected
    line.stream.dataReceived(b"\0")
    line.rig.clock.advance(0.3)
    assert line.transport.disconnected
    second = Line()
    second.stream.dataReceived(frame(REFUSED) + b"\0")
    second.rig.clock.advance(listeners.MESSAGE + 0.1)
    assert second.transport.disconnected


def test_each_message_has_its_own_deadline() -> None:
    """The positive control: a client that completes its messages stays connected."""
    line = Line()
    first, second = frame(REFUSED)[:3], frame(REFUSED)[3:]
    line.stream.dataReceived(first)
    for _ in range(4):
        line.rig.clock.advance(listeners.MESSAGE - 0.1)
        line.stream.dataReceived(second + first)
    assert not line.transport.disconnected
    assert line.replies() == ["NXDOMAIN"] * 4


def test_waiting_queries_of_a_connection_are_limited() -> None:
    """The seventeenth waits, and nothing is read meanwhile."""
    line = Line()
    line.send(*[w.question("ok.example", ident=number) for number in range(20)])
    assert len(line.rig.lookups.waiting) == listeners.MAX_IN_FLIGHT
    assert line.transport.producerState == "paused"
    for _, waiting in line.rig.lookups.waiting[:3]:
        waiting.callback(FOUND)
    # The first answer is known to the cache: those that waited are answered from it.
    assert len(line.replies()) == 3 + 4
    assert line.transport.producerState == "producing"


def test_client_that_does_not_read_is_paused() -> None:
    """Back-pressure; then the idle timeout closes it."""
    line = Line()
    line.stream.pauseProducing()
    assert line.transport.producerState == "paused"
    line.stream.resumeProducing()
    assert line.transport.producerState == "producing"
    line.stream.pauseProducing()
    line.rig.clock.advance(listeners.IDLE + 0.1)
    assert line.transport.disconnected
    line.stream.resumeProducing()
    line.stream.stopProducing()


def test_late_reply_on_a_closed_connection_is_dropped() -> None:
    """The client disconnected while its query waited."""
    line = Line()
    line.send(ASKED)
    line.transport.loseConnection()
    line.rig.lookups.waiting[0][1].callback(FOUND)
    assert line.replies() == []


def test_connections_are_limited_in_total_and_by_address() -> None:
    """A closed connection no longer counts."""
    line = Line(most=3, most_per_address=2)
    other = IPv4Address("TCP", "10.0.0.2", 4000)
    stream, transport = line.connect()
    assert stream is not None
    assert line.connect() == (None, None)
    assert line.connect(other)[0] is not None
    assert line.connect(IPv4Address("TCP", "10.0.0.3", 4000)) == (None, None)
    assert line.factory.refused == 2
    transport.loseConnection()
    assert line.connect()[0] is not None
    line.transport.loseConnection()
    assert len(line.factory.connections) == 2


def test_closed_connection_is_not_counted() -> None:
    """No counter of its address and no timer remain."""
    line = Line()
    other, _ = line.connect(IPv4Address("TCP", "10.0.0.2", 4000))
    line.transport.loseConnection()
    assert dict(line.factory.by_client) == {"10.0.0.2": 1}
    assert len(line.rig.clock.getDelayedCalls()) == 1
    other.transport.loseConnection()
    assert dict(line.factory.by_client) == {}
    assert line.rig.clock.getDelayedCalls() == []


def test_ipv6_network_counts_as_one_address() -> None:
    """A sandbox has a /64 of them; an IPv4-mapped peer is its IPv4 self."""
    line = Line(most=9, most_per_address=2)
    inside = [IPv6Address("TCP", f"fd00::{number}", 4000) for number in (1, 2, 3)]
    assert [line.connect(peer)[0] is None for peer in inside] == [False, False, True]
    assert line.connect(IPv6Address("TCP", "fd00:0:0:1::1", 4000))[0] is not None
    mapped = [line.connect(IPv6Address("TCP", "::ffff:10.0.0.1", port))[0] is None for port in (1, 2)]
    assert mapped == [False, True]


def test_reads_are_small() -> None:
    """One read of a flood over TCP holds the reactor no longer than one of datagrams."""
    assert Line().transport.bufferSize == listeners.READ_SIZE
    assert isinstance(Line().stream, Stream)
