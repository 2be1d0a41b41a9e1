"""Ancestry asked of a forge's API over HTTP: which requests are sent, how many, and which answers count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.service.credentials.sources import Credential, CredentialRequest
from credgate.service.inspect.compare_client import MAX_REQUESTS, CompareClient
from credgate.service.inspect.repository_client import InspectionError, NoFilterError, RepositoryClient
from credgate.service.upstream.endpoints import forge_endpoints
from credgate.service.upstream.pool import ForgePool
from credgate.values import Access, RepoPath
from tests.fakes.api import Asked, FakeApi, Reply, Silence
from tests.fakes.canary import traces
from tests.fakes.relay import Credentials
from tests.fakes.sessions import session

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "ghp_CANARY0123456789"
OLD = b"\x0a" * 20
TIPS = [bytes([number]) * 20 for number in range(0x20, 0x60)]
CANNOT = "this forge cannot send history without files"


class CompareApi(FakeApi):
    """Knows of which commits ``OLD`` is an ancestor and of which it is not; it does not have others."""

    def __init__(self) -> None:
        self.over: set[bytes] = set()
        self.beside: set[bytes] = set()
        super().__init__()

    def answer(self, asked: Asked) -> Reply:
        """Answer as Bitbucket Cloud does."""
        old, _, tip = asked.path.rpartition("/")[2].partition("..")
        known = bytes.fromhex(tip)
        if known not in self.over | self.beside:
            return Reply(404, {"type": "error"})
        return Reply(200, {"type": "commit", "hash": old if known in self.over else "c2" * 20})

    @property
    def tips(self) -> list[str]:
        """The commits that it was asked about."""
        return [one.path.rpartition("..")[2] for one in self.asked]


@pytest.fixture
def api() -> Iterator[CompareApi]:
    """Start the API."""
    fake = CompareApi()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[str]]:
    """Collect the log lines for the operator. No event contains the credential, in any encoding."""
    events: list[Any] = []
    told: list[str] = []

    def observe(event: Any) -> None:
        events.append(event)
        if event.get("log_namespace") == "credgate.service.inspect.compare_client":
            told.append(formatEvent(event).removeprefix("the API of lab was asked about a push's history, but "))

    globalLogPublisher.addObserver(observe)
    yield told
    globalLogPublisher.removeObserver(observe)
    assert traces(CANARY, repr(events).encode()) == set()


def comparing(
    url: str, timeout: float = 10.0, patience: float = 20.0, secret: str = CANARY, **table: Any
) -> CompareClient:
    """Return the client of one push to ``octo/hello``."""
    forge = ForgeConfig(
        "lab", table.pop("kind", "bitbucket"), "https://lab.example", allow_plain_http=True, api_url=url
    )
    driver = driver_for(evolve(forge, **table))
    pool = ForgePool(reactor, 5, forge_endpoints(reactor, 5))
    wanted = CredentialRequest(RepoPath("lab", "octo/hello"), Access.WRITE, session())
    credentials: Any = Credentials({"lab": Credential("cred-1", secret)})
    client = RepositoryClient(pool, credentials, wanted, driver, "octo/hello", True, timeout, patience, maybeDeferred)  # noqa: FBT003 - positional by its definition
    return CompareClient(client)


async def reached(one: CompareClient, *tips: bytes, old: bytes = OLD) -> bool:
    """Ask, with a time limit."""
    return await Deferred.fromCoroutine(one.reached(old, frozenset(tips))).addTimeout(20, reactor)


@ensureDeferred
async def test_one_yes_suffices(api: CompareApi) -> None:
    """Each request carries the forge's own credential, concerns the push's own repository, and is sent once."""
    api.over, api.beside = {TIPS[1]}, {TIPS[0], TIPS[2]}
    one = comparing(api.url)
    assert await reached(one, *TIPS[:3]) is True
    assert api.tips == [TIPS[0].hex(), TIPS[1].hex()]
    assert {asked.path.rpartition("/")[0] for asked in api.asked} == {"/repositories/octo/hello/merge-base"}
    assert {asked.headers["authorization"] for asked in api.asked} == {f"Bearer {CANARY}"}
    assert await reached(one, *TIPS[:3]) is True
    assert len(api.asked) == 2


@ensureDeferred
async def test_no_needs_a_no_for_every_commit(api: CompareApi, logged: list[str]) -> None:
    """One unknown commit makes the result unknown, unless another answer is yes."""
    api.beside = set(TIPS[:3])
    assert await reached(comparing(api.url), *TIPS[:3]) is False
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(comparing(api.url), *TIPS[:5])
    assert logged == ["the answer (404) was not usable"], "once for both"
    api.over = {TIPS[4]}
    assert await reached(comparing(api.url), *TIPS[:5]) is True


@ensureDeferred
async def test_requests_of_a_push_are_limited(api: CompareApi) -> None:
    """Whatever the number of boundary commits and refs."""
    api.beside, api.over = set(TIPS[:40]), {TIPS[41]}
    one = comparing(api.url)
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(one, *TIPS[:40])
    assert len(api.asked) == MAX_REQUESTS
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(one, TIPS[41], old=b"\x0b" * 20)
    assert len(api.asked) == MAX_REQUESTS
    assert await reached(comparing(api.url), *TIPS[:MAX_REQUESTS]) is False


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Reply(401, {"message": "Bad credentials"}), "the answer (401) was not usable"),
        (Reply(403, {"message": "rate limit"}), "the answer (403) was not usable"),
        (Reply(301, headers={"Location": "/elsewhere"}), "the answer (301) was not usable"),
        (Reply(200, b"<html>"), "the answer (200) was not usable"),
        (Reply(200, {"hash": "0a"}), "the answer (200) was not usable"),
        (Reply(200, b" " * 3_000_000), "its answer is too long"),
    ],
    ids=["401", "403", "redirect", "page", "short id", "too-long"],
)
@ensureDeferred
async def test_unusable_answer_ends_the_requests_of_a_push(
    api: CompareApi, logged: list[str], fault: Reply, why: str
) -> None:
    """The operator gets one log line. The next push asks again."""
    api.over = set(TIPS[:2])
    api.faults = [fault]
    one = comparing(api.url)
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(one, *TIPS[:2])
    assert (len(api.asked), logged) == (1, [why])
    assert await reached(comparing(api.url), *TIPS[:2]) is True


@ensureDeferred
async def test_timeout_and_refused_connection_are_unknown(api: CompareApi) -> None:
    """Each request has a time limit, and so have all requests of a push."""
    silence = Silence()
    api.over, api.faults = {TIPS[0]}, [silence]
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(comparing(api.url, timeout=0.2), TIPS[0])
    silence.over.set()
    with pytest.raises(InspectionError, match="took too long"):
        await reached(comparing(api.url, patience=0.0), TIPS[0])
    assert len(api.asked) == 1
    api.close()
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(comparing(api.url), TIPS[0])


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "github"},
        {"kind": "gitlab"},
        {"username": "x-bitbucket-api-token-auth"},
        {"secret": ""},
        {"secret": "no token"},
    ],
)
@ensureDeferred
async def test_unsupported_kind_or_credential_sends_no_request(api: CompareApi, table: dict[str, str]) -> None:
    """Forges that support ``filter`` are never asked by their API."""
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(comparing(api.url, **table), TIPS[0])
    assert api.asked == []


@ensureDeferred
async def test_cancelled_push_sends_no_request(api: CompareApi) -> None:
    """Neither a new one, nor does it wait for a pending one."""
    api.over = {TIPS[0]}
    one = comparing(api.url)
    one.client.leave()
    with pytest.raises(CancelledError):
        await reached(one, TIPS[0])
    assert api.asked == []
    silence = Silence()
    api.faults = [silence]
    asking = Deferred.fromCoroutine(comparing(api.url).reached(OLD, TIPS[:1]))
    await deferLater(reactor, 0.2)
    asking.cancel()
    with pytest.raises(CancelledError):
        await asking
    silence.over.set()
