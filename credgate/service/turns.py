"""Divides long computations into turns of the reactor, so that other clients are served in between.

``Turns`` is for bodies that cost more than their bytes (compressed ones, long lists of refs). Each is read in steps;
together they get :data:`SLICE` seconds of a turn, plus the step that began last. ``by_turns`` is for one computation of
many small pieces (the objects of a batch, the sessions of a list) whose results are awaited.

A call that cannot be divided, such as one ``json.loads``, is limited in size instead.
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
    """Runs the steps of all bodies in rotation."""

    def __init__(self, reactor: IReactorTime, clock: Callable[[], float] = time.monotonic) -> None:
        # Twisted's ``Cooperator`` takes one step of each body in rotation, so a large one does not delay a small one.
        def slice_of_a_turn() -> Callable[[], bool]:
            end = clock() + SLICE
            return lambda: clock() >= end

        self._cooperator = Cooperator(slice_of_a_turn, lambda turn: reactor.callLater(0, turn))

    def run(self, steps: Iterator[None], broke: Callable[[Failure], None]) -> None:
        """Run ``steps`` to their end; ``broke`` is called if one raises."""
        # They cannot be stopped from outside: an iterator that is no longer needed must end by itself.
        self._cooperator.cooperate(steps).whenDone().addErrback(broke)


async def by_turns(
    reactor: IReactorTime, work: Iterable[T], *, elapsed: Callable[[], float] = time.perf_counter
) -> list[T]:
    """Return the results of ``work``, computed in turns of about ``SLICE`` seconds. Cancellable between two turns."""
    done: list[T] = []
    end = elapsed() + SLICE
    for piece in work:
        done.append(piece)
        if elapsed() >= end:
            # A turn of the reactor: other clients are served before the next slice.
            await deferLater(reactor, 0, lambda: None)
            end = elapsed() + SLICE
    return done
