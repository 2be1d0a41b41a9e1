"""Asks a forge about a repository while a push waits: capabilities, refs, history and trees.

The client speaks git's protocol version 2 with the session's own forge credential, over the relay's connection pool.
Bytes, commits and time are limited. ``git.v2`` reads the answers; this module only carries them.
Any failure is an :class:`InspectionError` with a short text of credgate's own. The push is then refused, because what
could not be determined counts against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import Factory, define, field
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,  # noqa: A004 - Twisted's own, as addTimeout raises it
)

from credgate import __version__
from credgate.errors import CredentialError, CredgateError, ResponseError
from credgate.forges.place import Place
from credgate.git import v2
from credgate.http import header_policy
from credgate.http.grammar import RequestHead
from credgate.pack.objects import SHA1
from credgate.service.inspect.pack_reader import PackReading
from credgate.service.upstream.client import (
    BufferedCall,
    UnreachableError,
    UpstreamCall,
    UpstreamClient,
    UpstreamQuery,
)
from credgate.service.upstream.failures import failure_text
from credgate.service.upstream.pool import Key
from credgate.service.upstream.request import fetch_credential

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from credgate.forges.driver import Driver
    from credgate.pack.objects import ObjectFormat
    from credgate.pack.walk import PackWalk
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.credentials.sources import Credential, CredentialRequest
    from credgate.service.upstream.pool import ForgePool

MAX_SMALL = 1024 * 1024
"""Bytes of an advertisement or a list of refs."""
AT_ONCE = 64 * 1024
"""Bytes of such an answer that are parsed in the reactor: about 5 ms. A longer answer is parsed in a thread."""
MAX_WANTS = 10_000
"""Objects in one request."""
MAX_REQUESTS = 128
"""Requests for one push. A comparison of the deepest directories needs 65, as each level may be fetched alone."""
CANNOT_SEND = "this forge cannot send history without files"

T = TypeVar("T")


class InspectionError(CredgateError):
    """Something could not be determined. The text is short and shown to users."""


class NoFilterError(InspectionError):
    """The forge does not support ``filter``. Only its operator can change that, not another push."""


@define(eq=False)
class RepositoryClient:
    """Requests to the forge of one repository, for one push.

    ``timeout`` is in seconds and applies to each request, ``patience`` to all of them together. The limits of bytes
    and of requests apply to all of them, too.
    """

    pool: ForgePool
    credentials: Credentials
    wanted: CredentialRequest
    driver: Driver
    path: str
    dot_git: bool
    timeout: float
    patience: float
    in_thread: Callable[..., Deferred[Any]]
    bytes_left: int = field(default=v2.MAX_ANSWER, init=False)
    """Bytes that the remaining fetches of this push may bring."""
    _requests: int = field(default=0, init=False)
    _client: UpstreamClient = field(
        init=False, default=Factory(lambda self: UpstreamClient(self.pool), takes_self=True)
    )
    _lines: list[bytes] | None = field(default=None, init=False)
    _cancelled: bool = field(default=False, init=False)
    _deadline: float | None = field(default=None, init=False)

    def leave(self) -> None:
        """Send no more requests. The caller cancels the pending one itself."""
        self._cancelled = True

    async def api_credential(self) -> tuple[Credential, float]:
        """Return the credential for a request to the forge's API, and the seconds that the request may take."""
        if self._cancelled:
            raise CancelledError
        self._count_request()
        return await self._credential(), self._seconds()

    async def capabilities(self) -> list[bytes]:
        """Return the lines of the forge's version 2 advertisement, which is requested once."""
        if self._lines is None:
            body = await self._request_small("GET", "info/refs?service=git-upload-pack", b"", _ADVERTISEMENT)
            self._lines = await self._parse(v2.read_capabilities, body)
        return self._lines

    async def refs(self, object_format: ObjectFormat, names: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the ids (hexadecimal) of the ``names`` that exist at the forge."""
        wanted = list(names)
        request = v2.refs_request(await self._named_format(object_format), wanted)
        answer = await self._request_small("POST", "git-upload-pack", request, v2.ANSWER_TYPE)
        found = await self._parse(lambda body: dict(v2.read_refs(body)), answer)
        return {name: found[name] for name in wanted if name in found}

    async def fetch(
        self, walk: PackWalk, wants: Collection[bytes], haves: Iterable[bytes] = (), deepen: int = 0
    ) -> None:
        """Fetch ``wants`` into ``walk``: no trees or blobs except those in ``wants``."""
        if len(wants) > MAX_WANTS:
            raise InspectionError("too many objects to fetch for one push")
        if not v2.offers_filter(await self.capabilities()):
            raise NoFilterError(CANNOT_SEND)
        named = await self._named_format(walk.graph.object_format)
        body = v2.fetch_request(named, wants, haves, deepen=deepen)
        handler = UpstreamCall(v2.ANSWER_TYPE)
        # The reader refuses more than the bytes that this push has left; each part is counted for the next fetch.
        reader = v2.FetchResponseReader(walk, self.bytes_left)
        reading = PackReading(
            reader, self.in_thread, _nothing, handler.finish, handler.fail, handler.hold, handler.release
        )

        def take(part: bytes) -> None:
            self.bytes_left -= len(part)
            reading.feed(part)

        handler.take, handler.ended = take, reading.close
        try:
            await self._request(handler, "POST", "git-upload-pack", body)
        except InspectionError:
            reading.abandon()
            await reading.wait_idle()  # a thread may still be writing to the graph, which is read next
            raise
        finally:
            reading.abandon()

    async def _named_format(self, object_format: ObjectFormat) -> ObjectFormat | None:
        """Return the format for ``object-format=``, or ``None`` if the forge does not support it and so uses SHA-1."""
        # Forges before git 2.28 have SHA-1 only, and refuse a request with this argument.
        offered = v2.offers_object_format(await self.capabilities())
        if not offered and object_format is not SHA1:
            raise InspectionError("this forge does not advertise SHA-256")
        return object_format if offered else None

    async def _parse(self, reader: Callable[[bytes], T], body: bytes) -> T:
        """Parse an answer, in a thread if it is long: 20,000 refs take 100 ms."""
        if len(body) <= AT_ONCE:
            return _read(reader, body)
        return cast("T", await self.in_thread(_read, reader, body))

    async def _request_small(self, method: str, tail: str, body: bytes, content_type: bytes) -> bytes:
        call = BufferedCall(MAX_SMALL, content_type)
        await self._request(call, method, tail, body)
        return bytes(call.body)

    async def _request(self, call: UpstreamCall, method: str, tail: str, body: bytes) -> None:
        if self._cancelled:
            raise CancelledError
        self._count_request()
        path = self.driver.path(self.path, tail, dot_git=self.dot_git)

        def query_for(credential: Credential) -> UpstreamQuery:
            login = self.driver.login(credential.secret) if credential.secret else None
            lines = header_policy.upstream_head(
                method=method.encode(),
                path=path,
                host=self.driver.authority,
                head=_head(method, len(body)),
                authorization=login,
                length=len(body),
            )
            key = Key(self.driver.forge.name, credential.id)
            return UpstreamQuery(key, Place.of(self.driver), method.encode(), lines + body)

        try:
            await self._client.send_renewing(query_for, self._credential_for, self.driver, call, self._seconds)
        except TimeoutError:
            raise InspectionError("the forge did not answer in time") from None
        except ResponseError as error:
            raise InspectionError(str(error)) from None
        except UnreachableError as error:
            raise InspectionError(f"cannot connect to the forge: {failure_text(error.why)}") from None

    def _count_request(self) -> None:
        if self._requests >= MAX_REQUESTS:
            raise InspectionError("this push needs too many requests to the forge")
        self._requests += 1

    def _seconds(self) -> float:
        """Return the seconds that the next request may take: all requests of a push share ``patience``."""
        now = self.pool.reactor.seconds()
        if self._deadline is None:  # the time starts with the first request
            self._deadline = now + self.patience
        if now >= self._deadline:
            raise InspectionError("the forge took too long to answer all requests for this push")
        return min(self.timeout, self._deadline - now)

    async def _credential(self) -> Credential:
        """Return the cached credential, or fetch it: the one that the push began with may have expired."""
        cached = self.credentials.cached(self.wanted)
        return cached if cached is not None else await self._fetch("")

    async def _credential_for(self, refused: str) -> Credential | None:
        """Return a credential other than the ``refused`` one; None if there is none, so that the refusal stands."""
        if not refused:
            return await self._credential()
        try:
            return await self._fetch(refused)
        except InspectionError:
            return None  # the forge's own answer explains more

    async def _fetch(self, refused: str) -> Credential:
        try:
            return await fetch_credential(self.credentials, self.wanted, refused, self.pool.reactor, self._seconds())
        except CredentialError as error:
            raise InspectionError(error.text) from None


_ADVERTISEMENT = b"application/x-git-upload-pack-advertisement"


def _read(reader: Callable[[bytes], T], body: bytes) -> T:
    try:
        return reader(body)
    except ResponseError as error:
        raise InspectionError(str(error)) from None


def _nothing() -> None:
    pass  # an answer is used only when it is complete


def _head(method: str, length: int) -> RequestHead:
    """Return a request head from which ``header_policy`` takes the fields."""
    fields = [(b"user-agent", f"credgate/{__version__}".encode()), (b"git-protocol", b"version=2")]
    if method == "POST":
        fields += [(b"content-type", v2.CONTENT_TYPE), (b"accept", v2.ANSWER_TYPE)]
    return RequestHead(method.encode(), b"/", b"1.1", tuple(fields), length, False, True, False)  # noqa: FBT003 - positional by its definition
