"""One relayed git request: the sandbox's body to the forge, the forge's answer to the sandbox.

What it guarantees:

* A cut upload reaches the forge unfinished (no last chunk, no padding to the length), so no ref moves.
* A cut answer reaches the sandbox unfinished (the connection is reset), so no pack looks complete.
* Of the forge's head only status, media type, coding and framing are read. The sandbox's head is made of constants
  (``http.header_policy``), and an unexpected answer becomes a refusal in git's protocol.
* An answer that comes before the end of the upload is relayed; the rest of the upload is then discarded.

A request is repeated only if that cannot have an effect twice, so never a push: once after a kept connection turned out
to be closed before the first byte of an answer, and once after the forge refused the credential and it was renewed.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from attrs import evolve
from twisted.logger import Logger

from credgate.errors import RequestError, ResponseError
from credgate.git.authorize import Moved, Refuse, Relay
from credgate.git.forge_response import judge_response
from credgate.git.push_stream import FetchStream, PushStream
from credgate.git.response_filter import ReportFilter, ResponseFilter, response_filter
from credgate.git.route import Kind
from credgate.http import header_policy
from credgate.http.chunked import LAST_CHUNK, frame
from credgate.pack.memory import BUDGET
from credgate.service.inspect.repository_client import RepositoryClient
from credgate.service.sandbox.body_sender import BodySender
from credgate.service.sandbox.push_relay import PushRelay
from credgate.service.sandbox.stall_clock import StallClock
from credgate.service.upstream.connect import UpstreamConnect
from credgate.service.upstream.failures import failure_decision, no_answer_decision
from credgate.service.upstream.flow import Valve
from credgate.service.upstream.request import UpstreamRequest, credential_request
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.python.failure import Failure

    from credgate.git.push_verdict import PushVerdict
    from credgate.http.grammar import RequestHead, ResponseHead
    from credgate.service.sandbox.ports import Client
    from credgate.service.sandbox.request_log import RequestLog
    from credgate.service.upstream.pool import ForgeConnection

_log = Logger()


class Phase(Enum):
    """The phases of a relayed request."""

    following: tuple[Phase, ...]

    WAITING = auto()
    """Waits for a credential, a connection or, if it is a push, its command list. The forge has received nothing."""
    SENDING = auto()
    """The forge was sent the head; no byte of its answer has reached the sandbox."""
    ANSWERING = auto()
    """The sandbox has been sent part of the answer: only a cut can end this early."""
    DRAINING = auto()
    """The answer is complete and the request is not: its rest is discarded."""
    CLOSED = auto()


TRANSITIONS: dict[Phase, tuple[Phase, ...]] = {
    Phase.WAITING: (Phase.SENDING, Phase.CLOSED),
    # Back to WAITING: for a repetition, a renewed credential, or the repository's new name.
    Phase.SENDING: (Phase.WAITING, Phase.ANSWERING, Phase.CLOSED),
    Phase.ANSWERING: (Phase.DRAINING, Phase.CLOSED),
    Phase.DRAINING: (Phase.CLOSED,),
    Phase.CLOSED: (),
}
"""The phases that may follow each phase."""
for _phase, _following in TRANSITIONS.items():
    _phase.following = _following  # a lookup without hashing: this is done several times a request


class RelayExchange:
    """Relays one request; it is the pool's ``ResponseHandler``, too."""

    def __init__(self, client: Client, record: RequestLog, head: RequestHead, verdict: Relay) -> None:
        services, kind = client.services, verdict.request.kind
        self.client, self.record = client, record
        self._services, self._asked, self._verdict = services, verdict, verdict
        """``_verdict`` is of the repository's new name once the forge has redirected the request."""
        self._phase = Phase.WAITING
        self._request = UpstreamRequest(head, recoded=kind is Kind.RECEIVE_PACK, read=kind is not Kind.UPLOAD_PACK)
        self._push_stream: PushStream | None = None
        self._upload: BodySender | PushRelay
        if kind is Kind.RECEIVE_PACK:
            self._upload = self._push(head, verdict)
        else:
            fetch = None
            if kind is Kind.UPLOAD_PACK:
                v2 = head.get(b"git-protocol") == b"version=2"
                fetch = FetchStream(head.get(b"content-encoding"), v2=v2)
            bodyless = head.length == 0 and fetch is None
            self._upload = BodySender(client, self._request, fetch, self, bodyless=bodyless)
        self._way = UpstreamConnect(
            services.credentials,
            services.pool,
            services.limits.connect_timeout,
            self._request,
            record,
            paths=services.paths,
            holds=self._upload.hold,
            opened=self._connected,
            failed=self._not_connected,
            broke=self._broke,
        )
        self._filter: ResponseFilter | None = None
        self._reply: list[bytes] = []
        """The answer's head, until the first byte of its body may go."""
        self._forge: ForgeConnection | None = None
        self._framed = self._client_full = self._renewed = False
        self._drained = 0
        self._stall = StallClock(record.began)

    def _push(self, head: RequestHead, verdict: Relay) -> PushRelay:
        services = self._services
        stream = self._push_stream = PushStream(head.get(b"content-encoding"), verdict.rules)
        lane = services.lane(verdict.session.id)
        repository = RepositoryClient(
            services.pool,
            services.credentials,
            credential_request(verdict),
            verdict.driver,
            verdict.path,
            verdict.dot_git,
            services.limits.inquiry_timeout,
            services.limits.forge_timeout,
            lane,
        )
        memory = BUDGET.push(verdict.session.id)
        return PushRelay(self.client, self._request, stream, repository, lane, self, memory)

    def _enter(self, phase: Phase) -> None:
        if phase is not self._phase:
            assert phase in self._phase.following, (self._phase, phase)
            self._phase = phase

    # Connecting.

    def start(self) -> None:
        """Connect to the forge; a push does so when its command list is allowed."""
        if self._push_stream is None:
            self._way.connect(self._verdict, kept=True)

    def connect(self) -> None:
        """Ask the forge on a new connection, as pushes are: a kept one may turn out closed."""
        self._way.connect(self._verdict, kept=False)

    def _connected(self, forge: ForgeConnection) -> None:
        self._enter(Phase.SENDING)
        self._forge = forge
        self._upload.connected(self, forge)

    def _not_connected(self, decision: Decision, status: int, retry_after: int) -> None:
        request = self._verdict.request
        refuse = Refuse(decision, status, request.kind, self._verdict.session, request, retry_after=retry_after)
        self._refuse(decision, status, refuse)

    def _broke(self, failure: Failure) -> None:
        _log.failure("a relayed request failed and is cut", failure)
        self.client.broke()

    # For the upload: ``body_sender.UploadOwner``.

    def run_in_turns(self, steps: Iterator[None]) -> None:
        """Run ``steps`` in turns of the reactor, shared with other bodies."""
        self._services.turns.run(steps, self._broke)

    def malformed(self, error: RequestError) -> None:
        """Refuse a body that breaks git's protocol."""
        self._refuse(Decision(allow=False, reason=error.reason, rule="form", text=str(error)), error.status)

    def refuse_fetch(self, decision: Decision) -> None:
        """Refuse a fetch that requests what is not allowed."""
        self._refuse(decision, 403)

    def refuse_push(self, verdict: PushVerdict) -> None:
        """Refuse a push, ref by ref."""
        relay, rules = self._verdict, self._verdict.rules
        assert rules is not None
        request = relay.request
        decision, lines = verdict.decision, verdict.lines(rules)
        refuse = Refuse(decision, 403, request.kind, relay.session, request, refs=verdict.refused, lines=lines)
        self._refuse(decision, 403, refuse)

    def broke(self, failure: Failure) -> None:
        """Cut everything over an internal error."""
        self._broke(failure)

    # The sandbox's side: ``ports.Exchange``.

    def body(self, parts: list[bytes]) -> None:
        size = sum(map(len, parts))
        self.record.bytes_up += size
        if self._phase is Phase.DRAINING:
            self._drained += size
            if self._drained > self._services.limits.max_drain:
                self.cut(Reason.STALLED)
        else:
            self._upload.body(parts)

    def body_end(self) -> None:
        if self._phase is Phase.DRAINING:
            self._upload.whole = True
            self._finish()
        else:
            self._upload.end()

    def client_lost(self) -> None:
        self._stop(Decision(allow=False, reason=Reason.CLIENT_LEFT))

    def dropped(self, decision: Decision, status: int) -> bool:
        answerable = self._phase in (Phase.WAITING, Phase.SENDING)
        if answerable:
            self.record.set_status(status)
        self._stop(decision)
        return answerable

    def cut(self, reason: Reason) -> None:
        self._cut(Decision(allow=False, reason=reason))

    def refuse_pending(self, decision: Decision) -> None:
        if self._phase is Phase.DRAINING:
            return  # the answer is complete; only the request's rest is awaited
        # If the forge has the whole push, only its report says what became of the refs: no refusal would be true.
        complete_push = self._push_stream is not None and self._upload.asked and self._forge is not None
        if self._phase is Phase.ANSWERING or complete_push:
            self._cut(decision)
        else:
            request, session = self._verdict.request, self._verdict.session
            self._refuse(decision, 503, Refuse(decision, 503, request.kind, session, request, retry_after=60))

    def _cut(self, decision: Decision) -> None:
        self._stop(decision)
        # A reset, not a close: neither side may take what it received for complete.
        self.client.abort()

    def _stop(self, decision: Decision) -> None:
        self._record_refs()  # the forge may have received all that it needs to move them
        self.record.set_decision(decision)
        self._leave_forge()
        self._phase = Phase.CLOSED
        self.record.close()

    def _leave_forge(self) -> None:
        forge, self._forge = self._forge, None
        self._upload.leave()
        self._way.cancel()
        if forge is not None:
            forge.abort()

    # The forge's side: ``pool.ResponseHandler``.

    def answer_head(self, head: ResponseHead) -> None:
        self.record.upstream_status = head.status
        judged = judge_response(head, self._verdict, secret=self._request.secret)
        kind = type(judged)
        if kind is Moved:
            self._follow(judged)  # type: ignore[arg-type]  # types compared by identity
            return
        if kind is Refuse:
            self._rejected(judged)  # type: ignore[arg-type]
            return
        verdict = self._verdict
        request = verdict.request
        if request.kind is Kind.ADVERTISEMENT and verdict is self._asked:
            self._services.judge.forget_rename(verdict.session.id, request.repo)
        self._filter = response_filter(request.kind, request.service, verdict.rules, self._push_stream)
        try:
            gzip = header_policy.is_gzip(head, asked=self._filter is None)
        except ResponseError as error:
            self._leave_forge()
            self.answer_failed(error)
            return
        # A filter changes the length of the body: it is sent in chunks.
        length = head.length if self._filter is None else None
        self._framed = length is None
        close = not self.client.keeps
        self._reply = [header_policy.downstream_head(200, judged, length=length, gzip=gzip, close=close)]  # type: ignore[arg-type]
        self.record.set_status(200)
        self.client.feed(Valve(self._client_fills, self._client_drains))

    def _rejected(self, judged: Refuse) -> None:
        """Refuse. If the credential was refused, first have it renewed, and repeat the request unless it is a push."""
        if judged.decision.reason is not Reason.FORGE_REFUSED_CREDENTIAL or self._renewed:
            self._refuse(judged.decision, judged.status, judged)
            return
        # Once: more renewals do not help against a forge that refuses every credential.
        self._renewed, repeats = True, self._upload.repeat()
        self._leave_forge()
        self._enter(Phase.WAITING)
        if not self._upload.whole:
            self.client.hold()

        def renewed() -> None:
            if repeats:
                self._way.connect(self._verdict, kept=True)
                return
            command = "fetch" if self._push_stream is None else "push"
            text = f"{judged.decision.text}. It was renewed meanwhile: {command} again"
            decision = Decision(allow=False, reason=Reason.CREDENTIAL_RENEWED, rule="forge", text=text)
            self._refuse(decision, judged.status, evolve(judged, decision=decision))

        self._way.renew(self._verdict, renewed, lambda: self._refuse(judged.decision, judged.status, judged))

    def _follow(self, moved: Moved) -> None:
        """Repeat the discovery under the repository's new name, once."""
        self._leave_forge()
        self._enter(Phase.WAITING)
        if self._verdict is not self._asked:
            text = f"{moved.repo.forge} redirects this repository more than once"
            self._refuse(Decision(allow=False, reason=Reason.FORGE_MOVED, rule="forge", text=text), 502)
            return
        verdict, judge = self._verdict, self._services.judge
        # The session's later requests are sent to the new name directly: a POST to the old one would be redirected.
        judge.record_rename(verdict.session.id, verdict.request.repo, moved)
        again = judge.authorizer.moved(verdict, moved)
        self.record.describe(again)
        if isinstance(again, Refuse):
            self._refuse(again.decision, again.status, again)
            return
        assert isinstance(again, Relay)  # as the request is git's
        self._verdict = again
        self.connect()

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Relay body bytes as they come, because git's keep-alive packets must not wait."""
        if self._filter is not None:
            try:
                parts = [passed for part in parts for passed in self._filter.receive(part)]
                if last:
                    self._filter.end()
            except ResponseError as error:
                self._leave_forge()
                self.answer_failed(error)
                return
            if not (parts or last):
                return
        self.record.bytes_down += sum(map(len, parts))
        self._enter(Phase.ANSWERING)
        # The head is sent with the first bytes: until then a failing filter can still be answered with a refusal.
        reply, self._reply = self._reply, []
        reply += frame(parts) if self._framed else parts
        if last and self._framed:
            reply.append(LAST_CHUNK)
        if reply:
            self.client.write(reply)

    def answer_end(self) -> None:
        self._forge = None
        self._upload.leave()
        if self._upload.whole:
            self._finish()
        else:
            self._enter(Phase.DRAINING)
            self.client.feed(None)
            self.client.release()

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        self._forge = None
        self._upload.leave()
        # A kept connection that was closed before the first byte of an answer; a push is never repeated.
        if repeatable and self._upload.repeat():
            self._enter(Phase.WAITING)
            self.connect()
            return
        self._refuse(*failure_decision(self._verdict.driver.forge.name, error))

    def _finish(self) -> None:
        self._phase = Phase.CLOSED
        if self._push_stream is not None:
            self._record_refs()
        self.record.close()
        self.client.finished()
        # Both refer back to this exchange: without the cycle, credentials are freed now and not by the collector.
        del self._way, self._upload

    def _record_refs(self, *, dropped: bool = False) -> None:
        """Record what became of each ref of a push: the verdict, and the forge's report if there was one."""
        if self._push_stream is not None and self._push_stream.verdict is not None:
            reader = self._filter.reader if isinstance(self._filter, ReportFilter) else None
            verdict = self._push_stream.verdict
            self.record.set_refs(verdict.dropped() if dropped else verdict, reader)

    def _refuse(self, decision: Decision, status: int, refuse: Refuse | None = None) -> None:
        """Hand the client over to a local answer, which reads the rest of the body first; cut if one has begun."""
        if self._phase in (Phase.ANSWERING, Phase.DRAINING):
            self._cut(decision)
            return
        push = self._upload.refused_push
        self._record_refs(dropped=isinstance(self._upload, PushRelay) and self._upload.withheld)
        self._leave_forge()
        self._phase = Phase.CLOSED
        request = self._verdict.request
        refuse = refuse or Refuse(decision, status, request.kind, self._verdict.session, request)
        if self._push_stream is not None:
            self._push_stream.forget()
        self.client.refuse(refuse, self.record, push, whole=self._upload.whole)

    # Flow and time.

    def _client_fills(self) -> None:
        self._client_full = True
        if self._forge is not None:
            self._forge.pauseProducing()

    def _client_drains(self) -> None:
        self._client_full = False
        if self._forge is not None:
            self._forge.resumeProducing()

    def overdue(self, now: float) -> None:
        """End a transfer in which no byte has moved for the time limit of the side that is awaited."""
        if self._stall.moved(self.record.bytes_up + self.record.bytes_down, now):
            # A long transfer must not let its session expire as idle.
            self._services.registry.touch(self._verdict.session.id)
            return
        limits, upload = self._services.limits, self._upload
        stalled = self._stall.overdue(now, limits.stall_timeout)
        if isinstance(upload, PushRelay) and upload.unread:
            if stalled:  # neither the sandbox nor the forge is slow, so the answer is 503
                text = "this push could not be read in time, because the gateway has too much to do: push again later"
                self._refuse(Decision(allow=False, reason=Reason.PUSH_UNKNOWN, rule="walk", text=text), 503)
        elif self._client_full or not (upload.whole or upload.full or self._way.connecting):
            if stalled:
                self.cut(Reason.STALLED)
        elif not self._way.connecting:  # connecting has a time limit of its own
            # After a complete request a forge may compute for a long time before it answers.
            limit = limits.forge_timeout if upload.whole else limits.stall_timeout
            if self._stall.overdue(now, limit):
                self._refuse(*no_answer_decision(self._verdict.driver.forge.name))
