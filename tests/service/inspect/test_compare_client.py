"""A push's history asked of a forge's API over real HTTP: who is asked, how often, and what counts as an answer."""

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
from credgate.service.inspect.compare_client import MAX_QUESTIONS, CompareClient
from credgate.service.inspect.repository_client import InquiryError, NoFilterError, RepositoryClient
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
    """Knows which commits ``OLD`` is an ancestor of, and which it is not; others it does not have."""

    def __init__(self) -> None:
        self.over: set[bytes] = set()
        self.beside: set[bytes] = set()
        super().__init__()

    def answer(self, asked: Asked) -> Reply:
        """Compare as GitHub does."""
        old, _, tip = asked.path.rpartition("/")[2].partition("...")
        known = bytes.fromhex(tip)
        if known not in self.over | self.beside:
            return Reply(404, {"message": "Not Found"})
        status, base = ("ahead", old) if known in self.over else ("diverged", "c2" * 20)
        return Reply(200, {"status": status, "merge_base_commit": {"sha": base}, "base_commit": {"sha": old}})

    @property
    def tips(self) -> list[str]:
        """The commits that it was asked about."""
        return [one.path.rpartition("...")[2] for one in self.asked]


@pytest.fixture
def api() -> Iterator[CompareApi]:
    """Start one."""
    fake = CompareApi()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def said() -> Iterator[list[str]]:
    """Collect what the operator is told of it; no event holds the credential, in any coding."""
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
    """Make the means to ask for one push to ``octo/hello``."""
    forge = ForgeConfig("lab", table.pop("kind", "github"), "https://lab.example", allow_plain_http=True, api_url=url)
    driver = driver_for(evolve(forge, **table))
    pool = ForgePool(reactor, 5, forge_endpoints(reactor, 5))
    wanted = CredentialRequest(RepoPath("lab", "octo/hello"), Access.WRITE, session())
    credentials: Any = Credentials({"lab": Credential("cred-1", secret)})
    inquiry = RepositoryClient(pool, credentials, wanted, driver, "octo/hello", True, timeout, patience, maybeDeferred)  # noqa: FBT003 - positional by its definition
    return CompareClient(inquiry)


async def reached(one: CompareClient, *tips: bytes, old: bytes = OLD) -> bool:
    """Ask, with a deadline."""
    return await Deferred.fromCoroutine(one.reached(old, frozenset(tips))).addTimeout(20, reactor)


@ensureDeferred
async def test_one_commit_over_the_old_one_is_enough(api: CompareApi) -> None:
    """It is asked for with the forge's own credential, about the push's own repository, and not again."""
    api.over, api.beside = {TIPS[1]}, {TIPS[0], TIPS[2]}
    one = comparing(api.url)
    assert await reached(one, *TIPS[:3]) is True
    assert api.tips == [TIPS[0].hex(), TIPS[1].hex()]
    assert {asked.path.rpartition("/")[0] for asked in api.asked} == {"/repos/octo/hello/compare"}
    assert {asked.headers["authorization"] for asked in api.asked} == {f"Bearer {CANARY}"}
    assert await reached(one, *TIPS[:3]) is True
    assert len(api.asked) == 2


@ensureDeferred
async def test_no_must_be_said_of_every_commit(api: CompareApi, said: list[str]) -> None:
    """With one that is unknown there it cannot be told; without it, it is a firm no; and a later yes still counts."""
    api.beside = set(TIPS[:3])
    assert await reached(comparing(api.url), *TIPS[:3]) is False
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(comparing(api.url), *TIPS[:5])
    assert said == ["it answered 404 with what does not tell"], "once for both"
    api.over = {TIPS[4]}
    assert await reached(comparing(api.url), *TIPS[:5]) is True


@ensureDeferred
async def test_a_push_asks_only_so_often(api: CompareApi) -> None:
    """However many commits its pack leaves to, and however many refs it has."""
    api.beside, api.over = set(TIPS[:40]), {TIPS[41]}
    one = comparing(api.url)
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(one, *TIPS[:40])
    assert len(api.asked) == MAX_QUESTIONS
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(one, TIPS[41], old=b"\x0b" * 20)
    assert len(api.asked) == MAX_QUESTIONS
    assert await reached(comparing(api.url), *TIPS[:MAX_QUESTIONS]) is False


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Reply(401, {"message": "Bad credentials"}), "it answered 401 with what does not tell"),
        (Reply(403, {"message": "rate limit"}), "it answered 403 with what does not tell"),
        (Reply(301, headers={"Location": "/elsewhere"}), "it answered 301 with what does not tell"),
        (Reply(200, b"<html>"), "it answered 200 with what does not tell"),
        (Reply(200, {"status": "ahead"}), "it answered 200 with what does not tell"),
        (Reply(200, b" " * 3_000_000), "its answer is too long"),
    ],
    ids=["401", "403", "redirect", "page", "less", "too-long"],
)
@ensureDeferred
async def test_what_is_no_answer_does_not_tell(api: CompareApi, said: list[str], fault: Reply, why: str) -> None:
    """The push is refused in our own words, its operator told, and nothing more asked for it; for the next it is."""
    api.over = set(TIPS[:2])
    api.faults = [fault]
    one = comparing(api.url)
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(one, *TIPS[:2])
    assert (len(api.asked), said) == (1, [why])
    assert await reached(comparing(api.url), *TIPS[:2]) is True


@ensureDeferred
async def test_silence_and_a_closed_port_do_not_tell(api: CompareApi) -> None:
    """A question has its time, all of a push have its patience."""
    silence = Silence()
    api.over, api.faults = {TIPS[0]}, [silence]
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(comparing(api.url, timeout=0.2), TIPS[0])
    silence.over.set()
    with pytest.raises(InquiryError, match="took too long"):
        await reached(comparing(api.url, patience=0.0), TIPS[0])
    assert len(api.asked) == 1
    api.close()
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(comparing(api.url), TIPS[0])


@pytest.mark.parametrize(
    "table", [{"kind": "gitea"}, {"kind": "gitlab", "username": "deploy"}, {"secret": ""}, {"secret": "no token"}]
)
@ensureDeferred
async def test_where_there_is_nothing_to_ask_nobody_is_asked(api: CompareApi, table: dict[str, str]) -> None:
    """Another kind, or a credential that the API does not take."""
    with pytest.raises(NoFilterError, match=CANNOT):
        await reached(comparing(api.url, **table), TIPS[0])
    assert api.asked == []


@ensureDeferred
async def test_a_push_that_is_left_asks_no_more(api: CompareApi) -> None:
    """Neither begins a question, nor waits for the answer to one."""
    api.over = {TIPS[0]}
    one = comparing(api.url)
    one.inquiry.leave()
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
