"""One request and its answer, on the sandbox side, when credgate itself answers.

An ``Exchange`` is what a channel is busy with: it is given body bytes as they come, told when the body is whole, when
the client left, when its session ended, and asked once a second whether it waits too long. ``LocalAnswer`` is the kind
that answers from here: pages and refusals. It reads the body to its end before it answers, because git takes an early
refusal of a push for success or re-sends the rest as a second request (git-over-http.md, section 2.9), and because the
refs that a push names are in the body. Who is not proved gets no such patience: a small body, or the door.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from typing import Protocol as Interface

from twisted.logger import Logger

from credgate.errors import RequestError
from credgate.git.forge_response import refusal
from credgate.git.push_stream import PushStream, RefusedPush
from credgate.http.header_policy import local_reply
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.python.failure import Failure

    from credgate.git.authorize import Refuse
    from credgate.service.sandbox.connection import SandboxConnection
    from credgate.service.sandbox.request_log import RequestLog

PATIENCE = 64 * 1024
"""Bytes of body that are read for a client whose session is not proved."""
_log = Logger()


class Exchange(Interface):
    """What a channel is busy with."""

    record: RequestLog

    def body(self, parts: list[bytes]) -> None:
        """Take decoded body bytes, as many as came at once."""

    def body_end(self) -> None:
        """Take the end of the body."""

    def client_lost(self) -> None:
        """Take the news that the connection is gone."""

    def dropped(self, decision: Decision, status: int) -> bool:
        """End because the client broke its protocol; say whether an answer, of ``status``, may still be given."""

    def cut(self, reason: Reason) -> None:
        """End at once, both sides, without looking finished."""

    def overdue(self, now: float) -> None:
        """Act if this waits too long; ``now`` is the reactor's seconds."""


class LocalPage:
    """One of our own pages, in JSON."""

    coded = False

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, data: bytes) -> Iterator[None]:
        """Ignore it: a page's request has no use for a body."""
        yield from ()

    def bytes(self, *, close: bool) -> bytes:
        """Return the whole answer."""
        return local_reply(200, self._body, b"application/json", close=close)


class RefusalAnswer:
    """A refusal, in the words of whoever asked; a push's refs are read from its body, unless they were before."""

    def __init__(self, refuse: Refuse, push: PushStream | RefusedPush | None) -> None:
        self._refuse = refuse
        self._reading = push if isinstance(push, PushStream) else None
        self._push = push if isinstance(push, RefusedPush) else None

    @property
    def coded(self) -> bool:
        """Whether what comes is decoded here: a piece of it may hold much more than it shows."""
        return self._reading is not None and self._reading.coded

    def read(self, data: bytes) -> Iterator[None]:
        """Feed the command list, a step at a time; a malformed one only means that no ref can be named."""
        reading = self._reading
        if reading is None:
            return
        try:
            for _ in reading.receive(data):
                if reading.listed:
                    break
                yield
        except RequestError:
            self._reading = None
        self._push = reading.refused_push
        if self._push is not None:
            self._reading = None  # what follows is thrown away as it came

    def bytes(self, *, close: bool) -> bytes:
        """Return it."""
        return refusal(self._refuse, self._push, close=close)


class LocalAnswer:
    """Reads the body away, then answers with bytes of our own."""

    def __init__(
        self,
        channel: SandboxConnection,
        record: RequestLog,
        answer: LocalPage | RefusalAnswer,
        *,
        proved: bool,
        bare: bool,
    ) -> None:
        self.channel, self.record, self._answer = channel, record, answer
        self._proved, self._bare = proved, bare
        self._left = channel.gate.limits.max_drain
        self._moved, self._since = 0, channel.gate.reactor.seconds()
        self._inflow: deque[bytes] = deque()
        self._reading = self._whole = self._over = False

    def body(self, parts: list[bytes]) -> None:
        """Read a refused push's refs, throw the rest away."""
        size = sum(map(len, parts))
        self.record.bytes_up += size
        self._left -= size
        if self._left < 0:
            self.cut(Reason.STALLED)
            return
        if not (self._reading or self._answer.coded):
            for part in parts:
                deque(self._answer.read(part), maxlen=0)
            return
        self._inflow.extend(parts)
        if not self._reading:
            self._reading = True
            self.channel.hold()
            self.channel.gate.turns.run(self._read(), self._broke)

    def _read(self) -> Iterator[None]:
        while self._inflow and not self._over:
            for _ in self._answer.read(self._inflow.popleft()):
                yield
                if self._over:
                    return
            yield
        self._reading = False
        if self._over:
            return
        if self._whole:
            self._give()
        else:
            self.channel.release()

    def _broke(self, failure: Failure) -> None:
        _log.failure("reading a refused push failed and is cut", failure)
        self.channel.broke()

    def body_end(self) -> None:
        """Answer, as soon as what came is read."""
        self._whole = True
        if not self._reading:
            self._give()

    def _give(self) -> None:
        """Answer; a HEAD gets the head only."""
        self._over = True
        answer = self._answer.bytes(close=not self.channel.keeps)
        if self._bare:
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.record.set_status(int(answer[9:12]))
        self.record.bytes_down += len(answer) - answer.index(b"\r\n\r\n") - 4
        self.channel.write([answer])
        self.record.close()
        self.channel.finished()

    def client_lost(self) -> None:
        """Write the line: the answer was not sent."""
        self._over = True
        self.record.close()

    def dropped(self, decision: Decision, status: int) -> bool:
        """Nothing was said yet, so the protocol error can be."""
        self._over = True
        self.record.set_status(status)
        self.record.set_decision(decision).close()
        return True

    def cut(self, reason: Reason) -> None:
        """Leave without an answer."""
        self._over = True
        self.record.set_decision(Decision(allow=False, reason=reason)).close()
        self.channel.abort()

    def overdue(self, now: float) -> None:
        """Bound the wait for a body that only gets thrown away; absolutely, for who is not proved."""
        limits = self.channel.gate.limits
        if self._proved and self.record.bytes_up != self._moved:
            self._moved, self._since = self.record.bytes_up, now
        elif now - self._since >= (limits.stall_timeout if self._proved else limits.head_timeout):
            self.cut(Reason.STALLED)
