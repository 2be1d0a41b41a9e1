"""HTTP/1.1 on the control socket: Twisted's server with stricter limits.

``twisted.web`` writes large and chunked bodies to a temporary file, answers malformed heads with an empty 400, closes
without a response if a line is too long, and logs each request with its URL. Here a body is kept in memory up to
``MAX_BODY``; for a larger one the response is sent at once, the rest is discarded and the connection ends. A peer
without access, or with too many connections, is refused in the same way when it connects. Requests are not logged,
since a URL may contain a session token.

A refusal before the end of a body is written directly, and the connection is half closed and drained.
"""

# mypy: disable-error-code="no-untyped-call"
# twisted.web is only partly annotated, and every method here calls the one that it refines.

from __future__ import annotations

import re
from collections import Counter
from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.web import http, server

from credgate.service.control import json_reply
from credgate.service.control.peer import Peer, PeerRule, read_peer
from credgate.service.sandbox.refused_connections import Limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITransport
    from twisted.python.failure import Failure
    from twisted.web.resource import IResource

IDLE_TIMEOUT = 30.0
"""Seconds without a byte, within a request and between requests."""
LINGER = 2.0
"""Seconds that a refused client has to read the response."""
MAX_BY_USER = 32
"""Open connections of one user. Root and credgate's own user always have theirs, whatever listed users hold."""
MAX_LISTED = 64
"""Open connections of all users of ``control.allow_uids`` together."""
MAX_TURNED_AWAY = 8
"""Refused connections that get a response within ``LINGER`` seconds; others are closed without one."""
MAX_BODY = 64 * 1024
"""Bytes of a request body; a larger one is answered 413."""
MAX_DRAIN = 1024 * 1024
"""Bytes of a refused request that are read and discarded."""

_TARGET = re.compile(rb"(?=.{1,256}\Z)(?:/|(?:/[A-Za-z0-9._~-]+)+)")
"""No route accepts a query, an escape or an empty segment. Nothing is decoded, so a target has one meaning only."""
_METHOD = re.compile(rb"[A-Z]{1,16}")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,15}")


class ControlRequest(server.Request):
    """One request, with its body in memory."""

    channel: ControlConnection
    content: BytesIO
    client_left = False
    """Whether the connection was lost before the response was written."""

    def gotLength(self, length: int | None) -> None:
        """Refuse a Content-Length above the limit. ``None``: a chunked body."""
        # In memory: Twisted would write a large or chunked body to a temporary file.
        self.content = BytesIO()
        if length is not None and length > MAX_BODY:
            self._too_large()

    def handleContentChunk(self, data: bytes) -> None:
        """Store a piece of the body, unless the body is refused."""
        if self.channel.refused:
            return
        if self.content.tell() + len(data) > MAX_BODY:
            self._too_large()
        else:
            self.content.write(data)

    def _too_large(self) -> None:
        self.channel.refuse(413, f"the body is larger than {MAX_BODY} bytes")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Process a complete request unless it was refused."""
        if not self.channel.refused:
            super().requestReceived(command, path, version)

    def process(self) -> None:
        """Pass only well-formed targets and methods to Klein."""
        if not _METHOD.fullmatch(self.method):
            self._answer(400, "the method is malformed")
        elif not _TARGET.fullmatch(self.uri):
            self._answer(404, "Not found")
        else:
            super().process()

    def _answer(self, status: int, text: str) -> None:
        self.write(json_reply.send(self, status, json_reply.error(text)))
        self.finish()

    def getRequestHostname(self) -> bytes:
        """Return a constant instead of the client's value."""
        # No route depends on Host, and Klein must not decode what the client sent.
        return b"localhost"

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer an error within Klein with JSON instead of Twisted's HTML page."""
        self._log.error("control API: {type}", type=reason.type.__name__ if reason.type else "?")
        self._answer(500, "Internal server error")
        return reason

    def connectionLost(self, reason: Failure) -> None:
        """Record the loss, then cancel the routes."""
        # First: the routes that are cancelled read it.
        self.client_left = True
        super().connectionLost(reason)

    def __repr__(self) -> str:
        return f"<ControlRequest of {self.channel.peer if hasattr(self, 'channel') else 'nobody'}>"


class ControlConnection(http.HTTPChannel):
    """One connection. It knows its peer, and can be refused at any byte."""

    site: ControlSite
    transport: Any
    """The transport of a UNIX socket; Twisted declares only ITransport."""
    peer: Peer | None = None
    refused = False
    turned_away = False
    """Whether the connection was refused when it was made."""
    _drained = 0
    _lingering: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Read the peer from the kernel and check it before any byte is read."""
        super().connectionMade()
        self.peer = self.site.read_peer(self.transport)
        limit = self.site.add_connection(self)
        if limit is Limit.FOREIGN:
            self._turn_away(403, "Session management not authorized")
        elif limit is not None:
            self._turn_away(429, "too many connections of this user to the control socket; close some, or wait")

    def _turn_away(self, status: int, text: str) -> None:
        """Refuse the connection. Of many at the same time, only a few get a response."""
        self.turned_away = True
        self.site.turned_away += 1
        if self.site.turned_away > MAX_TURNED_AWAY:
            self.refused = True
            self.transport.abortConnection()
        else:
            self.refuse(status, text)

    def refuse(self, status: int, text: str) -> None:
        """Respond at once, whatever part of the request was read, and close once the client has read the response."""
        if self.refused:
            return
        self.refused = True
        for request in self.requests:
            request.requestHeaders.removeHeader(b"Expect")  # no "100 Continue" after a refusal
        # Not by ``Request.finish``: the channel would parse the rest of the body as the next request.
        self.transport.write(json_reply.raw(status, json_reply.error(text)))
        self.transport.unregisterProducer()
        # Half closed, then drained: a client that is still writing reads the response, not a reset.
        self.transport.loseWriteConnection()
        self._lingering = self.callLater(LINGER, self._cut)

    def _cut(self) -> None:
        self._lingering = None
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Parse data, or discard it after a refusal."""
        if not self.refused:
            super().dataReceived(data)
            return
        self._drained += len(data)
        if self._drained > MAX_DRAIN:
            self.transport.abortConnection()

    def lineReceived(self, line: bytes) -> None:
        """Parse a line of the head, unless refused."""
        # Twisted may have more lines in its buffer when the first is refused.
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Parse a piece of a body, unless refused."""
        if not self.refused:
            super().rawDataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        """Refuse lengths that Twisted would accept: leading zeros, and more digits than ``int`` reads."""
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and not _LENGTH.fullmatch(value.strip(b" \t")):
            self.refuse(400, "the request head is malformed")
        return not self.refused and bool(super().headerReceived(line))

    def lineLengthExceeded(self, line: bytes) -> None:
        """Respond with 431, where Twisted only closes."""
        self.refuse(431, "the request head is too large")

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted calls this private method for every malformed head or chunk; a test checks that it still does.
        self.refuse(400, "the request is malformed")

    def timeoutConnection(self) -> None:
        """Close an idle connection, without Twisted's log line."""
        self.transport.abortConnection()

    def drain(self) -> None:
        """End the connection: at once if idle, otherwise after the response in progress."""
        self.persistent = False
        if not self.requests:
            self.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's own default differs
        """Stop the timer and remove this connection from the site."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        super().connectionLost(reason)
        self.site.remove_connection(self)


class ControlSite(server.Site):
    """Creates connections, and keeps the open ones. Has no access log."""

    protocol = ControlConnection  # type: ignore[assignment]  # declared for Twisted's own choice between h1 and h2

    def __init__(
        self,
        resource: IResource,
        rule: PeerRule,
        reactor: IReactorTime,
        *,
        refused: Callable[[Limit, str], None],
        read_peer: Callable[[ITransport], Peer | None] = read_peer,
    ) -> None:
        super().__init__(resource, ControlRequest, parsePOSTFormSubmission=False, timeout=IDLE_TIMEOUT, reactor=reactor)
        self.rule, self.refused, self.read_peer = rule, refused, read_peer
        self.channels: set[ControlConnection] = set()
        self.turned_away = 0
        """Open connections that were refused when they were made."""
        self._by_user: Counter[int] = Counter()
        self._empty: Deferred[None] | None = None

    async def drain(self, grace: float) -> None:
        """End all connections, busy ones after at most ``grace`` seconds; return when all are closed."""
        for channel in list(self.channels):
            channel.drain()
        if self.channels:
            self._empty = Deferred()
            last_call = self.reactor.callLater(grace, self._abort)
            await self._empty
            if last_call.active():
                last_call.cancel()

    def _abort(self) -> None:
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def add_connection(self, channel: ControlConnection) -> Limit | None:
        """Count a connection; return the limit that refuses it, if any."""
        self.channels.add(channel)
        peer = channel.peer
        if not self.rule.admits(peer):
            limit, client = Limit.FOREIGN, "unknown" if peer is None else str(peer)
        elif peer is not None and self._is_full(peer):
            limit, client = Limit.USER, str(peer)
        else:
            if peer is not None:
                self._by_user[peer.uid] += 1
            return None
        self.refused(limit, client)
        return limit

    def _is_full(self, peer: Peer) -> bool:
        """Return whether a user has reached its limit, or that of all listed users together."""
        if self._by_user[peer.uid] >= MAX_BY_USER:
            return True
        # Root and credgate's own user always have their connections, whatever listed users hold.
        listed = sum(count for uid, count in self._by_user.items() if not self.rule.is_own(uid))
        return not self.rule.is_own(peer.uid) and listed >= MAX_LISTED

    def remove_connection(self, channel: ControlConnection) -> None:
        """Remove a closed connection."""
        self.channels.discard(channel)
        if channel.turned_away:
            self.turned_away -= 1
        elif channel.peer is not None:
            self._by_user[channel.peer.uid] -= 1
            if not self._by_user[channel.peer.uid]:
                del self._by_user[channel.peer.uid]
        if self._empty is not None and not self.channels:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def startFactory(self) -> None:
        """Do not open Twisted's access log, and start no clock for it."""

    def stopFactory(self) -> None:
        """Do nothing, since no log was opened."""

    def log(self, request: http.Request) -> None:
        """Write no access log."""
        # The URL of a request may contain a session token.
