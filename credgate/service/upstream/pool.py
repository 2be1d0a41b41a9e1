"""Connections to upstreams, each with one request at a time, and the pool that keeps idle ones.

A connection parses answers (``http.response``, RFC 9112) and passes them to its ``ResponseHandler``; it never looks at
a body. It is kept only if request and answer were whole, no byte followed the answer and the forge allows it (RFC 9112,
section 9.3); any anomaly closes it. Idle connections are filed by forge *and* credential, so that no request uses a
connection that another credential has opened. Names and certificates are checked by ``tls``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast
from typing import Protocol as Interface

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from credgate.errors import ResponseError
from credgate.http.grammar import ResponseHead
from credgate.http.response import ResponseReader
from credgate.service.upstream.flow import BUFFER_SIZE, Transport, Valve, grow, send, shrink
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

    from credgate.forges.place import Place

T = TypeVar("T")

IDLE_SECONDS = 15.0
"""Shorter than the keep-alive of the forges, so that a kept connection is rarely closed when it is used again."""
MAX_IDLE = 16
"""Idle connections kept for one forge and credential."""
MAX_ALL_IDLE = 256
"""Idle connections in all. Each storage of LFS objects has its own connections for each session."""
_CUT = ResponseError("the forge closed the connection before its response was complete", reason=Reason.FORGE_CUT)


def cancellable(running: Deferred[T]) -> Deferred[T]:
    """Return a Deferred with the result of ``running`` that fails with ``CancelledError`` when it is cancelled.

    Twisted's endpoints and its HTTP client fail with errors of their own when they are cancelled, which cannot be told
    apart from those of their deadlines.
    """
    cancelled = False

    def cancel(_: object) -> None:
        nonlocal cancelled
        cancelled = True
        running.cancel()

    def forward(result: T | Failure) -> None:
        if cancelled:
            return
        if isinstance(result, Failure):
            outer.errback(result)
        else:
            outer.callback(result)

    outer: Deferred[T] = Deferred(cancel)
    running.addBoth(forward)
    return outer


class Key(NamedTuple):
    """What a pooled connection belongs to."""

    forge: str
    credential: str
    """The id of the credential, never its value; ``""``: anonymous."""


class ResponseHandler(Interface):
    """Receives the answer to a request, in order."""

    def answer_head(self, head: ResponseHead) -> None:
        """Receive the head of the final answer."""

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Receive body bytes without their framing; ``last``: no more follow."""

    def answer_end(self) -> None:
        """Receive the end of a whole answer. The connection already belongs to the pool again."""

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        """Receive the failure of an answer. The connection is already closed.

        ``repeatable``: the connection had been kept and was closed before it answered a byte of this request.
        """


class ForgeConnection(Protocol):
    """One connection to a forge, with one request at a time.

    ``ready`` fires when it may be used: with TLS, after the certificate was accepted.
    """

    transport: Transport  # type: ignore[assignment]  # Twisted promises less: ITransport or None

    def __init__(self, pool: ForgePool, key: Key, *, tls: bool) -> None:
        self.pool, self.key, self._tls = pool, key, tls
        self.ready: Deferred[ForgeConnection] = Deferred(lambda _: self.transport.abortConnection())
        self.asker: ResponseHandler | None = None
        self.reused = False
        self.idle_since = 0.0
        # Of the current request. A finished request must not read them, because the next one resets them.
        self._sent_whole = self._answered = self._keeps = self._paused = False
        self._reader: ResponseReader | None = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)  # git waits for the answer to each of its small packets
        self.transport.bufferSize = BUFFER_SIZE
        if not self._tls:
            self.ready.callback(self)

    def handshakeCompleted(self) -> None:
        if not self.ready.called:
            self.ready.callback(self)

    def ask(self, asker: ResponseHandler, method: bytes, head: bytes, valve: Valve) -> None:
        """Send a request head; ``valve`` is closed while the forge does not read the body."""
        self.asker, self._reader = asker, ResponseReader(method)
        self._sent_whole = self._answered = False
        send(self.transport, [head])
        self.transport.registerProducer(valve, streaming=True)

    def send(self, parts: list[bytes]) -> None:
        send(self.transport, parts)

    def sent(self) -> None:
        """Mark the request as whole."""
        if not self._sent_whole:
            self._sent_whole = True
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Stop reading: the client does not keep up."""
        self._paused = True
        shrink(self.transport)
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        self.transport.resumeProducing()

    def abort(self) -> None:
        """Reset the connection. The forge sees that an unfinished body is unfinished, and discards it."""
        self.asker = None
        self.pool.forget(self)
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.asker is None or self._reader is None:
            self.abort()  # bytes without a request are not an answer
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
        if self.asker is not None and events:  # ``answer_head`` may have aborted the connection
            # One call for each read, not for each chunk: a forge decides how many chunks there are.
            self.asker.answer_body(parts, last=last)
        if self.asker is not None and last:
            self._end(reader)

    def _end(self, reader: ResponseReader) -> None:
        asker, self.asker = self.asker, None
        # Bytes after the answer would be taken for the answer to the next request (response smuggling). After an answer
        # that precedes the end of the request, the rest of the body would be taken for a request.
        if self._keeps and self._sent_whole and not reader.excess:
            if self._paused:  # the client that it was paused for resumes later, when it has no access to it any more
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
        self.pool.forget(self)
        if not self.ready.called:
            self.ready.errback(reason)
        asker, self.asker = self.asker, None
        if asker is not None:  # None after a whole answer
            asker.answer_failed(_CUT, repeatable=self.reused and not self._answered)


@define(eq=False)
class ForgePool:
    """Idle connections by key, and new ones."""

    reactor: IReactorTime
    timeout: float
    """Seconds for a new connection, with its TLS handshake."""
    endpoint_for: Callable[[Place], IStreamClientEndpoint]
    _idle: dict[Key, deque[ForgeConnection]] = field(factory=dict, init=False)
    _open: set[ForgeConnection] = field(factory=set, init=False)

    def take(self, key: Key) -> ForgeConnection | None:
        """Return the connection that became idle last, if there is one."""
        idle = self._idle.get(key)
        if not idle:
            return None
        # The one that was used last is the least likely to have been closed by the forge.
        connection = idle.pop()
        connection.reused = True
        return connection

    def connect(self, key: Key, place: Place) -> Deferred[ForgeConnection]:
        """Open a new connection. Fails with ``CancelledError`` only if the caller cancels."""
        factory = Factory.forProtocol(lambda: ForgeConnection(self, key, tls=place.tls))
        factory.noisy = False
        made = cast("Deferred[ForgeConnection]", self.endpoint_for(place).connect(factory))
        # TCP is connected before the TLS handshake; the time limit covers both.
        made.addCallback(lambda connection: connection.ready).addCallback(self._opened)
        return cancellable(made).addTimeout(self.timeout, self.reactor)

    def _opened(self, connection: ForgeConnection) -> ForgeConnection:
        self._open.add(connection)
        return connection

    def keep(self, connection: ForgeConnection) -> None:
        """Keep a connection whose request and answer were whole."""
        idle = self._idle.setdefault(connection.key, deque())
        connection.idle_since = self.reactor.seconds()
        idle.append(connection)
        if len(idle) > MAX_IDLE:
            idle[0].abort()
        elif self.idle() > MAX_ALL_IDLE:
            # The oldest of each key is its first.
            min((one[0] for one in self._idle.values()), key=lambda one: one.idle_since).abort()

    def forget(self, connection: ForgeConnection) -> None:
        """Remove a connection that is closed or is being closed."""
        self._open.discard(connection)
        idle = self._idle.get(connection.key)
        if idle is None:
            return
        if connection in idle:
            idle.remove(connection)
        if not idle:
            del self._idle[connection.key]

    def sweep(self, now: float) -> None:
        """Close connections that have been idle too long."""
        for idle in list(self._idle.values()):
            for connection in [one for one in idle if now - one.idle_since >= IDLE_SECONDS]:
                connection.abort()

    def close(self) -> None:
        # ``abort`` removes the connection from the set.
        for connection in list(self._open):
            connection.abort()

    def count(self) -> int:
        """Count open connections, idle ones included."""
        return len(self._open)

    def idle(self) -> int:
        return sum(map(len, self._idle.values()))
