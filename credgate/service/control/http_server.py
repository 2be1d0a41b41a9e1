"""HTTP/1.1 on the control socket: Twisted's server, with what it leaves open closed.

``twisted.web`` writes large and chunked bodies to a temporary file, answers malformed heads with an empty 400, closes
without a word where a line is too long, and logs each request with its URL. Here a body is kept in memory up to
``body.MAX_BODY``; beyond it the answer is sent as soon as that is known, the rest is thrown away, and the connection
ends. A peer that may not be here, or has too many connections, is refused when it connects, in the same way. Nothing
is logged of a request, for its URL may hold a session token.

Refusing before the end of a body must not go through ``Request.finish``: the channel would read what follows as the
next request. It is written past it, and the connection is half closed and drained, so that a client which is still
writing reads the answer and not a reset.
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
"""Seconds without a byte, inside a request and between two."""
LINGER = 2.0
"""Seconds that a refused client has to read its answer."""
MAX_BY_USER = 32
"""Connections that one user may have open: root and our own user always have so many, whatever listed users do."""
MAX_LISTED = 64
"""The same for all users of ``control.allow_uids`` together."""
MAX_TURNED_AWAY = 8
"""Connections refused at once that are told so, within ``LINGER`` seconds; more are closed without a word."""
MAX_BODY = 64 * 1024
"""Bytes of a request body; a larger one is answered 413."""
MAX_DRAIN = 1024 * 1024
"""Bytes of a refused request that are read and discarded."""

_TARGET = re.compile(rb"(?=.{1,256}\Z)(?:/|(?:/[A-Za-z0-9._~-]+)+)")
"""No route takes a query, an escape or an empty segment: nothing is decoded or merged, so nothing means two things."""
_METHOD = re.compile(rb"[A-Z]{1,16}")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,15}")


class ControlRequest(server.Request):
    """One request, its body in memory."""

    channel: ControlConnection
    content: BytesIO
    client_left = False
    """Whether the connection went before the answer was written."""

    def gotLength(self, length: int | None) -> None:
        """Refuse a body that says it is too large. ``None`` is a chunked body."""
        self.content = BytesIO()
        if length is not None and length > MAX_BODY:
            self._too_large()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body, unless it was refused or is now."""
        if self.channel.refused:
            return
        if self.content.tell() + len(data) > MAX_BODY:
            self._too_large()
        else:
            self.content.write(data)

    def _too_large(self) -> None:
        self.channel.refuse(413, f"the body is larger than {MAX_BODY} bytes")

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Go on with a whole request that was not refused on the way."""
        if not self.channel.refused:
            super().requestReceived(command, path, version)

    def process(self) -> None:
        """Let Klein see only targets and methods that cannot surprise it."""
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
        """Return a constant: no route depends on Host, and Klein must not decode what a client put there."""
        return b"localhost"

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer what Klein itself fell over with JSON instead of Twisted's HTML page."""
        self._log.error("control API: {type}", type=reason.type.__name__ if reason.type else "?")
        self._answer(500, "Internal server error")
        return reason

    def connectionLost(self, reason: Failure) -> None:
        """Note it first: cancelled routes ask."""
        self.client_left = True
        super().connectionLost(reason)

    def __repr__(self) -> str:
        return f"<ControlRequest of {self.channel.peer if hasattr(self, 'channel') else 'nobody'}>"


class ControlConnection(http.HTTPChannel):
    """One connection: knows its peer, and can refuse at any byte."""

    site: ControlSite
    transport: Any
    """A UNIX socket's; Twisted declares the bare ITransport."""
    peer: Peer | None = None
    refused = False
    turned_away = False
    """Whether it was refused when it connected."""
    _drained = 0
    _lingering: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Ask the kernel who this is, and judge it before a byte is read: a descriptor is held from here on."""
        super().connectionMade()
        self.peer = self.site.read_peer(self.transport)
        limit = self.site.joined(self)
        if limit is Limit.FOREIGN:
            self._turn_away(403, "Session management not authorized")
        elif limit is not None:
            self._turn_away(429, "too many connections of this user to the control socket; close some, or wait")

    def _turn_away(self, status: int, text: str) -> None:
        """Refuse the connection; of many that are refused at the same time only a few are told why."""
        self.turned_away = True
        self.site.turned_away += 1
        if self.site.turned_away > MAX_TURNED_AWAY:
            self.refused = True
            self.transport.abortConnection()
        else:
            self.refuse(status, text)

    def refuse(self, status: int, text: str) -> None:
        """Answer now, whatever was read of the request so far, and end the connection once the client has read it."""
        if self.refused:
            return
        self.refused = True
        for request in self.requests:
            request.requestHeaders.removeHeader(b"Expect")  # no 100 after a no
        self.transport.write(json_reply.raw(status, json_reply.error(text)))
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()
        self._lingering = self.callLater(LINGER, self._cut)

    def _cut(self) -> None:
        self._lingering = None
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Read on, or throw away what follows a refusal."""
        if not self.refused:
            super().dataReceived(data)
            return
        self._drained += len(data)
        if self._drained > MAX_DRAIN:
            self.transport.abortConnection()

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the head; none after a refusal, though Twisted may hold more in its buffer."""
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Take a piece of a body; none after a refusal."""
        if not self.refused:
            super().rawDataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        """Refuse lengths that Twisted reads too kindly: leading zeros, and more digits than ``int`` takes."""
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and not _LENGTH.fullmatch(value.strip(b" \t")):
            self.refuse(400, "the request head is malformed")
        return not self.refused and bool(super().headerReceived(line))

    def lineLengthExceeded(self, line: bytes) -> None:
        """Say why, where Twisted only closes."""
        self.refuse(431, "the request head is too large")

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted's one way out for a malformed head or chunk; a test holds that it still is.
        self.refuse(400, "the request is malformed")

    def timeoutConnection(self) -> None:
        """Close an idle connection, without Twisted's log line."""
        self.transport.abortConnection()

    def retire(self) -> None:
        """End the connection: at once when idle, after its answer when a request is being served."""
        self.persistent = False
        if not self.requests:
            self.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's own default differs
        """Forget this connection."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        super().connectionLost(reason)
        self.site.left(self)


class ControlSite(server.Site):
    """Makes the channels, and knows those that are open. Has no access log."""

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
        """Connections that were refused when they connected, and are still open."""
        self._by_user: Counter[int] = Counter()
        self._empty: Deferred[None] | None = None

    async def retire(self, grace: float) -> None:
        """End all connections, those being answered after at most ``grace`` seconds; return when all are gone."""
        for channel in list(self.channels):
            channel.retire()
        if self.channels:
            self._empty = Deferred()
            last_call = self.reactor.callLater(grace, self._abort)
            await self._empty
            if last_call.active():
                last_call.cancel()

    def _abort(self) -> None:
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def joined(self, channel: ControlConnection) -> Limit | None:
        """Count a connection; return what refuses it."""
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
        """Whether a user has all the connections it may have; listed users share some more, root and our own do not."""
        if self._by_user[peer.uid] >= MAX_BY_USER:
            return True
        listed = sum(count for uid, count in self._by_user.items() if not self.rule.is_own(uid))
        return not self.rule.is_own(peer.uid) and listed >= MAX_LISTED

    def left(self, channel: ControlConnection) -> None:
        """Forget a connection that is gone."""
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
        """Open no log and start no clock for one."""

    def stopFactory(self) -> None:
        """Nothing was opened."""

    def log(self, request: http.Request) -> None:
        """Write no access log: a request's URL may hold a session token."""
