"""The two doors: datagrams and streams. Twisted Names' protocols carry; what they would decide is overridden.

Datagrams: one call a packet, the reply sent straight through the socket (``transport.write`` looks at the address three
times; here it came from the kernel). A reply that cannot be sent is dropped and counted, as networks do. Streams: two
octets of length in any split; connections are bounded in all and by address, idle ones end, a message that dribbles
ends on an absolute deadline, questions in flight are bounded, and a client that does not read is not read from. One
read is at most ``READ_SIZE`` octets, which is for streams what ``maxThroughput`` is for datagrams: the relay's turn
comes soon.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.names.dns import DNSDatagramProtocol, DNSProtocol
from twisted.names.server import DNSServerFactory
from zope.interface import implementer

from credgate.dns import framing
from credgate.dns.names import WireError
from credgate.dns.query import MAX_QUERY
from credgate.dns.responder import Pending
from credgate.sessions.address import rate_key

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.internet.protocol import Protocol
    from twisted.python.failure import Failure

    from credgate.service.dns.queries import QueryHandler

IDLE = 10.0
"""Seconds a connection may say nothing."""
MESSAGE = 2.0
"""Seconds from a message's first octet to its last."""
MAX_IN_FLIGHT = 16
"""Questions of one connection that wait for upstreams."""
READ_SIZE = 4096


class Datagrams(DNSDatagramProtocol):
    """The UDP door."""

    noisy = False
    transport: Any

    def __init__(self, desk: QueryHandler, reactor: Any) -> None:  # noqa: ANN401 - every interface of a reactor
        super().__init__(None, reactor)
        self._desk, self._receive, self._now = desk, desk.responder.receive, desk.now
        self.unsent = 0

    def startProtocol(self) -> None:
        """Begin: the socket's own ``sendto`` is at hand."""
        super().startProtocol()
        self._sendto = self.transport.getHandle().sendto

    def datagramReceived(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one packet: the hot path."""
        reply = self._receive(data, addr[0], self._now())
        if reply.__class__ is bytes:
            try:
                self._sendto(reply, addr)
            except OSError:
                self.unsent += 1
        elif isinstance(reply, Pending):
            self._desk.look_up(reply, lambda late: self._send_late(late, addr))

    def _send_late(self, reply: bytes, addr: tuple[str, int]) -> None:
        if self.transport is not None:
            try:
                self._sendto(reply, addr)
            except OSError:
                self.unsent += 1


@implementer(IPushProducer)
class Stream(DNSProtocol):
    """One TCP connection."""

    transport: Any
    _timer: IDelayedCall | None = None

    def __init__(self, factory: StreamFactory) -> None:
        super().__init__(factory, factory.reactor)
        self._desk = factory.desk
        self._frames = framing.Frames(MAX_QUERY)
        self._waiting: deque[bytes] = deque()
        self._in_flight = 0
        self._blocked = self._paused = self._dribbling = self._lost = False
        self._out: list[bytes] | None = None

    def connectionMade(self) -> None:
        """Begin: the first message is due."""
        self.host: str = self.transport.getPeer().host
        super().connectionMade()
        self.transport.bufferSize = READ_SIZE
        self.transport.registerProducer(self, streaming=True)
        self._arm(IDLE)

    def dataReceived(self, data: bytes) -> None:
        """Take what is whole; close on a length that no query has."""
        try:
            messages = self._frames.receive(data)
        except WireError:
            self.transport.abortConnection()
            return
        self._waiting.extend(messages)
        if not self._frames.partial:
            self._arm(IDLE)
        elif messages or not self._dribbling:
            self._arm(MESSAGE)
        self._dribbling = self._frames.partial
        self._work()

    def _work(self) -> None:
        """Answer what waits, as far as the questions in flight allow; replies that are there at once go together."""
        out: list[bytes] = []
        self._out = out
        while self._waiting and self._in_flight < MAX_IN_FLIGHT:
            self._in_flight += 1
            if not self._desk.take(self._waiting.popleft(), self.host, self._answer, udp=False):
                self._in_flight -= 1
        self._out = None
        if out:
            self.transport.write(b"".join(out))
        self._balance()

    def _answer(self, reply: bytes) -> None:
        self._in_flight -= 1
        if self._out is not None:
            self._out.append(framing.frame(reply))
        elif not self._lost:
            self.transport.write(framing.frame(reply))
            self._arm(MESSAGE if self._dribbling else IDLE)
            self._work()

    def _balance(self) -> None:
        """Read on only if the client reads, and only if what it sent already is being answered."""
        paused = self._blocked or bool(self._waiting)
        if paused is not self._paused:
            self._paused = paused
            if paused:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        """Stop reading: the client does not read its replies."""
        self._blocked = True
        self._balance()

    def resumeProducing(self) -> None:
        """Read again."""
        self._blocked = False
        if not self._lost:
            self._balance()

    def stopProducing(self) -> None:
        """Nothing to do: ``connectionLost`` follows."""

    def _arm(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.reset(seconds)
        else:
            self._timer = self.callLater(seconds, self.transport.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Give the place back."""
        self._lost = True
        self._waiting.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        super().connectionLost(reason)


def _place(host: str) -> str:
    """Return what a peer's connections are counted by: its address, or an IPv6 address's /64."""
    return rate_key(host)


class StreamFactory(DNSServerFactory):
    """The TCP door: bounds how many connections there are."""

    noisy = False
    protocol: Any = Stream

    def __init__(self, desk: QueryHandler, reactor: Any, most: int, most_per_address: int) -> None:  # noqa: ANN401 - every interface of a reactor
        super().__init__()
        self.desk, self.reactor = desk, reactor
        self._most, self._most_per_address = most, most_per_address
        self._by_place: Counter[str] = Counter()
        self.refused = 0

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """Accept a connection, or close it at once."""
        place = _place(getattr(addr, "host", ""))
        if len(self.connections) >= self._most or self._by_place[place] >= self._most_per_address:
            self.refused += 1
            return None
        return super().buildProtocol(addr)  # type: ignore[no-any-return]  # Twisted has no type for it

    def connectionMade(self, protocol: Stream) -> None:
        """Count a connection."""
        super().connectionMade(protocol)
        self._by_place[_place(protocol.host)] += 1

    def connectionLost(self, protocol: Stream) -> None:
        """Forget it."""
        super().connectionLost(protocol)
        place = _place(protocol.host)
        self._by_place[place] -= 1
        if not self._by_place[place]:
            del self._by_place[place]
