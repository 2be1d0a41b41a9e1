"""The forge side of the relay: connections that send one request at a time, and the pool that keeps idle ones.

A connection reads answers through ``http.response`` and tells its exchange what it understood; it never looks at a
body. A connection is kept only if request and answer were whole, nothing followed the answer and the forge agreed; any
anomaly ends it. Idle connections are filed by forge *and* credential, so neither ever crosses into the other's
requests. Names and certificates are checked by ``tls``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast
from typing import Protocol as Interface

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone

from credgate.errors import ResponseError
from credgate.http.grammar import ResponseHead
from credgate.http.response import ResponseReader
from credgate.service.upstream.flow import BUFFER_SIZE, Transport, Valve, grow, send, shrink
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from credgate.forges.place import Place

IDLE_SECONDS = 15.0
"""Shorter than any forge's own keep-alive, so that a kept connection is rarely found closed."""
MAX_IDLE = 16
"""Idle connections kept for one forge and credential."""
MAX_ALL_IDLE = 256
"""For all together: each place that keeps LFS objects counts as one, and for each session anew."""
_CUT = ResponseError("the forge closed the connection before its answer was whole", reason=Reason.FORGE_CUT)


class Key(NamedTuple):
    """What a pooled connection belongs to."""

    forge: str
    credential: str
    """The credential's id, never its value; ``""`` is anonymous."""


class ResponseHandler(Interface):
    """Who asked: told what the forge answered, in order."""

    def answer_head(self, head: ResponseHead) -> None:
        """Take the head of the final answer."""

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Take body bytes, without framing, after the head and whenever some come; no more follow the ``last``."""

    def answer_end(self) -> None:
        """Take the end: the answer was whole. The connection is already let go."""

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        """Take the news that no (further) answer comes. The connection is already gone.

        ``repeatable``: it had been kept from an earlier request and closed before it answered a byte of this one.
        """


class ForgeConnection(Protocol):
    """One connection to a forge: asks once at a time, answers in events.

    ``ready`` fires when it may be used: on TLS that is after the certificate was accepted, not before.
    """

    transport: Transport  # type: ignore[assignment]  # Twisted promises less: ITransport or None

    def __init__(self, pool: ForgePool, key: Key, *, tls: bool) -> None:
        self.pool, self.key, self._tls = pool, key, tls
        self.ready: Deferred[ForgeConnection] = Deferred(lambda _: self.transport.abortConnection())
        self.asker: ResponseHandler | None = None
        self.reused = False
        self.idle_since = 0.0
        # These speak of the current request. A finished request must not read them: the next one resets them.
        self._sent_whole = self._answered = self._keeps = self._paused = False
        self._reader: ResponseReader | None = None

    def connectionMade(self) -> None:
        """Send small packets at once: git waits for each of its own."""
        self.transport.setTcpNoDelay(True)
        self.transport.bufferSize = BUFFER_SIZE
        if not self._tls:
            self.ready.callback(self)

    def handshakeCompleted(self) -> None:
        """Begin: the certificate was accepted and names the forge."""
        if not self.ready.called:
            self.ready.callback(self)

    def ask(self, asker: ResponseHandler, method: bytes, head: bytes, valve: Valve) -> None:
        """Send a request head; ``valve`` is closed while the forge does not take the body."""
        self.asker, self._reader = asker, ResponseReader(method)
        self._sent_whole = self._answered = False
        send(self.transport, [head])
        self.transport.registerProducer(valve, streaming=True)

    def send(self, parts: list[bytes]) -> None:
        """Send framed body bytes."""
        send(self.transport, parts)

    def sent(self) -> None:
        """Note that the request is whole."""
        if not self._sent_whole:
            self._sent_whole = True
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read no further: the client does not take what came."""
        self._paused = True
        shrink(self.transport)
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self._paused = False
        self.transport.resumeProducing()

    def abort(self) -> None:
        """Leave at once. An unfinished body stays visibly unfinished, so the forge discards it."""
        self.asker = None
        self.pool.forget(self)
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Parse and pass on."""
        if self.asker is None or self._reader is None:
            self.abort()  # nobody asked: whatever this is, it is no answer
            return
        self._answered = True
        grow(self.transport, len(data))
        try:
            events = self._reader.receive(data)
        except ResponseError as broken:
            self._fail(broken)
            return
        self._tell(events, self._reader)

    def _tell(self, events: Sequence[object], reader: ResponseReader) -> None:
        parts: list[bytes] = []
        last = False
        for event in events:
            if type(event) is bytes:
                parts.append(event)
            elif type(event) is ResponseHead:
                self._keeps = event.keep_alive
                if self.asker is not None:
                    self.asker.answer_head(event)
            else:
                last = True
        if self.asker is not None and events:  # the asker may have left because of the head
            self.asker.answer_body(parts, last=last)
        if self.asker is not None and last:
            self._end(reader)

    def _end(self, reader: ResponseReader) -> None:
        asker, self.asker = self.asker, None
        if self._keeps and self._sent_whole and not reader.excess:
            if self._paused:  # by the last piece, for a client that drains when this is no longer its connection
                self.resumeProducing()
            self.pool.keep(self)
        else:
            self.abort()
        if asker is not None:
            asker.answer_end()

    def _fail(self, broken: ResponseError) -> None:
        asker = self.asker
        self.abort()
        if asker is not None:
            asker.answer_failed(broken)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the asker, unless the answer was whole or nobody waits."""
        self.pool.forget(self)
        if not self.ready.called:
            self.ready.errback(reason)
        asker, self.asker = self.asker, None
        if asker is not None:  # whole answers have none: what one ends in is an asker that broke over it
            asker.answer_failed(_CUT, repeatable=self.reused and not self._answered)


@define(eq=False)
class ForgePool:
    """Idle connections by key, and the way to new ones."""

    reactor: IReactorTime
    timeout: float
    """Seconds for a new connection, TLS handshake included."""
    endpoint_for: Callable[[Place], IStreamClientEndpoint]
    _idle: dict[Key, deque[ForgeConnection]] = field(factory=dict, init=False)
    _open: set[ForgeConnection] = field(factory=set, init=False)

    def take(self, key: Key) -> ForgeConnection | None:
        """Take the youngest idle connection, if there is one."""
        idle = self._idle.get(key)
        if not idle:
            return None
        connection = idle.pop()
        connection.reused = True
        return connection

    def connect(self, key: Key, place: Place) -> Deferred[ForgeConnection]:
        """Open a new connection; cancelling leaves it, wherever it is."""
        factory = Factory.forProtocol(lambda: ForgeConnection(self, key, tls=place.tls))
        factory.noisy = False
        made = cast("Deferred[ForgeConnection]", self.endpoint_for(place).connect(factory))
        made.addCallback(lambda connection: connection.ready).addCallback(self._opened)
        return made.addTimeout(self.timeout, self.reactor)

    def _opened(self, connection: ForgeConnection) -> ForgeConnection:
        self._open.add(connection)
        return connection

    def keep(self, connection: ForgeConnection) -> None:
        """File a connection whose last exchange was whole."""
        idle = self._idle.setdefault(connection.key, deque())
        connection.idle_since = self.reactor.seconds()
        idle.append(connection)
        if len(idle) > MAX_IDLE:
            idle[0].abort()
        elif self.idle() > MAX_ALL_IDLE:
            min((one[0] for one in self._idle.values()), key=lambda one: one.idle_since).abort()

    def forget(self, connection: ForgeConnection) -> None:
        """Drop a connection that is gone or going."""
        self._open.discard(connection)
        idle = self._idle.get(connection.key)
        if idle is None:
            return
        if connection in idle:
            idle.remove(connection)
        if not idle:
            del self._idle[connection.key]

    def sweep(self, now: float) -> None:
        """Close what has been idle too long."""
        for idle in list(self._idle.values()):
            for connection in [one for one in idle if now - one.idle_since >= IDLE_SECONDS]:
                connection.abort()

    def close(self) -> None:
        """Leave every forge."""
        for connection in list(self._open):
            connection.abort()

    def count(self) -> int:
        """Count open connections, idle ones included."""
        return len(self._open)

    def idle(self) -> int:
        """Count the idle ones."""
        return sum(map(len, self._idle.values()))
