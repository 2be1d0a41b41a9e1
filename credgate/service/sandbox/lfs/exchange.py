"""What all LFS exchanges have in common: an end, once, whichever way it comes; and how long to wait for it.

An errand is what a sandbox's channel is busy with (``service.sandbox.ports.Exchange``). It ends by an answer, by
a refusal (JSON, which git-lfs prints), by a cut when bytes of an answer are on their way already, or because the client
left. Each ends the record and leaves the forge; what comes of it later is nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger

from credgate.git.authorize import Refuse
from credgate.lfs.refusals import LfsError, stopping
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from twisted.python.failure import Failure

    from credgate.git.authorize import LfsRelay
    from credgate.http.grammar import RequestHead
    from credgate.service.sandbox.ports import Client
    from credgate.service.sandbox.request_log import RequestLog

_log = Logger()


class LfsExchange:
    """One LFS request of one sandbox."""

    def __init__(self, channel: Client, record: RequestLog, head: RequestHead, verdict: LfsRelay) -> None:
        self.channel, self.record, self.head, self.verdict = channel, record, head, verdict
        self.gate = channel.services
        self.whole = False
        """The sandbox has sent all of its request."""
        self._work: Deferred[None] | None = None
        self._over = False
        self._moved, self._since = 0, self.gate.reactor.seconds()

    # What each kind does.

    def leave(self) -> None:
        """Leave the forge with what is unfinished."""

    @property
    def answering(self) -> bool:
        """Whether bytes of an answer are on their way, so that a refusal can only be a cut."""
        return False

    @property
    def waits_for_client(self) -> bool:
        """Whether it is the client that has to move."""
        return not self.whole

    # The end.

    def do(self, work: Coroutine[Deferred[object], object, None]) -> None:
        """Run ``work``; an LfsError in it is the refusal."""
        self._work = ensureDeferred(work)
        self._work.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if isinstance(failure.value, LfsError):
            self.refuse(failure.value)
        elif not (self._over and failure.check(CancelledError)):
            self.broke(failure)

    def broke(self, failure: Failure) -> None:
        """Cut everything over a defect of our own."""
        _log.failure("an LFS request failed and is cut", failure)
        self.channel.broke()

    def refuse(self, error: LfsError) -> None:
        """Say why not, after the rest of the body; cut if an answer has begun."""
        if self._over:
            return
        if self.answering:
            self._cut(error.decision)
            return
        self._end()
        verdict = self.verdict
        refuse = Refuse(
            error.decision,
            error.status,
            session=verdict.session,
            request=verdict.request,
            retry_after=error.retry_after,
            lfs=True,
        )
        self.channel.refuse(refuse, self.record, None, whole=self.whole)

    def finish(self) -> None:
        """Note that the answer is on its way, whole."""
        self._end()
        self.record.close()
        self.channel.finished()

    def _end(self) -> None:
        self._over = True
        work, self._work = self._work, None
        self.leave()
        if work is not None:
            work.cancel()

    def _stop(self, decision: Decision) -> None:
        self._end()
        self.record.set_decision(decision).close()

    def _cut(self, decision: Decision) -> None:
        self._stop(decision)
        self.channel.abort()

    # For the channel.

    def client_lost(self) -> None:
        """Leave, for nobody listens."""
        self._stop(Decision(allow=False, reason=Reason.CLIENT_LEFT))

    def dropped(self, decision: Decision, status: int) -> bool:
        """Leave; the protocol error can be told if nothing else was."""
        said = self.answering
        if not said:
            self.record.set_status(status)
        self._stop(decision)
        return not said

    def cut(self, reason: Reason) -> None:
        """End both sides at once."""
        self._cut(Decision(allow=False, reason=reason))

    def refuse_pending(self, decision: Decision) -> None:
        """End because credgate does, so that git-lfs tries again by itself; an object that is half down is cut."""
        self.refuse(stopping(self.verdict.request.call, decision.text))

    def overdue(self, now: float) -> None:
        """Cut a client that stands still, soon; give up a forge that does, later."""
        moved = self.record.bytes_up + self.record.bytes_down
        if moved != self._moved:
            self._moved, self._since = moved, now
            self.gate.registry.touch(self.verdict.session.id)
            return
        waited, limits = now - self._since, self.gate.limits
        if self.waits_for_client:
            if waited >= limits.stall_timeout:
                self.cut(Reason.STALLED)
        elif waited >= limits.forge_timeout:
            text = f"{self.verdict.driver.forge.name} did not answer in time; try again later"
            self.refuse(LfsError(text, reason=Reason.FORGE_TIMEOUT, status=504, rule="forge"))
