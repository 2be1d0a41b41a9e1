"""Steps of bodies that cost more than their bytes: a slice of each turn of the reactor for all of them together."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.task import Clock

from credgate.service.turns import SLICE, Turns, by_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.base import DelayedCall
    from twisted.python.failure import Failure


class Reactor(Clock):
    """A call that is due is made in the next turn and never in the same, as on a real reactor; a turn is a second."""

    def callLater(self, delay: float, what: Callable[..., object], *args: object, **more: object) -> DelayedCall:
        """Make the call in a later turn."""
        return super().callLater(max(delay, 1.0), what, *args, **more)


class Bench:
    """Turns whose steps take ``cost`` seconds each; what was done in which turn of the reactor."""

    def __init__(self, cost: float) -> None:
        self.reactor, self.now, self.cost = Reactor(), 0.0, cost
        self.turns = Turns(self.reactor, lambda: self.now)
        self.done: list[str] = []
        self.failed: list[Failure] = []

    def steps(self, name: str, count: int) -> Iterator[None]:
        """Make ``count`` steps."""
        for _ in range(count):
            self.now += self.cost
            self.done.append(name)
            yield

    def run(self, name: str, count: int) -> None:
        """Begin them."""
        self.turns.run(self.steps(name, count), self.failed.append)

    def turn(self) -> str:
        """Let the reactor turn once; return the names of the steps that were taken."""
        self.done.clear()
        self.reactor.advance(1)
        return "".join(self.done)


def test_nothing_is_done_before_the_next_turn() -> None:
    """Who begins steps goes on first."""
    bench = Bench(SLICE)
    bench.run("a", 1)
    assert bench.done == []
    assert bench.turn() == "a"
    bench.turn()
    assert bench.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(("cost", "most"), [(SLICE, 1), (SLICE * 3, 1), (SLICE / 3.5, 4)])
def test_all_bodies_together_have_one_slice_of_a_turn(cost: float, most: int) -> None:
    """Forty bodies delay the reactor no longer than one."""
    for bodies in (1, 40):
        bench = Bench(cost)
        for _ in range(bodies):
            bench.run("x", 20)
        assert {len(bench.turn()) for _ in range(4)} == {most}


def test_bodies_take_steps_in_rotation() -> None:
    """A large one does not delay a small one by more than its own step."""
    bench = Bench(SLICE)
    bench.run("a", 100)
    bench.run("b", 2)
    taken = "".join(bench.turn() for _ in range(6))
    assert taken.count("b") == 2
    assert "aaa" not in taken[: taken.rindex("b")]


def test_an_error_ends_its_own_steps_only() -> None:
    """It is reported; other bodies go on."""

    def breaks() -> Iterator[None]:
        yield
        raise RuntimeError("a defect")

    bench = Bench(SLICE)
    bench.turns.run(breaks(), bench.failed.append)
    bench.run("b", 3)
    assert "".join(bench.turn() for _ in range(9)) == "bbb"
    assert [str(failure.value) for failure in bench.failed] == ["a defect"]


def test_short_work_is_done_at_once() -> None:
    """No call of the reactor's is used."""
    clock, done = Clock(), list[list[int]]()
    ensureDeferred(by_turns(clock, range(1000), elapsed=lambda: 0.0)).addCallback(done.append)
    assert done == [list(range(1000))]
    assert clock.getDelayedCalls() == []


class Counted(Clock):
    """A clock that counts what was asked of it."""

    asked = 0

    def callLater(self, *arguments: Any, **more: Any) -> Any:
        """Count."""
        self.asked += 1
        return super().callLater(*arguments, **more)


def test_long_work_yields_after_each_turn() -> None:
    """Each look at the clock takes half a turn here: two pieces are a turn."""
    clock, done, ticks = Counted(), list[list[int]](), itertools.count()
    ensureDeferred(by_turns(clock, range(7), elapsed=lambda: next(ticks) * SLICE / 2)).addCallback(done.append)
    assert done == []
    clock.advance(0)
    assert done == [list(range(7))]
    assert clock.asked == 3


def test_work_is_cancelled_between_two_turns() -> None:
    """What has not begun is not done."""
    clock, begun = Clock(), list[int]()
    ticks = itertools.count()
    work = (begun.append(at) for at in range(100))
    running = ensureDeferred(by_turns(clock, work, elapsed=lambda: next(ticks) * SLICE))
    failed: list[type[BaseException] | None] = []
    running.addErrback(lambda failure: failed.append(failure.type))
    running.cancel()
    assert failed == [CancelledError]
    assert begun == [0]
    assert clock.getDelayedCalls() == []
