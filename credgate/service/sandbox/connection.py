"""A sandbox's connection: reads requests one at a time and gives each to one exchange.

Heads and bodies are read by ``http.request``; ``request_judge`` decides what to do with each head. Bytes after a
complete request are never parsed: the request is answered and the connection closed, so no second request can be
smuggled behind the first. A protocol error ends the connection. A reply that precedes the end of its request is
followed by a lingering close (RFC 9112, section 9.6), so that the client reads it before a reset.

The connection never looks at a body and never connects to a forge; it knows exchanges only by ``ports.Exchange``.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger

from credgate.errors import RequestError
from credgate.git.authorize import LfsRelay, Refuse, Relay, Serve, Verdict
from credgate.git.push_stream import PushStream, RefusedPush
from credgate.git.route import Kind
from credgate.http.grammar import END, RequestHead
from credgate.http.header_policy import CONTINUE
from credgate.http.request import RequestReader
from credgate.service.sandbox.lfs import make_lfs_exchange
from credgate.service.sandbox.local_answer import PATIENCE, LocalAnswer, LocalPage, RefusalAnswer
from credgate.service.sandbox.relay import RelayExchange
from credgate.service.sandbox.request_log import RequestLog
from credgate.service.upstream.flow import BUFFER_SIZE, CAREFUL_SIZE, Transport, Valve, pace, send, shrink
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from credgate.service.sandbox.ports import Exchange
    from credgate.service.sandbox.services import Services
    from credgate.sessions.model import Session

LINGER_SECONDS, LINGER_BYTES = 2.0, 1024 * 1024
"""How long, and how much, is read after a reply that came before the request's end."""
PARTING = 2.0
"""Seconds in which clients may read that credgate stops, and git-lfs may send its next request."""
_log = Logger()


class Phase(Enum):
    """What a connection does now."""

    following: tuple[Phase, ...]

    NEW = auto()
    """Opened; no byte has come."""
    HEAD = auto()
    """Bytes of a request head have come, and not all of it."""
    BUSY = auto()
    """A request is being answered."""
    IDLE = auto()
    """A request was answered; the next has not begun."""
    LINGERING = auto()
    """The last reply is sent; what still comes is discarded."""
    CLOSED = auto()


TRANSITIONS: dict[Phase, tuple[Phase, ...]] = {
    Phase.NEW: (Phase.HEAD, Phase.LINGERING, Phase.CLOSED),
    Phase.HEAD: (Phase.BUSY, Phase.LINGERING, Phase.CLOSED),
    # A refusal replaces the exchange of a busy connection.
    Phase.BUSY: (Phase.BUSY, Phase.IDLE, Phase.LINGERING, Phase.CLOSED),
    Phase.IDLE: (Phase.HEAD, Phase.LINGERING, Phase.CLOSED),
    Phase.LINGERING: (Phase.CLOSED,),
    Phase.CLOSED: (Phase.CLOSED,),
}
"""The phases that may follow each phase."""
for _phase, _following in TRANSITIONS.items():
    _phase.following = _following  # a lookup without hashing: this is done several times a request


class SandboxConnection(Protocol):
    """A connection from a sandbox."""

    transport: Transport  # type: ignore[assignment]  # Twisted promises less: ITransport or None

    def __init__(self, services: Services, peer: str) -> None:
        self.services, self.peer = services, peer
        self.keeps = True
        self._phase = Phase.NEW
        self._reader = RequestReader(services.limits.max_head)
        self._exchange: Exchange | None = None
        self._aborted: Exchange | None = None
        """The exchange of a connection that was reset; ``connectionLost`` ends it if it has not ended."""
        self._head: RequestHead | None = None
        self._since, self._limit = services.reactor.seconds(), services.limits.head_timeout
        """Since when the connection waits for the client, and how many seconds it may."""
        self._interim: list[bytes] = []
        """The ``100 Continue`` that the client still waits for."""
        self._stay = 0.0
        """Seconds that the connection stays open between requests while credgate stops."""
        self._linger = LINGER_BYTES
        self._held = self._full = False
        self._valve: Valve | None = None

    def _enter(self, phase: Phase) -> None:
        assert phase in self._phase.following, (self._phase, phase)
        self._phase = phase

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        # Small reads until the request proves to have a body that costs no more than its bytes.
        self.transport.bufferSize = CAREFUL_SIZE
        self.transport.registerProducer(Valve(self._client_full, self._client_drained), streaming=True)
        self.services.transfers.add_connection(self)

    # From the sandbox.

    def dataReceived(self, data: bytes) -> None:
        try:
            if self._phase is Phase.LINGERING:
                self._linger -= len(data)
                if self._linger < 0:
                    self.abort()
            else:
                self._receive(data)
        except Exception:  # noqa: BLE001 - any error must end both sides and write the audit line
            _log.failure("a connection failed and is cut")
            self.broke()

    def _receive(self, data: bytes) -> None:  # noqa: C901 - one pass over what one read brought
        now = None
        if self._phase is Phase.NEW:
            self._phase = Phase.HEAD  # the time limit of the first head runs since the connection was opened
        elif self._phase is Phase.IDLE:
            self._phase = Phase.HEAD
            now = self._since = self.services.reactor.seconds()
            self._limit = self.services.limits.head_timeout
        try:
            events = self._reader.receive(data)
        except RequestError as error:
            self._malformed(error)
            return
        if not events:
            return
        # Events are, in this order: a head, pieces of the body, the end; each only if it came with this read.
        first, last = 0, len(events)
        if events[-1] is END:
            last -= 1
        if type(events[0]) is RequestHead:
            first = 1
            self._begin(events[0], now)
        if last > first:
            body: list[bytes] = events[first:last]  # type: ignore[assignment]  # as said above
            if not first and self._measured:
                pace(self.transport, len(data), sum(map(len, body)))
            if self._exchange is not None:
                self._exchange.body(body)
        if last < len(events) and self._exchange is not None:
            self._exchange.body_end()
        # Bytes after a complete request are never parsed (request smuggling): nothing more is read.
        if self._reader.excess and self._phase is not Phase.LINGERING:
            self.hold()

    @property
    def _measured(self) -> bool:
        """Whether body bytes cost no more than their number: compressed ones are read in small pieces."""
        return self._head is not None and self._head.get(b"content-encoding") is None

    def _begin(self, head: RequestHead, now: float | None) -> None:
        self._head, self.keeps = head, head.keep_alive
        self._interim = [CONTINUE] if head.expect_continue else []
        self._enter(Phase.BUSY)
        if head.length and self._measured:
            self.transport.bufferSize = BUFFER_SIZE
        record = RequestLog(self.services, self.peer, now)
        try:
            verdict = self.services.judge.judge(head, self.peer, record.began)
            record.describe(verdict)
            self._serve(head, verdict, record)
        except Exception:
            record.set_decision(Decision(allow=False, reason=Reason.INTERNAL)).close()
            raise

    def _serve(self, head: RequestHead, verdict: Verdict, record: RequestLog) -> None:
        kind = type(verdict)
        self._stay = PARTING if kind is LfsRelay or (kind is Refuse and verdict.lfs) else 0.0
        if kind is Relay or kind is LfsRelay:
            exchange = (
                RelayExchange(self, record, head, verdict)  # type: ignore[arg-type]  # types compared by identity
                if kind is Relay
                else make_lfs_exchange(self, record, head, verdict)  # type: ignore[arg-type]
            )
            self._add_exchange(exchange, verdict.session)
            if self._interim:
                self.write(self._interim)
                self._interim = []
            exchange.start()
        elif isinstance(verdict, Serve):
            self._answer(record, LocalPage(self.services.judge.page(verdict)), verdict.session)
        else:
            assert isinstance(verdict, Refuse)
            reads = verdict.kind is Kind.RECEIVE_PACK and not verdict.early
            max_refs = self.services.judge.authorizer.policy.max_refs
            push = PushStream(head.get(b"content-encoding"), max_refs=max_refs) if reads else None
            self.refuse(verdict, record, push, whole=False)

    def _add_exchange(self, exchange: Exchange, session: Session | None) -> None:
        if self._exchange is not None:
            self._remove_exchange()
        self._exchange = exchange
        if session is not None:
            self.services.transfers.add_transfer(exchange, session.id)

    def _remove_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self.services.transfers.remove_transfer(exchange)

    def refuse(self, refuse: Refuse, record: RequestLog, push: PushStream | RefusedPush | None, *, whole: bool) -> None:
        """Answer with a refusal, after the rest of the body unless the client waits for ``100 Continue``."""
        record.set_decision(refuse.decision)
        self._answer(record, RefusalAnswer(refuse, push), refuse.session, whole=whole, early=refuse.early)

    def _answer(
        self,
        record: RequestLog,
        answer: LocalPage | RefusalAnswer,
        session: Session | None,
        *,
        whole: bool = False,
        early: bool = False,
    ) -> None:
        head = self._head
        assert head is not None
        # Without a session credential a client has at most PATIENCE bytes of body read.
        reads_body = (session is not None or (head.length is not None and head.length <= PATIENCE)) and not early
        self.keeps = self.keeps and reads_body and not self._interim
        proved, bare = session is not None, head.method == b"HEAD"
        exchange = LocalAnswer(self, record, answer, proved=proved, bare=bare)
        self._add_exchange(exchange, session)
        self.release()
        if whole or self._interim or not reads_body:
            exchange.body_end()

    def _malformed(self, error: RequestError) -> None:
        decision = Decision(allow=False, reason=error.reason, rule="head", text=str(error))
        exchange = self._exchange
        self._remove_exchange()
        if exchange is None:
            self._log_refusal(decision, error.status)
        elif not exchange.dropped(decision, error.status):
            self.abort()
            return
        self._refuse_and_close(Refuse(decision, error.status))

    def _log_refusal(self, decision: Decision, status: int) -> None:
        record = RequestLog(self.services, self.peer).set_decision(decision)
        record.set_status(status)
        record.close()

    def _refuse_and_close(self, refuse: Refuse) -> None:
        self.write([RefusalAnswer(refuse, None).bytes(close=True)])
        self._close(unread=True)

    # For the exchange: ``ports.Client``.

    @property
    def tls(self) -> bool:
        """Whether the sandbox speaks TLS with us."""
        return ISSLTransport.providedBy(self.transport)

    def write(self, parts: list[bytes]) -> None:
        send(self.transport, parts)

    def hold(self) -> None:
        self._held = True
        shrink(self.transport)
        self.transport.pauseProducing()

    def release(self) -> None:
        if self._held and self._phase is not Phase.CLOSED:
            self._held = False
            self.transport.resumeProducing()

    def feed(self, valve: Valve | None) -> None:
        self._valve = valve
        if valve is not None and self._full:
            valve.close()

    def _client_full(self) -> None:
        self._full = True
        if self._valve is not None:
            self._valve.close()

    def _client_drained(self) -> None:
        self._full = False
        if self._valve is not None:
            self._valve.open()
        elif self._exchange is None:
            self._wait_for_head(self.services.reactor.seconds())

    def finished(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self.services.transfers.remove_transfer(exchange)
        self._valve = None
        reader = self._reader
        whole, excess = reader.whole, reader.excess
        stays = self.keeps and (self._stay or not self.services.transfers.closing)
        if not (stays and whole) or excess:
            self._close(unread=excess or not whole)
            return
        reader.reset()
        self._head = None
        self._enter(Phase.IDLE)
        self.transport.bufferSize = CAREFUL_SIZE
        # The audit line was written a moment ago: its time saves a reading of the clock.
        ended = exchange.record.ended if exchange is not None else None
        self._wait_for_head(self.services.reactor.seconds() if ended is None else ended)

    def _wait_for_head(self, now: float) -> None:
        """Read the next request, or first wait until the client has read its last answer."""
        limits = self.services.limits
        self._since, self._limit = now, limits.idle_timeout
        # A client that sends without reading could pile up answers here.
        if self._full:
            self._limit = limits.stall_timeout
            self.hold()
        elif self._held:
            self.release()
        if self.services.transfers.closing:
            self._limit = min(self._limit, PARTING)

    def abort(self) -> None:
        self._aborted = self._exchange or self._aborted
        self._remove_exchange()
        self._enter(Phase.CLOSED)
        self.transport.abortConnection()

    def broke(self) -> None:
        try:
            self.cut(Reason.INTERNAL)
        finally:
            self.abort()

    def _close(self, *, unread: bool) -> None:
        self._enter(Phase.LINGERING)
        self._since, self._limit = self.services.reactor.seconds(), self.services.limits.stall_timeout
        self.transport.unregisterProducer()  # a paused producer would delay the close
        if unread:
            # RFC 9112, section 9.6: bytes that arrive after a full close cause a reset, which may reach the client
            # before it has read the reply.
            self._limit = LINGER_SECONDS
            self.release()
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    # Time and the end.

    def overdue(self, now: float) -> None:
        """Act on a time limit that has passed; called once a second."""
        if self._phase is Phase.CLOSED:
            return
        if self._exchange is not None:
            self._exchange.overdue(now)
        elif now - self._since >= self._limit:
            if self._phase is Phase.LINGERING or self._full:
                self.abort()
            elif self._phase is Phase.HEAD:
                text = "the request head took too long"
                decision = Decision(allow=False, reason=Reason.HEAD_TIMEOUT, rule="head", text=text)
                self._log_refusal(decision, 408)
                self._refuse_and_close(Refuse(decision, 408))
            else:
                # Not a reset: the client may still be reading what the kernel holds of the last answer.
                self._close(unread=False)

    def drain(self) -> None:
        """Close now, or after the request that is being answered.

        A connection that served LFS stays open for ``PARTING`` seconds.
        """
        if self._exchange is not None or self._phase in (Phase.LINGERING, Phase.CLOSED):
            return
        # git-lfs retries after our refusal, but gives up when the connection is closed between its requests.
        if self._stay and self.keeps:
            self._since, self._limit = self.services.reactor.seconds(), self._stay
        else:
            self._close(unread=False)

    def refuse_pending(self, decision: Decision) -> None:
        """Refuse the request that waits for an answer, if there is one."""
        if self._exchange is not None:
            self._exchange.refuse_pending(decision)

    def cut(self, reason: Reason) -> None:
        """End the connection and its exchange at once."""
        if self._exchange is not None:
            self._exchange.cut(reason)
        else:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        exchange = self._exchange or self._aborted
        self._remove_exchange()
        self._phase = Phase.CLOSED
        self.services.transfers.remove_connection(self)
        if exchange is not None:
            exchange.client_lost()
