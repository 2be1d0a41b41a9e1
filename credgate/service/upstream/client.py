"""Requests of credgate's own to a forge or a storage: batches and locks of LFS, refs and history for push inspection.

They go over the pool that relayed requests use. A kept connection may turn out to be closed before it answers; a
request that may be repeated is then sent once more, on a new connection. Answers are bounded in size by the caller and,
where it gives a time limit, in seconds. Redirects are not followed. ``send_renewing`` also replaces a credential that
the upstream refuses, once.

Nothing here decides about access, and the text for a failure is made by ``failures``. A forge's API is asked by
``credentials.api_client``, over Twisted's HTTP client, because that needs no pool and no git.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred

from credgate.errors import ResponseError
from credgate.http import header_policy
from credgate.service.upstream.flow import Valve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.python.failure import Failure

    from credgate.forges.driver import Driver
    from credgate.forges.place import Place
    from credgate.http.grammar import ResponseHead
    from credgate.service.credentials.sources import Credential
    from credgate.service.upstream.pool import ForgeConnection, ForgePool, Key

_OK = 200


class UnreachableError(Exception):
    """There is no connection; ``why`` is the reason, for ``failures``."""

    def __init__(self, why: BaseException) -> None:
        super().__init__(type(why).__name__)
        self.why = why


@frozen(slots=True)
class UpstreamQuery:
    """One request: ``request`` is its head and body, ``key`` the connections that it may use."""

    key: Key
    place: Place
    method: bytes
    request: bytes = field(repr=False)
    """It may hold a credential: never shown."""
    repeatable: bool = True
    """Whether it may be sent twice."""


@frozen(slots=True)
class UpstreamAnswer:
    """A whole answer."""

    status: int
    body: bytearray = field(repr=False)
    """It may hold a signature of a storage: never shown."""
    retry_after: int


class UpstreamCall:
    """Reads the answer to one query, on one connection at a time: the connection's ``ResponseHandler``.

    The caller sets ``take``, which gets the body piece by piece, and ``ended``, which is called at its end and sees to
    it that ``finish`` or ``fail`` is called. With ``content_type`` only an answer of status 200 and of this type is
    read, without it any answer.
    """

    def __init__(self, content_type: bytes | None = None) -> None:
        self.take: Callable[[bytes], None]
        self.ended: Callable[[], None] = self.finish
        self.head: ResponseHead | None = None
        """The head of the answer, once there is one."""
        self.repeatable = False
        """The connection had been kept and was closed before it answered."""
        self._type = content_type
        self._connection: ForgeConnection | None = None
        self._done: Deferred[None] = Deferred()

    @property
    def status(self) -> int | None:
        return None if self.head is None else self.head.status

    def begin(self, connection: ForgeConnection, method: bytes, request: bytes) -> Deferred[None]:
        """Send the request; fires when ``finish`` or ``fail`` is called, or with ``ResponseError``."""
        self._connection, self._done, self.repeatable, self.head = connection, Deferred(), False, None
        # A query is small: the transport takes all of it, so the valve has nothing to do.
        connection.ask(self, method, request, Valve(_nothing, _nothing))
        connection.sent()
        return self._done

    def finish(self) -> None:
        self._done.callback(None)

    def fail(self, error: Failure | Exception) -> None:
        self._done.errback(error)

    def hold(self) -> None:
        """Stop reading: the reader of the answer does not keep up."""
        if self._connection is not None:
            self._connection.pauseProducing()

    def release(self) -> None:
        if self._connection is not None:
            self._connection.resumeProducing()

    def cancel(self) -> None:
        """Take no more of the answer; its connection is closed unless the answer was whole."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    # The connection calls these.

    def answer_head(self, head: ResponseHead) -> None:
        self.head = head
        try:
            header_policy.is_gzip(head, asked=False)
        except ResponseError as error:
            self.answer_failed(error)
            return
        if self._type is not None and (head.status != _OK or header_policy.content_type(head) != self._type):
            self.answer_failed(ResponseError(f"the forge answered {head.status} when it was asked for history"))

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        for part in parts:
            if self._connection is not None:  # ``take`` may have cancelled
                self.take(part)

    def answer_end(self) -> None:
        # The pool keeps the connection: holding or aborting it now would hit the request that uses it next.
        connection, self._connection = self._connection, None
        if connection is not None:
            self.ended()

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        if self._connection is not None:
            self.repeatable = repeatable
            self.cancel()
            self.fail(cast("Exception", error))


class BufferedCall(UpstreamCall):
    """Keeps the body of its answer, of at most ``limit`` bytes."""

    def __init__(self, limit: int, content_type: bytes | None = None) -> None:
        super().__init__(content_type)
        self.body = bytearray()
        self.take, self._limit = self._keep, limit

    def begin(self, connection: ForgeConnection, method: bytes, request: bytes) -> Deferred[None]:
        # A second try must not append to what the first one received.
        self.body = bytearray()
        return super().begin(connection, method, request)

    def _keep(self, part: bytes) -> None:
        self.body.extend(part)
        if len(self.body) > self._limit:
            self.answer_failed(ResponseError("the forge's answer is too long"))

    def answer(self) -> UpstreamAnswer:
        """Return the answer, once it is whole."""
        assert self.head is not None
        return UpstreamAnswer(self.head.status, self.body, header_policy.retry_after(self.head) or 0)


@define(eq=False)
class UpstreamClient:
    """Sends queries over the connections of ``pool``."""

    pool: ForgePool

    async def connect(self, key: Key, place: Place) -> ForgeConnection:
        """Open a connection. Raises ``UnreachableError``; ``CancelledError`` only if the caller cancelled."""
        try:
            return await self.pool.connect(key, place)
        except CancelledError:
            raise
        except Exception as why:  # noqa: BLE001 - names, addresses, TLS, time: no request was sent
            raise UnreachableError(why) from None

    async def send(self, query: UpstreamQuery, call: UpstreamCall, seconds: Callable[[], float] | None = None) -> None:
        """Send ``query`` and have ``call`` read the answer. Raises ``UnreachableError``, ``ResponseError``.

        ``seconds`` returns the time limit of a try, whose end raises ``TimeoutError``; without it there is none.
        """
        # A kept connection may be closed by the forge at any time, so only a repeatable request may use one.
        kept = self.pool.take(query.key) if query.repeatable else None
        if kept is not None:
            try:
                await self._try(kept, query, call, seconds)
            except ResponseError:
                # Asked of the call, not of the connection: that may carry another request by now.
                if not call.repeatable:
                    raise
            else:
                return
        await self._try(await self.connect(query.key, query.place), query, call, seconds)

    async def _try(
        self, connection: ForgeConnection, query: UpstreamQuery, call: UpstreamCall, seconds: Callable[[], float] | None
    ) -> None:
        try:
            answered = call.begin(connection, query.method, query.request)
            await (answered if seconds is None else answered.addTimeout(seconds(), self.pool.reactor))
        finally:
            call.cancel()

    async def send_renewing(
        self,
        query_for: Callable[[Credential], UpstreamQuery],
        credential_for: Callable[[str], Awaitable[Credential | None]],
        driver: Driver,
        call: UpstreamCall,
        seconds: Callable[[], float] | None = None,
    ) -> None:
        """Send a query with a credential and, if the forge refuses that one, once more with another.

        ``credential_for`` gets the id of the credential that was refused (``""``: the first one) and may return None if
        there is no other; the refusal then stands. Raises as ``send``, and what ``credential_for`` raises.
        """
        # The first credential is the cached one, if there is one.
        credential = await credential_for("")
        assert credential is not None
        query, failed = query_for(credential), None
        try:
            await self.send(query, call, seconds)
        except ResponseError as error:
            failed = error
        if credential.secret and query.repeatable and call.status and driver.refuses_credential(call.status):
            renewed = await credential_for(credential.id)
            if renewed is not None:
                await self.send(query_for(renewed), call, seconds)
                return
        if failed is not None:
            raise failed


def _nothing() -> None:
    """Do nothing: a query is sent in one piece, so there is nothing to hold back."""
