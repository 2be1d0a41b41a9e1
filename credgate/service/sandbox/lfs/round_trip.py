"""One small question to a forge or a storage, and its whole answer: batches, locks, the verifying of an upload.

Answers are bounded and held; objects never come here. Goes by the pool that git's requests go by. A kept connection
that turns out closed before it answered a byte is replaced once, if the question may be asked twice. Every failure is
an ``LfsError`` in our own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred

from credgate.errors import ResponseError
from credgate.http import header_policy
from credgate.lfs.refusals import LfsError
from credgate.service.upstream.endpoints import unconnected
from credgate.service.upstream.flow import Valve

if TYPE_CHECKING:
    from credgate.forges.place import Place
    from credgate.http.grammar import ResponseHead
    from credgate.service.upstream.pool import ForgeConnection, ForgePool, Key
    from credgate.values import Decision


@frozen(slots=True)
class LfsQuestion:
    """What is asked of whom: ``request`` is head and body, ``name`` what people call who is asked."""

    key: Key
    place: Place
    name: str
    method: bytes
    request: bytes = field(repr=False)
    most: int
    """Bytes of the answer's body."""
    repeatable: bool


@frozen(slots=True)
class LfsAnswer:
    """An answer: the body is never shown."""

    status: int
    body: bytearray = field(repr=False)
    retry_after: int


async def ask(pool: ForgePool, question: LfsQuestion) -> LfsAnswer:
    """Ask and wait. Raises LfsError; cancelling leaves the forge, wherever it is."""
    kept = pool.take(question.key) if question.repeatable else None
    if kept is not None:
        trip = _RoundTrip(question, kept)
        try:
            return await trip.answer()
        except ResponseError as error:
            if not trip.repeatable:
                raise _unusable(question, error) from None
    try:
        connection = await pool.connect(question.key, question.place)
    except CancelledError:
        raise
    except Exception as why:  # noqa: BLE001 - names, TLS, addresses, time: whatever it is, nobody was asked
        raise refused(unconnected(question.name, why), 502) from None
    try:
        return await _RoundTrip(question, connection).answer()
    except ResponseError as error:
        raise _unusable(question, error) from None


def refused(decision: Decision, status: int) -> LfsError:
    """Return a decision of another room as an LFS error."""
    return LfsError(decision.text, reason=decision.reason, status=status, rule=decision.rule)


def _unusable(question: LfsQuestion, error: ResponseError) -> LfsError:
    text = f"the answer of {question.name} cannot be used: {error}"
    return LfsError(text, reason=error.reason, status=error.status, rule="forge")


class _RoundTrip:
    """One question on one connection; the connection's ``Asker``."""

    def __init__(self, question: LfsQuestion, connection: ForgeConnection) -> None:
        self._question, self._connection = question, connection
        self._answer: LfsAnswer | None = None
        self.repeatable = False
        """The connection had been kept and closed before it answered."""
        self._done: Deferred[LfsAnswer] = Deferred(lambda _: connection.abort())

    def answer(self) -> Deferred[LfsAnswer]:
        """Ask; fires with the whole answer or fails with ResponseError."""
        question = self._question
        self._connection.ask(self, question.method, question.request, Valve(_nothing, _nothing))
        self._connection.sent()
        return self._done

    def answer_head(self, head: ResponseHead) -> None:
        if head.get(b"content-encoding") not in (None, b"identity"):
            self._fail(ResponseError("the forge sent a Content-Encoding that was not asked for"))
            return
        self._answer = LfsAnswer(head.status, bytearray(), header_policy.retry_after(head) or 0)

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        if self._answer is None:
            return
        for part in parts:
            self._answer.body.extend(part)
        if len(self._answer.body) > self._question.most:
            self._answer = None
            self._fail(ResponseError("the forge's answer is too long"))

    def answer_end(self) -> None:
        if self._answer is not None:
            self._done.callback(self._answer)

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        self.repeatable = repeatable
        self._done.errback(error)

    def _fail(self, error: ResponseError) -> None:
        self._connection.abort()
        self._done.errback(error)


def _nothing() -> None:
    """Do nothing: a question is small, and nobody waits for it to be taken."""
