"""What credgate itself asks a forge about a repository while a push waits: capabilities, refs, history, trees.

Asked in git's own protocol, version 2, with the session's own forge credential and on connections of the same pool;
bounded in bytes, commits and time. Answers are read by ``git.v2`` and ``git.refs``; this only carries. Whatever goes
wrong is an ``InquiryError`` with a few words of our own: the push is then refused, because what could not be told
counts against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define, field
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
from credgate.service.upstream.client import UpstreamCall
from credgate.service.upstream.endpoints import unreachable
from credgate.service.upstream.pool import Key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from credgate.forges.driver import Driver
    from credgate.pack.objects import ObjectFormat
    from credgate.pack.walk import PackWalk
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.credentials.sources import Credential, CredentialRequest
    from credgate.service.upstream.pool import ForgeConnection, ForgePool

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
        held = bytearray()
        asking = UpstreamCall(content_type)

        def take(part: bytes) -> None:
            held.extend(part)
            if len(held) > MAX_SMALL:
                asking.answer_failed(ResponseError("the forge's answer is too long"))

        asking.take, asking.ended = take, asking.finish
        await self._ask(asking, method, tail, body)
        return bytes(held)

    async def _ask(self, asking: UpstreamCall, method: str, tail: str, body: bytes) -> None:
        if self._left:
            raise CancelledError
        credential = await self._credential()
        key = Key(self.driver.forge.name, credential.id)
        login = self.driver.login(credential.secret) if credential.secret else None
        lines = header_policy.upstream_head(
            method=method.encode(),
            path=self.driver.path(self.path, tail, dot_git=self.dot_git),
            host=self.driver.authority,
            head=_head(method, len(body)),
            authorization=login,
            length=len(body),
        )
        kept = self.pool.take(key)
        try:
            if kept is not None and not await self._told(asking, kept, method, lines + body):
                kept = None
            if kept is None:
                await self._told(asking, await self._connection(key), method, lines + body)
        except TimeoutError:
            raise InquiryError("the forge did not answer in time") from None
        except ResponseError as error:
            if credential.id and asking.status is not None and self.driver.refuses_credential(asking.status):
                await self._renew(credential)
            raise InquiryError(str(error)) from None

    async def _told(self, asking: UpstreamCall, connection: ForgeConnection, method: str, request: bytes) -> bool:
        """Ask on this connection; false if it was kept and turned out to be closed: a question may be repeated."""
        try:
            await asking.begin(connection, method.encode(), request).addTimeout(self._seconds(), self.pool.reactor)
        except ResponseError:
            if asking.repeatable:  # not the connection's word: it may carry another push's question by now
                return False
            raise
        finally:
            asking.leave()
        return True

    def _seconds(self) -> float:
        """Return how long the next answer may take: all of a push's questions share ``patience``."""
        now = self.pool.reactor.seconds()
        if self._until is None:
            self._until = now + self.patience
        if now >= self._until:
            raise InquiryError("the forge took too long to answer what had to be asked")
        return min(self.timeout, self._until - now)

    async def _credential(self) -> Credential:
        """Return what is at hand, or wait for it: the push has had one, which may have ended meanwhile."""
        at_hand = self.credentials.cached(self.wanted)
        return at_hand if at_hand is not None else await self._obtain("")

    async def _renew(self, refused: Credential) -> None:
        """Have another credential got for the next try; this push is not asked about again."""
        try:
            await self._obtain(refused.id)
        except InquiryError:
            return  # the forge's own answer says it better
        raise InquiryError("the forge refused credgate's credential, which was renewed: push again")

    async def _obtain(self, refused: str) -> Credential:
        obtaining = Deferred.fromCoroutine(self.credentials.fetch(self.wanted, refused))
        try:
            return await obtaining.addTimeout(self._seconds(), self.pool.reactor)
        except TimeoutError:
            raise InquiryError("no credential for the forge came in time") from None
        except CredentialError as error:
            raise InquiryError(error.text) from None

    async def _connection(self, key: Key) -> ForgeConnection:
        try:
            return await self.pool.connect(key, Place.of(self.driver))
        except Exception as why:  # noqa: BLE001 - names, TLS, refusals, time: whatever it is, the forge was not asked
            if self._left:  # an endpoint has its own error for being cancelled, the same as for its deadline
                raise CancelledError from None
            raise InquiryError(f"the forge cannot be reached: {unreachable(why)}") from None


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
