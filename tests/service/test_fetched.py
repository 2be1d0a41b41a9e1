"""Credentials that are fetched: when, how often, and what happens while they cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from credgate.config.credential_output import Printed
from credgate.errors import ConfigError, CredentialError
from credgate.service.fetched import AGAIN_SECONDS, EARLY_SECONDS, FAILED_SECONDS, LONGEST_SECONDS, FetchedSource
from credgate.service.sources import Described, Wanted
from credgate.values import Access, RepoPath
from tests.fakes.sessions import session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.python.failure import Failure

WANTED = Wanted(RepoPath("a", "octo/hello"), Access.READ, session())
EPOCH = 1_800_000_000.0


class Bench:
    """A source whose fetches end when the test says so, on a clock that stands still."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.running: list[Deferred[Printed]] = []
        self.source = FetchedSource("a", "cmd", self.fetch, reactor=self.clock, wall=self.wall)

    def wall(self) -> float:
        """Tell the time."""
        return EPOCH + self.clock.seconds()

    async def fetch(self) -> Printed:
        """Begin one."""
        self.running.append(Deferred())
        return await self.running[-1]

    def gives(self, secret: str, life: float | None = None) -> None:
        """End the fetch that runs."""
        self.running[-1].callback(Printed(secret, None if life is None else self.wall() + life))

    def fails(self, error: Exception | None = None) -> None:
        """End it otherwise."""
        self.running[-1].errback(error or CredentialError("it ended with status 1"))

    def obtain(self, refused: str = "") -> list[Any]:
        """Ask for one; the list then holds what came."""
        results: list[Any] = []
        Deferred.fromCoroutine(self.source.obtain(WANTED, refused)).addBoth(results.append)
        return results

    @property
    def secret(self) -> str | None:
        """What is at hand."""
        held = self.source.at_hand(WANTED)
        return None if held is None else held.secret

    @property
    def id(self) -> str:
        """Of what is held."""
        return self.source.describe()[0].id

    def started(self, secret: str = "one", life: float | None = None) -> Bench:
        """Have fetched a first one."""
        self.source.start()
        self.gives(secret, life)
        return self


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Collect every line that is logged, formatted."""
    lines: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_the_first_is_fetched_at_the_start() -> None:
    """A request that comes meanwhile waits for that one."""
    bench = Bench()
    assert bench.source.describe() == [Described("", "cmd", trouble="it was not fetched yet")]
    bench.source.start()
    waiting = [bench.obtain(), bench.obtain()]
    assert (bench.secret, len(bench.running)) == (None, 1)
    bench.gives("one")
    assert [got.secret for (got,) in waiting] == ["one", "one"]
    assert (bench.secret, bench.obtain()[0].id) == ("one", bench.id)
    assert bench.source.describe() == [Described(bench.id, "cmd")]
    assert len(bench.running) == 1


def test_without_an_end_it_is_fetched_once() -> None:
    """A command may ask a person."""
    bench = Bench().started()
    bench.clock.advance(365 * 24 * 3600)
    assert (bench.secret, len(bench.running), bench.clock.getDelayedCalls()) == ("one", 1, [])


def test_it_is_renewed_before_its_end_without_anybody_waiting() -> None:
    """The old one serves until the new one is there."""
    bench = Bench().started("one", 3600)
    first = bench.source.at_hand(WANTED)
    assert first is not None
    assert first.expires_at == EPOCH + 3600
    bench.clock.advance(3600 - EARLY_SECONDS - 1)
    assert len(bench.running) == 1
    bench.clock.advance(1)
    assert (len(bench.running), bench.secret) == (2, "one")
    bench.gives("two", 3600)
    second = bench.source.at_hand(WANTED)
    assert second is not None
    assert (second.secret, second.id != first.id, second.expires_at) == ("two", True, bench.wall() + 3600)
    bench.clock.advance(3600 - EARLY_SECONDS)
    assert len(bench.running) == 3


@pytest.mark.parametrize(("life", "renewed", "unusable"), [(3600, 3300, 3570), (60, 48, 54), (10, 8, 9)])
def test_a_short_life_leaves_less_room(life: float, renewed: float, unusable: float) -> None:
    """A fifth of it for the renewal, and a tenth that a request may still need on its way."""
    bench = Bench().started("one", life)
    bench.clock.advance(renewed - 0.5)
    assert len(bench.running) == 1
    bench.clock.advance(0.5)
    assert len(bench.running) == 2
    bench.clock.advance(unusable - renewed - 0.5)
    assert bench.secret == "one"
    bench.clock.advance(0.5)
    assert bench.secret is None
    waiting = bench.obtain()
    assert len(bench.running) == 2
    bench.gives("two", life)
    assert [got.secret for got in waiting] == ["two"]


def test_a_long_life_is_renewed_by_the_week() -> None:
    """Timers of centuries are none."""
    bench = Bench().started("one", 1e9)
    (timer,) = bench.clock.getDelayedCalls()
    assert timer.getTime() == LONGEST_SECONDS


def test_a_renewal_that_fails_is_tried_again_until_the_end(logged: list[str]) -> None:
    """And told once."""
    bench = Bench().started("one", 3600)
    bench.clock.advance(3300)
    for count in range(2, 6):
        assert (len(bench.running), bench.secret) == (count, "one")
        bench.fails()
        assert bench.source.describe() == [Described(bench.id, "cmd", EPOCH + 3600, "it ended with status 1")]
        bench.clock.advance(AGAIN_SECONDS)
    bench.gives("two", 3600)
    assert bench.secret == "two"
    assert bench.source.describe()[0].trouble == ""
    assert logged == [
        "The credential of a cannot be fetched: it ended with status 1",
        "The credential of a can be fetched again.",
        f"The credential of a was renewed: it is {bench.id} now.",
    ]


@pytest.mark.parametrize("error", [CredentialError("it ended with status 1"), ConfigError("it printed nothing")])
def test_what_failed_is_the_answer_for_a_moment(error: Exception, logged: list[str]) -> None:
    """A program that fails at once would be started once a request; then it is tried again."""
    bench = Bench()
    bench.source.start()
    waiting = [bench.obtain(), bench.obtain()]
    bench.fails(error)
    bench.clock.advance(FAILED_SECONDS - 0.5)
    waiting.append(bench.obtain())
    for (failure,) in waiting:
        assert failure.value.text.startswith("the credential of a cannot be fetched: it ")
        assert failure.value.retry_after == 5
    assert len(bench.running) == 1
    bench.clock.advance(0.5)
    again = bench.obtain()
    bench.gives("one")
    assert [got.secret for got in again] == ["one"]
    assert len(logged) == 2


def test_a_refused_one_is_fetched_again_but_not_all_the_time() -> None:
    """A person is not asked for each request of a sandbox that loops."""
    bench = Bench().started()
    refused = bench.id
    (failure,) = bench.obtain(refused)
    assert (failure.value.text, failure.value.retry_after) == ("the credential of a was fetched a moment ago", 30)
    bench.clock.advance(AGAIN_SECONDS)
    waiting = [bench.obtain(refused), bench.obtain(refused)]
    assert (len(bench.running), bench.secret) == (2, "one")
    bench.gives("two")
    assert [got.secret for (got,) in waiting] == ["two", "two"]
    assert [got.secret for got in bench.obtain(refused)] == ["two"]
    assert len(bench.running) == 2
    (failure,) = bench.obtain(bench.id)
    assert failure.check(CredentialError)
    assert len(bench.running) == 2


def test_the_same_again_is_no_other() -> None:
    """Asking the forge with it once more would only count against us."""
    bench = Bench().started()
    refused = bench.id
    bench.clock.advance(AGAIN_SECONDS)
    (waiting,) = [bench.obtain(refused)]
    bench.gives("one")
    assert waiting[0].value.text == "the credential of a was fetched again, and it is the same"
    assert (bench.id, bench.secret) == (refused, "one")


def test_the_same_with_another_end_keeps_its_id() -> None:
    """Some programs print one token for its whole life."""
    bench = Bench().started("one", 600)
    first = bench.id
    bench.clock.advance(480)
    bench.gives("one", 600)
    assert (bench.id, bench.source.describe()[0].expires_at) == (first, bench.wall() + 600)


def test_a_stopped_one_renews_no_more() -> None:
    """Also when a fetch comes back late."""
    bench = Bench().started("one", 600)
    bench.source.stop()
    assert bench.clock.getDelayedCalls() == []
    bench.obtain("x")
    bench.clock.advance(600)
    bench.obtain()
    bench.gives("two", 600)
    assert bench.clock.getDelayedCalls() == []


def test_a_defect_is_logged_and_ends_nothing(clean_reactor: list[Failure]) -> None:
    """The next one may go well."""
    bench = Bench()
    bench.source.start()
    bench.fails(RuntimeError("broken"))
    assert [failure.type for failure in clean_reactor] == [RuntimeError]
    clean_reactor.clear()
    waiting = bench.obtain()
    bench.gives("one")
    assert [got.secret for got in waiting] == ["one"]


def test_no_repr_shows_a_secret() -> None:
    """Nor the bench of one."""
    bench = Bench().started("ghp_CANARY")
    assert "CANARY" not in f"{bench.source!r} {vars(bench.source)!r}"
