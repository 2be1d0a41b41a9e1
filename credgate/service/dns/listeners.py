"""The UDP and TCP listeners of the DNS server, on the protocols of Twisted Names.

UDP: one call for each datagram. A reply that cannot be sent is dropped and counted.

TCP: connections are limited in total and by address. An idle connection is closed, and so is one that does not complete
a message before an absolute deadline. The queries that wait for an upstream are limited, and nothing is read from a
client that does not read its replies. One read takes at most ``READ_SIZE`` octets, as ``maxThroughput`` does for
datagrams, so that a flood does not delay the relay.
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
from credgate.dns.domain_names import WireError
from credgate.dns.query import MAX_QUERY
from credgate.dns.responder import Pending
from credgate.sessions.address import rate_key

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.internet.protocol import Protocol
    from twisted.python.failure import Failure

    from credgate.service.dns.queries import QueryHandler

IDLE = 10.0
"""Seconds without a message after which a connection is closed."""
MESSAGE = 2.0
"""Seconds from the first octet of a message to its last."""
MAX_IN_FLIGHT = 16
"""Queries of one connection that may wait for upstreams."""
READ_SIZE = 4096


class Datagrams(DNSDatagramProtocol):
    """The UDP listener."""

    noisy = False
    transport: Any

    def __init__(self, handler: QueryHandler, reactor: Any) -> None:  # noqa: ANN401 - every interface of a reactor
        super().__init__(None, reactor)
        self._handler, self._receive, self._now = handler, handler.responder.receive, handler.now
        self.unsent = 0

    def startProtocol(self) -> None:
        super().startProtocol()
        # ``transport.write`` would check the address again for each reply; it comes from the kernel here.
        self._sendto = self.transport.getHandle().sendto

    def datagramReceived(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._receive(data, addr[0], self._now())
        if reply.__class__ is bytes:
            try:
                self._sendto(reply, addr)
            except OSError:  # over UDP a reply may be lost: the client asks again
                self.unsent += 1
        elif isinstance(reply, Pending):
            self._handler.look_up(reply, lambda late: self._send_late(late, addr))

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
    """Closes the connection at its deadline. ``None`` after it was closed: then nothing may be written."""

    def __init__(self, factory: StreamFactory) -> None:
        super().__init__(factory, factory.reactor)
        self._handler = factory.handler
        self._frames = framing.Frames(MAX_QUERY)
        self._waiting: deque[bytes] = deque()
        self._in_flight = 0
        self._blocked = self._paused = self._incomplete = False
        self._out: list[bytes] | None = None

    def connectionMade(self) -> None:
        """Begin: the first message is due."""
        self.host: str = self.transport.getPeer().host
        super().connectionMade()
        # As ``maxThroughput`` does for datagrams: one read must not delay the relay.
        self.transport.bufferSize = READ_SIZE
        self.transport.registerProducer(self, streaming=True)
        self._arm(IDLE)

    def dataReceived(self, data: bytes) -> None:
        try:
            messages = self._frames.receive(data)
        except WireError:
            self.transport.abortConnection()
            return
        self._waiting.extend(messages)
        # An absolute deadline for a message, so that single octets do not extend it.
        if not self._frames.partial:
            self._arm(IDLE)
        elif messages or not self._incomplete:
            self._arm(MESSAGE)
        self._incomplete = self._frames.partial
        self._work()

    def _work(self) -> None:
        """Handle waiting messages, up to ``MAX_IN_FLIGHT``. Replies that are ready at once are sent in one write."""
        out: list[bytes] = []
        self._out = out
        while self._waiting and self._in_flight < MAX_IN_FLIGHT:
            self._in_flight += 1
            if not self._handler.take(self._waiting.popleft(), self.host, self._answer, udp=False):
                self._in_flight -= 1
        self._out = None  # later replies are written one by one
        if out:
            self.transport.write(b"".join(out))
        self._balance()

    def _answer(self, reply: bytes) -> None:
        self._in_flight -= 1
        if self._out is not None:
            self._out.append(framing.frame(reply))
        elif self._timer is not None:
            self.transport.write(framing.frame(reply))
            self._arm(MESSAGE if self._incomplete else IDLE)
            self._work()

    def _balance(self) -> None:
        """Read from the client only while it reads its replies and no message waits."""
        paused = self._blocked or bool(self._waiting)
        if paused is not self._paused:
            self._paused = paused
            if paused:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def pauseProducing(self) -> None:
        self._blocked = True
        self._balance()

    def resumeProducing(self) -> None:
        self._blocked = False
        if self._timer is not None:
            self._balance()

    def stopProducing(self) -> None:
        """Nothing to do: ``connectionLost`` follows."""

    def _arm(self, seconds: float) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.reset(seconds)
        else:
            self._timer = self.callLater(seconds, self.transport.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._waiting.clear()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        super().connectionLost(reason)


class StreamFactory(DNSServerFactory):
    """The TCP listener: limits the number of connections."""

    noisy = False
    protocol: Any = Stream

    def __init__(self, handler: QueryHandler, reactor: Any, max_connections: int, max_per_address: int) -> None:  # noqa: ANN401 - every interface of a reactor
        super().__init__()
        self.handler, self.reactor = handler, reactor
        self._max, self._max_per_address = max_connections, max_per_address
        self.by_client: Counter[str] = Counter()
        self.refused = 0

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        client = rate_key(getattr(addr, "host", ""))
        if len(self.connections) >= self._max or self.by_client[client] >= self._max_per_address:
            self.refused += 1
            return None
        return super().buildProtocol(addr)  # type: ignore[no-any-return]  # Twisted has no type for it

    def connectionMade(self, protocol: Stream) -> None:
        super().connectionMade(protocol)
        self.by_client[rate_key(protocol.host)] += 1

    def connectionLost(self, protocol: Stream) -> None:
        super().connectionLost(protocol)
        client = rate_key(protocol.host)
        self.by_client[client] -= 1
        if not self.by_client[client]:
            del self.by_client[client]
