"""What credgate itself asks a forge about a repository while a push waits: capabilities, refs, history, trees.

Asked in git's own protocol, version 2, with the session's own forge credential and on connections of the same pool;
bounded in bytes, commits and time. Answers are read by ``git.v2`` and ``git.refs``; this only carries. Whatever goes
wrong is an ``InquiryError`` with a few words of our own: the push is then refused, because what could not be told
counts against it.
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
from credgate.git import refs, v2
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
"""Bytes of one that is read in the reactor, some 5 ms."""
MAX_WANTS = 10_000
"""Objects that are named in one question."""
CANNOT_SEND = "this forge cannot send history without files"

T = TypeVar("T")


class InquiryError(CredgateError):
    """The forge could not be asked; the text is a few words for a person."""


class NoFilterError(InquiryError):
    """The forge offers no ``filter``: no push makes it answer, only its operator."""


@define(eq=False)
class RepositoryClient:
    """Asks one repository's forge, for one push.

    ``timeout`` is seconds for each question, ``patience`` for all of them together; bytes are for all, too.
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
    _client: UpstreamClient = field(
        init=False, default=Factory(lambda self: UpstreamClient(self.pool), takes_self=True)
    )
    _lines: list[bytes] | None = field(default=None, init=False)
    _left: bool = field(default=False, init=False)
    _room: int = field(default=v2.MAX_ANSWER, init=False)
    _until: float | None = field(default=None, init=False)

    def leave(self) -> None:
        """Ask nothing any more: whoever waits for an answer is about to be cancelled."""
        self._left = True

    async def means(self) -> tuple[Credential, float]:
        """Return the credential for a question to the forge's API, and how many seconds its answer may take."""
        if self._left:
            raise CancelledError
        return await self._credential(), self._seconds()

    async def capabilities(self) -> list[bytes]:
        """Return the lines of the forge's version 2 advertisement; asked once."""
        if self._lines is None:
            body = await self._small("GET", "info/refs?service=git-upload-pack", b"", _ADVERTISEMENT)
            self._lines = await self._parsed(refs.read_capabilities, body)
        return self._lines

    async def refs(self, object_format: ObjectFormat, names: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return the ids (hexadecimal) of those of ``names`` that the forge has."""
        wanted = list(names)
        request = refs.refs_request(await self._named(object_format), wanted)
        answer = await self._small("POST", "git-upload-pack", request, v2.ANSWER_TYPE)
        found = await self._parsed(lambda body: dict(refs.read_refs(body)), answer)
        return {name: found[name] for name in wanted if name in found}

    async def fetch(
        self, walk: PackWalk, wants: Collection[bytes], haves: Iterable[bytes] = (), deepen: int = 0
    ) -> None:
        """Fetch ``wants`` into ``walk``, without trees or blobs but those that are named."""
        if len(wants) > MAX_WANTS:
            raise InquiryError("more would have to be fetched than can be in one push")
        if not v2.offers_filter(await self.capabilities()):
            raise NoFilterError(CANNOT_SEND)
        named = await self._named(walk.graph.object_format)
        body = v2.fetch_request(named, wants, haves, deepen=deepen)
        asking = UpstreamCall(v2.ANSWER_TYPE)
        reader = v2.FetchResponseReader(walk, self._room)
        digest = PackReading(reader, self.in_thread, _nothing, asking.finish, asking.fail, asking.hold, asking.release)

        def take(part: bytes) -> None:
            self._room -= len(part)
            digest.feed(part)

        asking.take, asking.ended = take, digest.close
        try:
            await self._ask(asking, "POST", "git-upload-pack", body)
        except InquiryError:
            digest.abandon()
            await digest.rest()  # the next look at the graph must not meet a thread in it
            raise
        finally:
            digest.abandon()

    async def _named(self, object_format: ObjectFormat) -> ObjectFormat | None:
        """Return the format that a question names; none for a forge that does not know the word: it has SHA-1."""
        offered = v2.offers_object_format(await self.capabilities())
        if not offered and object_format is not SHA1:
            raise InquiryError("this forge does not say that it has SHA-256")
        return object_format if offered else None

    async def _parsed(self, reader: Callable[[bytes], T], body: bytes) -> T:
        """Read an answer; a large one in a thread: 20,000 refs take 100 ms."""
        if len(body) <= AT_ONCE:
            return _read(reader, body)
        return cast("T", await self.in_thread(_read, reader, body))

    async def _small(self, method: str, tail: str, body: bytes, content_type: bytes) -> bytes:
        call = BufferedCall(MAX_SMALL, content_type)
        await self._ask(call, method, tail, body)
        return bytes(call.body)

    async def _ask(self, call: UpstreamCall, method: str, tail: str, body: bytes) -> None:
        if self._left:
            raise CancelledError
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
            raise InquiryError("the forge did not answer in time") from None
        except ResponseError as error:
            raise InquiryError(str(error)) from None
        except UnreachableError as error:
            raise InquiryError(f"the forge cannot be reached: {failure_text(error.why)}") from None

    def _seconds(self) -> float:
        """Return how long the next answer may take: all of a push's questions share ``patience``."""
        now = self.pool.reactor.seconds()
        if self._until is None:
            self._until = now + self.patience
        if now >= self._until:
            raise InquiryError("the forge took too long to answer what had to be asked")
        return min(self.timeout, self._until - now)

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
        except InquiryError:
            return None  # the forge's own answer explains more

    async def _fetch(self, refused: str) -> Credential:
        try:
            return await fetch_credential(self.credentials, self.wanted, refused, self.pool.reactor, self._seconds())
        except CredentialError as error:
            raise InquiryError(error.text) from None


_ADVERTISEMENT = b"application/x-git-upload-pack-advertisement"


def _read(reader: Callable[[bytes], T], body: bytes) -> T:
    try:
        return reader(body)
    except ResponseError as error:
        raise InquiryError(str(error)) from None


def _nothing() -> None:
    """Wait for the end: an answer is judged whole."""


def _head(method: str, length: int) -> RequestHead:
    """Make the head that ``crossing`` takes its fields from."""
    fields = [(b"user-agent", f"credgate/{__version__}".encode()), (b"git-protocol", b"version=2")]
    if method == "POST":
        fields += [(b"content-type", v2.CONTENT_TYPE), (b"accept", v2.ANSWER_TYPE)]
    return RequestHead(method.encode(), b"/", b"1.1", tuple(fields), length, False, True, False)  # noqa: FBT003 - positional by its definition
