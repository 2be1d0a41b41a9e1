"""Answers that credgate gives itself: its own pages, and refusals.

A request body is read to its end before the answer, for two reasons: git takes an early refusal of a push for success,
or sends the rest as a second request (git-over-http.md, section 2.9); and the refs that a push names, which a refusal
repeats, are in the body. Without a valid session credential at most ``PATIENCE`` bytes are read.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.logger import Logger

from credgate.errors import RequestError
from credgate.git.forge_response import refusal
from credgate.git.push_stream import PushStream, RefusedPush
from credgate.http.header_policy import local_reply
from credgate.service.sandbox.stall_clock import StallClock
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.python.failure import Failure

    from credgate.git.authorize import Refuse
    from credgate.service.sandbox.ports import Client
    from credgate.service.sandbox.request_log import RequestLog

PATIENCE = 64 * 1024
"""Bytes of body that are read for a client without a valid session credential."""
_log = Logger()


class LocalPage:
    """A page of credgate's own, in JSON."""

    coded = False

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, data: bytes) -> Iterator[None]:
        """Ignore the body: a page does not depend on it."""
        yield from ()

    def bytes(self, *, close: bool) -> bytes:
        """Return the complete answer."""
        return local_reply(200, self._body, b"application/json", close=close)


class RefusalAnswer:
    """A refusal in the client's protocol. The refs of a push are read from its body, unless they are known already."""

    def __init__(self, refuse: Refuse, push: PushStream | RefusedPush | None) -> None:
        self._refuse = refuse
        self._reading = push if isinstance(push, PushStream) else None
        self._push = push if isinstance(push, RefusedPush) else None

    @property
    def coded(self) -> bool:
        """Whether the body is decompressed here, so that a piece may hold far more than its size."""
        return self._reading is not None and self._reading.coded

    def read(self, data: bytes) -> Iterator[None]:
        """Read the command list, one step at a time. If it is malformed, the refusal names no ref."""
        reading = self._reading
        if reading is None:
            return
        try:
            for _ in reading.receive(data):
                if reading.listed:
                    break
                yield
        except RequestError:
            self._reading = None  # of a malformed list no further ref is known
        self._push = reading.refused_push
        if self._push is not None:
            self._reading = None  # the rest of the body is discarded unread

    def bytes(self, *, close: bool) -> bytes:
        """Return the complete answer."""
        return refusal(self._refuse, self._push, close=close)


class Phase(Enum):
    """The phases of a local answer."""

    following: tuple[Phase, ...]

    READING = auto()
    """The request body is read as it comes."""
    IN_TURNS = auto()
    """A part of the body costs more than its bytes: it is read in turns of the reactor, the client is held."""
    ENDING = auto()
    """As IN_TURNS; the body is complete, so the answer follows."""
    CLOSED = auto()


TRANSITIONS: dict[Phase, tuple[Phase, ...]] = {
    Phase.READING: (Phase.IN_TURNS, Phase.CLOSED),
    Phase.IN_TURNS: (Phase.READING, Phase.ENDING, Phase.CLOSED),
    Phase.ENDING: (Phase.CLOSED,),
    Phase.CLOSED: (),
}
"""The phases that may follow each phase."""
for _phase, _following in TRANSITIONS.items():
    _phase.following = _following  # a lookup without hashing: this is done several times a request


class LocalAnswer:
    """Reads the request body, then sends an answer of credgate's own."""

    def __init__(
        self, client: Client, record: RequestLog, answer: LocalPage | RefusalAnswer, *, proved: bool, bare: bool
    ) -> None:
        self.client, self.record, self._answer = client, record, answer
        self._proved, self._bare = proved, bare
        self._left = client.services.limits.max_drain
        self._stall = StallClock(client.services.reactor.seconds())
        self._inflow: deque[bytes] = deque()
        self._phase = Phase.READING

    def _enter(self, phase: Phase) -> None:
        if phase is not self._phase:
            assert phase in self._phase.following, (self._phase, phase)
            self._phase = phase

    def body(self, parts: list[bytes]) -> None:
        size = sum(map(len, parts))
        self.record.bytes_up += size
        # ``max_drain`` bounds what a refused request may still cost.
        self._left -= size
        if self._left < 0:
            self.cut(Reason.STALLED)
            return
        if self._phase is Phase.READING and not self._answer.coded:
            for part in parts:
                deque(self._answer.read(part), maxlen=0)
            return
        self._inflow.extend(parts)
        if self._phase is Phase.READING:
            self._enter(Phase.IN_TURNS)
            self.client.hold()
            self.client.services.turns.run(self._read(), self._broke)

    def _read(self) -> Iterator[None]:
        while self._inflow:
            for _ in self._answer.read(self._inflow.popleft()):
                yield
                if self._phase is Phase.CLOSED:  # while this waited for its turn
                    return
            yield
            if self._phase is Phase.CLOSED:
                return
        if self._phase is Phase.ENDING:
            self._send()
        elif self._phase is Phase.IN_TURNS:
            self._enter(Phase.READING)
            self.client.release()

    def _broke(self, failure: Failure) -> None:
        _log.failure("reading a refused push failed and is cut", failure)
        self.client.broke()

    def body_end(self) -> None:
        # After the whole body: git takes an early refusal of a push for success, or sends the rest as a second request.
        if self._phase is Phase.IN_TURNS:
            self._enter(Phase.ENDING)
        else:
            self._send()

    def _send(self) -> None:
        self._enter(Phase.CLOSED)
        answer = self._answer.bytes(close=not self.client.keeps)
        head = answer.index(b"\r\n\r\n") + 4
        if self._bare:  # the answer to HEAD has no body (RFC 9110, section 9.3.2)
            answer = answer[:head]
        self.record.set_status(int(answer[9:12]))
        self.record.bytes_down += len(answer) - head
        self.client.write([answer])
        self.record.close()
        self.client.finished()

    def client_lost(self) -> None:
        self._phase = Phase.CLOSED
        self.record.close()

    def dropped(self, decision: Decision, status: int) -> bool:
        self._phase = Phase.CLOSED
        self.record.set_status(status)
        self.record.set_decision(decision).close()
        return True

    def cut(self, reason: Reason) -> None:
        self._phase = Phase.CLOSED
        self.record.set_decision(Decision(allow=False, reason=reason)).close()
        self.client.abort()

    def refuse_pending(self, decision: Decision) -> None:
        """Do nothing: an answer of credgate's own is on its way."""

    def overdue(self, now: float) -> None:
        """Cut a client that stalls. Without a valid session the whole body must come within ``head_timeout``."""
        limits = self.client.services.limits
        # Without a session nothing that the client sends extends its time.
        if self._proved and self._stall.moved(self.record.bytes_up, now):
            return
        if self._stall.overdue(now, limits.stall_timeout if self._proved else limits.head_timeout):
            self.cut(Reason.STALLED)
