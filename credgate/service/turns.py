"""Shares the reactor's turns with work that takes long: other clients are served in between.

``Turns`` is for bodies that cost more than their bytes (compressed ones, long lists of refs). Each is read in steps;
all of them together have :data:`SLICE` seconds of a turn, and the last step that begins within it. Bodies take steps in
rotation, so that a large one does not delay a small one. ``by_turns`` is for one computation of many small pieces (the
objects of a batch, the sessions of a list) whose results are awaited.

What cannot be cut, such as one ``json.loads``, is bounded in size instead.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.task import Cooperator, deferLater

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

SLICE = 0.005
"""Seconds of one turn of the reactor in which steps may begin."""

T = TypeVar("T")


class Turns:
    """The steps of all bodies."""

    def __init__(self, reactor: IReactorTime, clock: Callable[[], float] = time.monotonic) -> None:
        def slice_of_a_turn() -> Callable[[], bool]:
            end = clock() + SLICE
            return lambda: clock() >= end

        self._cooperator = Cooperator(slice_of_a_turn, lambda turn: reactor.callLater(0, turn))

    def run(self, steps: Iterator[None], broke: Callable[[Failure], None]) -> None:
        """Take ``steps`` one after the other until there are none left; ``broke`` is called if one raises.

        It cannot be stopped from outside: steps that are not needed any more end by themselves.
        """
        self._cooperator.cooperate(steps).whenDone().addErrback(broke)


async def by_turns(
    reactor: IReactorTime, work: Iterable[T], *, elapsed: Callable[[], float] = time.perf_counter
) -> list[T]:
    """Return what ``work`` gives, computed in turns of about ``SLICE``; all of it at once if one turn is enough.

    May be cancelled between two turns.
    """
    done: list[T] = []
    end = elapsed() + SLICE
    for piece in work:
        done.append(piece)
        if elapsed() >= end:
            await deferLater(reactor, 0, lambda: None)
            end = elapsed() + SLICE
    return done
