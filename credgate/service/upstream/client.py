"""One question of credgate's own to a forge, on one connection at a time: the connection's ``Asker``.

What is an answer is decided here only as far as its head goes: status 200, the type that was asked for, no coding. Its
bytes go to ``take``, its end to ``ended``, which sees to it that ``finish`` is called. May be begun again on another
connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred

from credgate.errors import ResponseError
from credgate.http import header_policy
from credgate.service.upstream.flow import Valve

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from credgate.http.grammar import ResponseHead
    from credgate.service.upstream.pool import ForgeConnection

_OK = 200


class UpstreamCall:
    """``take`` and ``ended`` are set by whoever asks, before the first ``begin``."""

    def __init__(self, content_type: bytes) -> None:
        self.take: Callable[[bytes], None]
        self.ended: Callable[[], None]
        self.status: int | None = None
        """Of the answer, if there was one."""
        self.repeatable = False
        """The last connection had been kept and closed before it answered: ``begin`` again on another."""
        self._type = content_type
        self._connection: ForgeConnection | None = None
        self._done: Deferred[None] = Deferred()
        self._over = False

    def begin(self, connection: ForgeConnection, method: bytes, request: bytes) -> Deferred[None]:
        """Ask; fires when ``finish`` or ``fail`` is called, with ResponseError when there is no whole answer."""
        self._connection, self._done, self._over, self.repeatable = connection, Deferred(), False, False
        connection.ask(self, method, request, Valve(_nothing, _nothing))
        connection.sent()
        return self._done

    def finish(self) -> None:
        """Take the news that the answer was read to its end."""
        self._done.callback(None)

    def fail(self, error: Failure | Exception) -> None:
        """Take the news that it cannot be read."""
        self._done.errback(error)

    def hold(self) -> None:
        """Have the forge wait."""
        if self._connection is not None:
            self._connection.pauseProducing()

    def release(self) -> None:
        """Have it go on."""
        if self._connection is not None:
            self._connection.resumeProducing()

    def leave(self) -> None:
        """Take nothing any more; a connection whose answer was not whole is gone with it."""
        self._over = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    # The connection's side.

    def answer_head(self, head: ResponseHead) -> None:
        """Go on only if this is an answer."""
        self.status = head.status
        coded = head.get(b"content-encoding") not in (None, b"identity")
        if head.status != _OK or header_policy.content_type(head) != self._type or coded:
            self.answer_failed(ResponseError(f"the forge answered {head.status} when it was asked for history"))

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Pass bytes on until one of them ends it."""
        for part in parts:
            if not self._over:
                self.take(part)

    def answer_end(self) -> None:
        """Let the connection go: it is kept for the next question."""
        self._connection = None
        if not self._over:
            self._over = True
            self.ended()

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        """Give up."""
        if not self._over:
            self.repeatable = repeatable
            self.leave()
            self.fail(cast("Exception", error))


def _nothing() -> None:
    """Wait for the end: a question is sent in one piece."""
