"""One relayed request: from the sandbox's body to the forge, from the forge's answer to the sandbox.

It opens the way upstream when the head is in, moves bytes both ways with back-pressure, and keeps these promises:

* a cut upload reaches the forge unfinished (no last chunk, no missing bytes made up), so no ref moves;
* a cut answer reaches the sandbox unfinished (the connection is reset), so no pack looks complete;
* of the forge's head only status, body type, coding and framing are looked at; what the sandbox gets is made of
  constants (``http.crossing``), and what is not the expected answer becomes a refusal in git's own words;
* an early answer is relayed while the upload still runs; what then comes is read away.

Only requests that can be repeated (no push) are repeated, once, and only when a kept connection turned out to be closed
before it answered a byte.
"""

from __future__ import annotations

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING

from attrs import evolve
from twisted.logger import Logger

from credgate.errors import RequestError, ResponseError
from credgate.git.admission import Refuse, Relay
from credgate.git.answer import Moved, PushInBody, judge_answer
from credgate.git.route import Kind
from credgate.http import crossing
from credgate.http.chunked import LAST_CHUNK, frame
from credgate.service.flow import Valve
from credgate.service.question import Question
from credgate.service.reach import unreachable
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from credgate.http.fields import RequestHead, ResponseHead
    from credgate.service.channel import SandboxChannel
    from credgate.service.forge import ForgeConnection
    from credgate.service.record import Record

_log = Logger()


class RelayExchange:
    """The exchange that a channel is busy with while the forge answers."""

    def __init__(self, channel: SandboxChannel, record: Record, head: RequestHead, verdict: Relay) -> None:
        self.channel, self.record, self._verdict = channel, record, verdict
        self._gate = channel.gate
        self._push = PushInBody(head.get(b"content-encoding")) if verdict.request.kind is Kind.RECEIVE_PACK else None
        self._recodes = self._push is not None and self._push.recodes
        self._question = Question(self._gate.credentials, head, verdict, recoded=self._recodes)
        self._inflow: deque[Iterator[bytes]] = deque()
        self._waiting: list[bytes] = []
        self._reply: list[bytes] = []
        self._forge: ForgeConnection | None = None
        self._connecting: Deferred[ForgeConnection] | None = None
        self._whole = self._asked = self._answering = self._answered = self._framed = self._followed = False
        self._client_full = self._forge_full = False
        self._drained = 0
        self._moved, self._since = 0, self._gate.reactor.seconds()

    def start(self) -> None:
        """Find or open a connection and ask."""
        kept = self._gate.pool.take(self._question.key) if self._push is None else None
        if kept is not None:
            self._connected(kept)
        else:
            self._connect()

    def _connect(self) -> None:
        if not self._whole:
            self.channel.hold()
        connecting = self._connecting = self._gate.pool.connect(self._question.key, self._verdict.driver)
        connecting.addCallbacks(self._connected, self._unreachable).addErrback(self._broke)

    def _connected(self, forge: ForgeConnection) -> None:
        self._connecting, self._forge, self._forge_full = None, forge, False
        question, valve = self._question, Valve(self._forge_fills, self._forge_drains)
        forge.ask(self, question.method, question.lines, valve)
        waiting, self._waiting = self._waiting, []
        if waiting:
            forge.send(waiting)
        if self._asked:
            forge.sent()
        elif not self._forge_full:
            self._forge_drains()

    def _unreachable(self, failure: Failure) -> None:
        if self._connecting is None:  # given up by us, not failed
            return
        self._connecting = None
        name = self._verdict.driver.forge.name
        text = f"{name} cannot be reached: {unreachable(failure.value or failure)}; try again later"
        self._refuse(Decision(allow=False, reason=Reason.FORGE_UNREACHABLE, rule="forge", text=text), 502)

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
        elif self._push is None:
            self._send(parts)
        else:
            self._inflow.extend(map(self._push.receive, parts))
            self._pass_on()

    def _pass_on(self) -> None:
        """Send what was read of a push; a gzipped one piece by piece as the forge takes it, for it may grow."""
        try:
            if not self._recodes:
                parts = [part for read in self._inflow for part in read]
                self._inflow.clear()
                self._send(parts)
            while self._inflow and not (self._forge_full or self._waiting):
                part = next(self._inflow[0], None)
                if part is None:
                    self._inflow.popleft()
                else:
                    self._send([part])
            if self._whole and not self._inflow:
                self._end()
        except RequestError as error:
            self._unreadable()
            self._refuse(Decision(allow=False, reason=error.reason, rule="push", text=str(error)), error.status)

    def _send(self, parts: list[bytes]) -> None:
        if self._question.chunked:
            parts = frame(parts)
        self._question.says(parts)
        if self._forge is None:
            self._waiting += parts
        elif parts:
            self._forge.send(parts)

    def body_end(self) -> None:
        """Pass the end on. From now on reading only tells when the client leaves."""
        self._whole = True
        self.channel.release()
        if self._answered:
            self._finish()
        elif self._push is None:
            self._end()
        else:
            self._pass_on()

    def _end(self) -> None:
        if self._push is not None:
            self._push.end()
        self._asked, self._forge_full = True, False
        end = [LAST_CHUNK] if self._question.chunked else []
        self._question.says(end)
        if self._forge is None:
            self._waiting += end
        else:
            if end:
                self._forge.send(end)
            self._forge.sent()

    def client_lost(self) -> None:
        """Leave the forge with what is unfinished."""
        self._stop(Decision(allow=False, reason=Reason.CLIENT_LEFT))

    def dropped(self, decision: Decision, status: int) -> bool:
        """Leave the forge with what is unfinished; an answer is possible if none has begun."""
        if not self._answering:
            self.record.answers(status)
        self._stop(decision)
        return not self._answering

    def cut(self, reason: Reason) -> None:
        """End both sides at once."""
        self._cut(Decision(allow=False, reason=reason))

    def _cut(self, decision: Decision) -> None:
        self._stop(decision)
        self.channel.abort()

    def _stop(self, decision: Decision) -> None:
        self.record.ends(decision)
        self._leave()
        self.record.close()

    def _leave(self) -> None:
        forge, self._forge = self._forge, None
        connecting, self._connecting = self._connecting, None
        self._inflow.clear()
        if connecting is not None:
            connecting.cancel()
        if forge is not None:
            forge.abort()

    # The forge's side.

    def answer_head(self, head: ResponseHead) -> None:
        """Relay the answer if it is the expected one; else say what it means."""
        self.record.upstream_status = head.status
        judged = judge_answer(head, self._verdict, secret=self._question.secret)
        if isinstance(judged, Moved):
            self._follow(judged)
            return
        if isinstance(judged, Refuse):
            if judged.decision.reason is Reason.FORGE_REFUSED_CREDENTIAL:
                self._gate.suspect(self._question.key.forge)
            self._refuse(judged.decision, judged.status, judged)
            return
        try:
            gzip = crossing.is_gzip(head)
        except ResponseError as error:
            self._leave()
            self.answer_failed(error)
            return
        self._answering, self._framed = True, head.length is None
        close = not self.channel.keeps
        self._reply = [crossing.downstream_head(200, judged, length=head.length, gzip=gzip, close=close)]
        self.record.answers(200)
        self.channel.feed(Valve(self._client_fills, self._client_drains))

    def _follow(self, moved: Moved) -> None:
        """Ask again under the repository's new name, once; later requests of the session go there at once."""
        self._leave()
        if self._followed:
            text = f"{moved.repo.forge} redirects this repository more than once"
            self._refuse(Decision(allow=False, reason=Reason.FORGE_MOVED, rule="forge", text=text), 502)
            return
        self._followed = True
        verdict = self._verdict
        self._gate.moves[verdict.session.id, verdict.request.repo] = moved
        self._verdict = evolve(verdict, path=moved.path, dot_git=moved.dot_git)
        self._question.redirect(self._verdict)
        self._connect()

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Relay body bytes as they come, git's keep-alives must not wait; the head goes with the first."""
        self.record.bytes_down += sum(map(len, parts))
        reply, self._reply = self._reply, []
        reply += frame(parts) if self._framed else parts
        if last and self._framed:
            reply.append(LAST_CHUNK)
        if reply:
            self.channel.write(reply)

    def answer_end(self) -> None:
        """Finish, now if the request is whole, else when it is."""
        self._forge, self._answered, self._forge_full = None, True, False
        self._inflow.clear()
        self.channel.feed(None)
        if self._whole:
            self._finish()
        else:
            self.channel.release()

    def answer_failed(self, error: ResponseError) -> None:
        """Try again if nothing was lost by it; else never let it look complete."""
        forge, self._forge = self._forge, None
        stale = forge is not None and forge.reused and not forge.answered
        said = self._question.said() if stale else None
        if said is not None:
            self._waiting = said
            self._connect()
            return
        name = self._verdict.driver.forge.name
        text = f"the answer of {name} cannot be used: {error}"
        self._refuse(Decision(allow=False, reason=error.reason, rule="forge", text=text), error.status)

    def _finish(self) -> None:
        self.record.close()
        self.channel.finished()

    def _refuse(self, decision: Decision, status: int, refuse: Refuse | None = None) -> None:
        """Hand over to an answer of our own, which reads the rest of the body first; cut if another has begun."""
        if self._answering:
            self._cut(decision)
            return
        self._read_out()
        self._leave()
        request = self._verdict.request
        refuse = refuse or Refuse(decision, status, request.kind, self._verdict.session, request)
        self.channel.refuse(refuse, self.record, self._push, whole=self._whole)

    def _read_out(self) -> None:
        """Read what is held back of a push, for the refs in it; what cannot be read names none."""
        try:
            deque(chain.from_iterable(self._inflow), maxlen=0)
        except RequestError:
            self._unreadable()

    def _unreadable(self) -> None:
        self._inflow.clear()
        if self._push is not None and not self._push.commands.done:
            self._push = None

    # Flow and time.

    def _forge_fills(self) -> None:
        if not self._asked:
            self._forge_full = True
        if not self._whole:
            self.channel.hold()

    def _forge_drains(self) -> None:
        self._forge_full = False
        if self._inflow:
            self._pass_on()
        if not self._forge_full:
            self.channel.release()

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
        waited, limits = now - self._since, self._gate.limits
        if self._client_full or not (self._whole or self._forge_full or self._connecting):
            if waited >= limits.stall_timeout:
                self.cut(Reason.STALLED)
        elif waited >= (limits.forge_timeout if self._whole else limits.stall_timeout) and not self._connecting:
            self._forge_silent()

    def _forge_silent(self) -> None:
        text = f"{self._verdict.driver.forge.name} did not answer in time; try again later"
        self._refuse(Decision(allow=False, reason=Reason.FORGE_TIMEOUT, rule="forge", text=text), 504)
