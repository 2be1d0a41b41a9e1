"""The sandbox side of the relay: one connection, one request at a time.

It reads requests through ``http.request``, asks ``git.authorize`` what to do with each head, and is then busy with one
exchange (``exchange``, ``relay``) until that is finished. Bytes that arrive beyond a whole request are never parsed:
the request is answered and the connection closed, so there is no queue to desynchronise. Whatever breaks the protocol
ends the connection; replies that precede the end of a request linger, so that the peer reads them before the reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from credgate.service.sandbox.lfs.exchange import LfsExchange
from credgate.service.sandbox.local_answer import PATIENCE, Exchange, LocalAnswer, LocalPage, RefusalAnswer
from credgate.service.sandbox.relay import RelayExchange
from credgate.service.sandbox.request_log import RequestLog
from credgate.service.upstream.flow import BUFFER_SIZE, CAREFUL_SIZE, Transport, Valve, pace, send, shrink
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from credgate.service.sandbox.gate import Gate
    from credgate.sessions.model import Session

LINGER_SECONDS, LINGER_BYTES = 2.0, 1024 * 1024
"""How long, and how much, is read after a reply that came before the request's end."""
PARTING = 2.0
"""Seconds in which those who are told that credgate stops may read it, and git-lfs may ask on."""
_log = Logger()


class SandboxConnection(Protocol):
    """A connection from a sandbox."""

    transport: Transport  # type: ignore[assignment]  # Twisted promises less: ITransport or None

    def __init__(self, gate: Gate, peer: str) -> None:
        self.gate, self.peer = gate, peer
        self.keeps = True
        self._reader = RequestReader(gate.limits.max_head)
        self._exchange: Exchange | None = None
        self._parting: Exchange | None = None
        self._since, self._wait = gate.reactor.seconds(), gate.limits.head_timeout
        self._head: RequestHead | None = None
        self._begun = self._served = self._held = self._gone = False
        self._asks = self._trusts = self._serves_lfs = False
        self._full = False
        self._feeder: Valve | None = None
        self._linger: int | None = None

    def connectionMade(self) -> None:
        """Join the gate's connections."""
        self.transport.setTcpNoDelay(True)
        self.transport.bufferSize = CAREFUL_SIZE
        self.transport.registerProducer(Valve(self._fills, self._drains), streaming=True)
        self.gate.joined(self)

    # From the sandbox.

    def dataReceived(self, data: bytes) -> None:
        """Parse and pass on; a defect of ours cuts this connection, its forge's and nothing else."""
        try:
            self._receive(data)
        except Exception:  # noqa: BLE001 - whatever it is, both sides must end and the audit line be written
            _log.failure("a connection failed and is cut")
            self.broke()

    def _receive(self, data: bytes) -> None:
        if self._linger is not None:
            self._linger -= len(data)
            if self._linger < 0:
                self.abort()
            return
        if not self._begun:
            self._begins()
        try:
            events = self._reader.receive(data)
        except RequestError as error:
            self._malformed(error)
            return
        body = [event for event in events if isinstance(event, bytes)]
        if events and isinstance(events[0], RequestHead):
            self._begin(events[0])
        elif body and self._trusts:
            pace(self.transport, len(data), sum(map(len, body)))
        if body and self._exchange is not None:
            self._exchange.body(body)
        if events and events[-1] is END and self._exchange is not None:
            self._exchange.body_end()
        if self._reader.excess and self._linger is None:
            self.hold()

    def _begins(self) -> None:
        """Start the head's deadline; a new connection's runs from its first second."""
        self._begun = True
        if self._served:
            self._since, self._wait = self.gate.reactor.seconds(), self.gate.limits.head_timeout

    def _begin(self, head: RequestHead) -> None:
        self._head, self.keeps, self._asks = head, head.keep_alive, head.expect_continue
        self._trusts = head.get(b"content-encoding") is None
        if self._trusts and not head.chunked:
            self.transport.bufferSize = BUFFER_SIZE
        record = RequestLog(self.gate, self.peer)
        try:
            verdict = self.gate.judge(head, self.peer)
            record.describe(verdict)
            self._do(head, verdict, record)
        except Exception:
            record.set_decision(Decision(allow=False, reason=Reason.INTERNAL)).close()
            raise

    def _do(self, head: RequestHead, verdict: Verdict, record: RequestLog) -> None:
        self._serves_lfs = isinstance(verdict, LfsRelay) or (isinstance(verdict, Refuse) and verdict.lfs)
        if isinstance(verdict, Relay | LfsRelay):
            exchange = (
                RelayExchange(self, record, head, verdict)
                if isinstance(verdict, Relay)
                else make_lfs_exchange(self, record, head, verdict)
            )
            self._busy(exchange, verdict.session)
            if self._asks:
                self._asks = False
                self.write([CONTINUE])
            exchange.start()
        elif isinstance(verdict, Serve):
            self._own(record, LocalPage(self.gate.page(verdict)), verdict.session)
        else:
            reads = verdict.kind is Kind.RECEIVE_PACK and not verdict.early
            max_refs = self.gate.admission.policy.max_refs
            push = PushStream(head.get(b"content-encoding"), max_refs=max_refs) if reads else None
            self.refuse(verdict, record, push, whole=False)

    def _busy(self, exchange: Exchange, session: Session | None) -> None:
        self._drop_exchange()
        self._exchange = exchange
        if session is not None:
            self.gate.entered(exchange, session.id)

    def refuse(self, refuse: Refuse, record: RequestLog, push: PushStream | RefusedPush | None, *, whole: bool) -> None:
        """Answer a refusal, after the rest of the body if the session is proved and the client did not ask first."""
        record.set_decision(refuse.decision)
        self._own(record, RefusalAnswer(refuse, push), refuse.session, whole=whole, early=refuse.early)

    def _own(
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
        patient = session is not None or (head.length is not None and head.length <= PATIENCE)
        patient = patient and not early
        self.keeps = self.keeps and patient and not self._asks
        exchange = LocalAnswer(self, record, answer, proved=session is not None, bare=head.method == b"HEAD")
        self._busy(exchange, session)
        self.release()
        if whole or self._asks or not patient:
            exchange.body_end()

    def _malformed(self, error: RequestError) -> None:
        decision = Decision(allow=False, reason=error.reason, rule="head", text=str(error))
        exchange = self._exchange
        self._drop_exchange()
        if exchange is None:
            self._note(decision, error.status)
        elif not exchange.dropped(decision, error.status):
            self.abort()
            return
        self._say(Refuse(decision, error.status))

    def _note(self, decision: Decision, status: int) -> None:
        record = RequestLog(self.gate, self.peer).set_decision(decision)
        record.set_status(status)
        record.close()

    def _say(self, refuse: Refuse) -> None:
        """Answer without an exchange, and leave."""
        self.write([RefusalAnswer(refuse, None).bytes(close=True)])
        self._leave(unread=True)

    # For the exchange.

    def write(self, parts: list[bytes]) -> None:
        """Send bytes to the sandbox."""
        send(self.transport, parts)

    def hold(self) -> None:
        """Read no further for now."""
        self._held = True
        shrink(self.transport)
        self.transport.pauseProducing()

    def release(self) -> None:
        """Read on."""
        if self._held and not self._gone:
            self._held = False
            self.transport.resumeProducing()

    def feed(self, valve: Valve | None) -> None:
        """Take ``valve`` as what to close while the sandbox does not read; None ends that."""
        self._feeder = valve
        if valve is not None and self._full:
            valve.close()

    def _fills(self) -> None:
        self._full = True
        if self._feeder is not None:
            self._feeder.close()

    def _drains(self) -> None:
        self._full = False
        if self._feeder is not None:
            self._feeder.open()
        elif self._exchange is None:
            self._idle()

    def finished(self) -> None:
        """Take the next request, or leave."""
        self._drop_exchange()
        self._feeder = None
        stays = self._serves_lfs or not self.gate.closing
        if not (self.keeps and stays and self._reader.whole) or self._reader.excess:
            self._leave(unread=self._reader.excess or not self._reader.whole)
            return
        self._reader.reset()
        self._head, self._begun, self._served = None, False, True
        self.transport.bufferSize = CAREFUL_SIZE
        self._idle()

    def _idle(self) -> None:
        """Wait for the next request; but first for the client to read, lest its answers pile up here."""
        limits = self.gate.limits
        self._since, self._wait = self.gate.reactor.seconds(), limits.idle_timeout
        if self._full:
            self._wait = limits.stall_timeout
            self.hold()
        else:
            self.release()
        if self.gate.closing:
            self._wait = min(self._wait, PARTING)

    def abort(self) -> None:
        """Reset the connection: nothing that was sent can be taken for whole."""
        self._parting = self._exchange or self._parting  # ``connectionLost`` tells it, if it does not know
        self._drop_exchange()
        self._gone = True
        self.transport.abortConnection()

    def broke(self) -> None:
        """Cut because credgate itself failed, in whatever state things are."""
        try:
            self.cut(Reason.INTERNAL)
        finally:
            self.abort()

    def _leave(self, *, unread: bool) -> None:
        self._since, self._wait = self.gate.reactor.seconds(), self.gate.limits.stall_timeout
        self._linger = LINGER_BYTES
        self.transport.unregisterProducer()  # one that is paused would hold up the closing
        if unread:
            self._wait = LINGER_SECONDS
            self.release()
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def _drop_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self.gate.left(exchange)

    # Time and the end.

    def overdue(self, now: float) -> None:
        """Act on what waits too long; called once a second."""
        if self._gone:
            return
        if self._exchange is not None:
            self._exchange.overdue(now)
        elif now - self._since >= self._wait:
            if self._linger is not None or self._full:
                self.abort()
            elif self._begun:
                decision = Decision(
                    allow=False, reason=Reason.HEAD_TIMEOUT, rule="head", text="the request head took too long"
                )
                self._note(decision, 408)
                self._say(Refuse(decision, 408))
            else:
                # Not a reset: the client may still be reading what the kernel holds of the last answer.
                self._leave(unread=False)

    def retire(self) -> None:
        """Leave, unless a request is being answered: then after it.

        git-lfs asks on, for one object after the other. It takes our refusal for a reason to wait, but a closed door
        for the end: what it asks soon on a connection that it has is answered.
        """
        if self._exchange is not None or self._linger is not None or self._gone:
            return
        if self._serves_lfs and self.keeps:
            self._since, self._wait = self.gate.reactor.seconds(), PARTING
        else:
            self._leave(unread=False)

    def dismiss(self, decision: Decision) -> None:
        """Say why no answer comes, if it can be said."""
        if isinstance(self._exchange, RelayExchange | LfsExchange):
            self._exchange.dismiss(decision)

    def cut(self, reason: Reason) -> None:
        """End whatever goes on here."""
        if self._exchange is not None:
            self._exchange.cut(reason)
        else:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave the gate, and the forge."""
        exchange = self._exchange or self._parting
        self._drop_exchange()
        self._gone = True
        self.gate.parted(self)
        if exchange is not None:
            exchange.client_lost()
