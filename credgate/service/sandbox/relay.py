"""One relayed request: from the sandbox's body to the forge, from the forge's answer to the sandbox.

It opens the way upstream when the head is in, moves bytes both ways with back-pressure, and keeps these promises:

* a cut upload reaches the forge unfinished (no last chunk, no missing bytes made up), so no ref moves;
* a cut answer reaches the sandbox unfinished (the connection is reset), so no pack looks complete;
* of the forge's head only status, body type, coding and framing are looked at; what the sandbox gets is made of
  constants (``http.header_policy``), and what is not the expected answer becomes a refusal in git's own words;
* an early answer is relayed while the upload still runs; what then comes is read away.

Only requests that can be repeated (no push) are repeated: once when a kept connection turned out to be closed before it
answered a byte, and once when the forge refused the credential and another could be had.
"""

from __future__ import annotations

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
from credgate.service.sandbox.body_sender import BodySender
from credgate.service.sandbox.push_relay import PushRelay
from credgate.service.upstream.connect import UpstreamConnect
from credgate.service.upstream.failures import failure_decision, no_answer_decision
from credgate.service.upstream.flow import Valve
from credgate.service.upstream.request import UpstreamRequest
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.python.failure import Failure

    from credgate.git.push_verdict import PushVerdict
    from credgate.http.grammar import RequestHead, ResponseHead
    from credgate.service.sandbox.connection import SandboxConnection
    from credgate.service.sandbox.request_log import RequestLog
    from credgate.service.upstream.pool import ForgeConnection

_log = Logger()


class RelayExchange:
    """The exchange that a channel is busy with while the forge answers."""

    def __init__(self, channel: SandboxConnection, record: RequestLog, head: RequestHead, verdict: Relay) -> None:
        self.channel, self.record, self._verdict = channel, record, verdict
        self._gate = channel.gate
        kind = verdict.request.kind
        self._question = UpstreamRequest(head, recoded=kind is Kind.RECEIVE_PACK, read=kind is not Kind.UPLOAD_PACK)
        self._way = self._to_forge()
        self._passage = PushStream(head.get(b"content-encoding"), verdict.rules) if kind is Kind.RECEIVE_PACK else None
        self._upload: BodySender | PushRelay = self._push(self._passage) if self._passage else self._fetch(head, kind)
        self._rewriting: ResponseFilter | None = None
        self._reply: list[bytes] = []
        self._forge: ForgeConnection | None = None
        self._answering = self._answered = self._framed = self._followed = self._client_full = self._renewed = False
        self._drained = 0
        self._moved, self._since = 0, self._gate.reactor.seconds()

    def _to_forge(self) -> UpstreamConnect:
        gate = self._gate
        return UpstreamConnect(
            gate.credentials,
            gate.pool,
            gate.limits.connect_timeout,
            self._question,
            self.record,
            paths=gate.paths,
            holds=lambda: self._upload.hold(),  # noqa: PLW0108 - there is no upload yet
            opened=self._connected,
            failed=self._unconnected,
            broke=self._broke,
        )

    def _fetch(self, head: RequestHead, kind: Kind) -> BodySender:
        coding, v2 = head.get(b"content-encoding"), head.get(b"git-protocol") == b"version=2"
        fetch = FetchStream(coding, v2=v2) if kind is Kind.UPLOAD_PACK else None
        return BodySender(
            self.channel, self._question, fetch, self._malformed, self._unfetched, in_turns=self._in_turns
        )

    def _push(self, passage: PushStream) -> PushRelay:
        gate, verdict = self._gate, self._verdict
        inquiry = gate.inquiry(verdict)
        return PushRelay(
            self.channel,
            self._question,
            passage,
            inquiry,
            gate.lane(verdict.session.id),
            in_turns=self._in_turns,
            begins=self._connect,
            fails=self._malformed,
            refuses=self._unpushed,
            broke=self._broke,
        )

    def _in_turns(self, steps: Iterator[None]) -> None:
        self._gate.turns.run(steps, self._broke)

    def start(self) -> None:
        """Find or open a connection and ask; a push does so itself, once it is judged."""
        if self._passage is not None:
            return
        self._way.connect(self._verdict, kept=True)

    def _connect(self) -> None:
        """Ask on a new connection."""
        self._way.connect(self._verdict, kept=False)

    def _connected(self, forge: ForgeConnection) -> None:
        self._forge = forge
        self._upload.go(self, forge)

    def _unconnected(self, decision: Decision, status: int, retry_after: int) -> None:
        request = self._verdict.request
        refuse = Refuse(decision, status, request.kind, self._verdict.session, request, retry_after=retry_after)
        self._refuse(decision, status, refuse)

    def _broke(self, failure: Failure) -> None:
        _log.failure("a relayed request failed and is cut", failure)
        self.channel.broke()

    # The sandbox's side.

    def body(self, parts: list[bytes]) -> None:
        """Pass body bytes on; bytes that come after the forge's answer are read away, so many."""
        size = sum(map(len, parts))
        self.record.bytes_up += size
        if self._answered:
            self._drained += size
            if self._drained > self._gate.limits.max_drain:
                self.cut(Reason.STALLED)
        else:
            self._upload.body(parts)

    def body_end(self) -> None:
        """Pass the end on, or finish if the forge's answer came before it."""
        if self._answered:
            self._upload.whole = True
            self._finish()
        else:
            self._upload.end()

    def _malformed(self, error: RequestError) -> None:
        self._refuse(Decision(allow=False, reason=error.reason, rule="form", text=str(error)), error.status)

    def _unfetched(self, decision: Decision) -> None:
        self._refuse(decision, 403)

    def _unpushed(self, verdict: PushVerdict) -> None:
        relay, rules = self._verdict, self._verdict.rules
        assert rules is not None
        request = relay.request
        decision, lines = verdict.decision, verdict.lines(rules)
        refuse = Refuse(decision, 403, request.kind, relay.session, request, refs=verdict.refused, lines=lines)
        self._refuse(decision, 403, refuse)

    def client_lost(self) -> None:
        """Leave the forge with what is unfinished."""
        self._stop(Decision(allow=False, reason=Reason.CLIENT_LEFT))

    def dropped(self, decision: Decision, status: int) -> bool:
        """Leave the forge with what is unfinished; an answer is possible if none has begun."""
        if not self._answering:
            self.record.set_status(status)
        self._stop(decision)
        return not self._answering

    def cut(self, reason: Reason) -> None:
        """End both sides at once."""
        self._cut(Decision(allow=False, reason=reason))

    def dismiss(self, decision: Decision) -> None:
        """End because credgate does: with a refusal where it can be given and is true, else at once."""
        if self._answered:  # the answer is on its way; what is left is to read the request away
            return
        taken = self._passage is not None and self._upload.asked and self._forge is not None
        if self._answering or taken:  # the forge has the whole push: what becomes of it is not ours to say
            self._cut(decision)
        else:
            request, session = self._verdict.request, self._verdict.session
            self._refuse(decision, 503, Refuse(decision, 503, request.kind, session, request, retry_after=60))

    def _cut(self, decision: Decision) -> None:
        self._stop(decision)
        self.channel.abort()

    def _stop(self, decision: Decision) -> None:
        self._tell_refs()  # the forge may have all that it needs to move them
        self.record.set_decision(decision)
        self._leave()
        self.record.close()

    def _leave(self) -> None:
        forge, self._forge = self._forge, None
        self._upload.leave()
        self._way.cancel()
        if forge is not None:
            forge.abort()

    # The forge's side.

    def answer_head(self, head: ResponseHead) -> None:
        """Relay the answer if it is the expected one; else say what it means."""
        self.record.upstream_status = head.status
        judged = judge_response(head, self._verdict, secret=self._question.secret)
        if isinstance(judged, Moved):
            self._follow(judged)
            return
        if isinstance(judged, Refuse):
            if judged.decision.reason is Reason.FORGE_REFUSED_CREDENTIAL and not self._renewed:
                self._renew(judged)
            else:
                self._refuse(judged.decision, judged.status, judged)
            return
        request = self._verdict.request
        if request.kind is Kind.ADVERTISEMENT and not self._followed:
            self._gate.is_there(self._verdict.session.id, request.repo)
        self._rewriting = response_filter(request.kind, request.service, self._verdict.rules, self._passage)
        try:
            gzip = header_policy.is_gzip(head, asked=self._rewriting is None)
        except ResponseError as error:
            self._leave()
            self.answer_failed(error)
            return
        length = head.length if self._rewriting is None else None
        self._framed, close = length is None, not self.channel.keeps
        self._reply = [header_policy.downstream_head(200, judged, length=length, gzip=gzip, close=close)]
        self.record.set_status(200)
        self.channel.feed(Valve(self._client_fills, self._client_drains))

    def _renew(self, judged: Refuse) -> None:
        """Have the refused credential replaced, once; ask again with the new one unless that could move a ref twice."""
        self._renewed, again = True, self._upload.again()
        self._leave()
        if not self._upload.whole:
            self.channel.hold()

        def renewed() -> None:
            if again:
                self._way.connect(self._verdict, kept=True)
                return
            deed = "fetch" if self._passage is None else "push"
            text = f"{judged.decision.text}. It was renewed meanwhile: {deed} again"
            decision = Decision(allow=False, reason=Reason.CREDENTIAL_RENEWED, rule="forge", text=text)
            self._refuse(decision, judged.status, evolve(judged, decision=decision))

        self._way.renew(self._verdict, renewed, lambda: self._refuse(judged.decision, judged.status, judged))

    def _follow(self, moved: Moved) -> None:
        """Ask again under the repository's new name, once; later requests of the session go there at once."""
        self._leave()
        if self._followed:
            text = f"{moved.repo.forge} redirects this repository more than once"
            self._refuse(Decision(allow=False, reason=Reason.FORGE_MOVED, rule="forge", text=text), 502)
            return
        self._followed = True
        verdict = self._verdict
        self._gate.record_rename(verdict.session.id, verdict.request.repo, moved)
        again = self._gate.admission.moved(verdict, moved)
        self.record.describe(again)
        if isinstance(again, Refuse):
            self._refuse(again.decision, again.status, again)
            return
        assert isinstance(again, Relay)  # as the request is git's
        self._verdict = again
        self._connect()

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Relay body bytes as they come, git's keep-alives must not wait; nor the head, unless what is read fails."""
        if self._rewriting is not None:
            try:
                parts = [passed for part in parts for passed in self._rewriting.receive(part)]
                if last:
                    self._rewriting.end()
            except ResponseError as error:
                self._leave()
                self.answer_failed(error)
                return
        self.record.bytes_down += sum(map(len, parts))
        if self._rewriting is not None and not (parts or last):
            return
        reply, self._reply, self._answering = self._reply, [], True
        reply += frame(parts) if self._framed else parts
        if last and self._framed:
            reply.append(LAST_CHUNK)
        if reply:
            self.channel.write(reply)

    def answer_end(self) -> None:
        """Finish, now if the request is whole, else when it is."""
        self._forge, self._answered = None, True
        self._upload.leave()
        self.channel.feed(None)
        if self._upload.whole:
            self._finish()
        else:
            self.channel.release()

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        """Try again if nothing was lost by it; else never let it look complete."""
        self._forge = None
        self._upload.leave()
        if repeatable and self._upload.again():
            self._connect()
            return
        self._refuse(*failure_decision(self._verdict.driver.forge.name, error))

    def _finish(self) -> None:
        self._tell_refs()
        self.record.close()
        self.channel.finished()
        # Both refer back here: what is done, its credentials among it, goes now and not when the collector comes.
        del self._way, self._upload

    def _tell_refs(self, *, dropped: bool = False) -> None:
        """Note what became of each ref of a push, here and at the forge."""
        if self._passage is not None and self._passage.verdict is not None:
            reader = self._rewriting.reader if isinstance(self._rewriting, ReportFilter) else None
            verdict = self._passage.verdict
            self.record.set_refs(verdict.dropped() if dropped else verdict, reader)

    def _refuse(self, decision: Decision, status: int, refuse: Refuse | None = None) -> None:
        """Hand over to an answer of our own, which reads the rest of the body first; cut if another has begun."""
        if self._answering:
            self._cut(decision)
            return
        push = self._upload.read_out()
        self._tell_refs(dropped=isinstance(self._upload, PushRelay) and self._upload.withheld)
        self._leave()
        request = self._verdict.request
        refuse = refuse or Refuse(decision, status, request.kind, self._verdict.session, request)
        if self._passage is not None:
            self._passage.forget()
        self.channel.refuse(refuse, self.record, push, whole=self._upload.whole)

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
        """Cut what stands still: the clients soon, the forge later, for forges may think for minutes."""
        moved = self.record.bytes_up + self.record.bytes_down
        if moved != self._moved:
            self._moved, self._since = moved, now
            self._gate.registry.touch(self._verdict.session.id)
            return
        waited, limits, upload = now - self._since, self._gate.limits, self._upload
        if isinstance(upload, PushRelay) and upload.unread:
            if waited >= limits.stall_timeout:
                self._unread_in_time()
            return
        if self._client_full or not (upload.whole or upload.full or self._way.connecting):
            if waited >= limits.stall_timeout:
                self.cut(Reason.STALLED)
        elif waited >= (limits.forge_timeout if upload.whole else limits.stall_timeout) and not self._way.connecting:
            self._forge_silent()

    def _unread_in_time(self) -> None:
        """Say whose fault it is that a push stands still: neither the sandbox's nor the forge's."""
        text = "this push could not be read in time, because the gateway has too much to do: push again later"
        self._refuse(Decision(allow=False, reason=Reason.PUSH_UNKNOWN, rule="walk", text=text), 503)

    def _forge_silent(self) -> None:
        self._refuse(*no_answer_decision(self._verdict.driver.forge.name))
