"""Long work lets the reactor serve others in between, and short work does not wait for it."""

from __future__ import annotations

import itertools
from typing import Any

from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.task import Clock

from credgate.service.turns import TURN, by_turns


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
    ensureDeferred(by_turns(clock, range(7), elapsed=lambda: next(ticks) * TURN / 2)).addCallback(done.append)
    assert done == []
    clock.advance(0)
    assert done == [list(range(7))]
    assert clock.asked == 3


def test_work_is_cancelled_between_two_turns() -> None:
    """What has not begun is not done."""
    clock, begun = Clock(), list[int]()
    ticks = itertools.count()
    work = (begun.append(at) for at in range(100))
    running = ensureDeferred(by_turns(clock, work, elapsed=lambda: next(ticks) * TURN))
    failed: list[type[BaseException] | None] = []
    running.addErrback(lambda failure: failed.append(failure.type))
    running.cancel()
    assert failed == [CancelledError]
    assert begun == [0]
    assert clock.getDelayedCalls() == []
