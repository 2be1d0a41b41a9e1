"""Long work in short turns: other clients are served in between.

For work that is many small pieces in one thread (an object of a batch, a session of a list). What cannot be cut, such
as one ``json.loads``, is bounded in size instead.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.task import deferLater

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IReactorTime

TURN = 0.005
"""Seconds of work before the reactor has its turn."""

T = TypeVar("T")


async def by_turns(
    reactor: IReactorTime, work: Iterable[T], *, elapsed: Callable[[], float] = time.perf_counter
) -> list[T]:
    """Return what ``work`` gives, computed in turns of about ``TURN``; all of it at once if one turn is enough.

    May be cancelled between two turns.
    """
    done: list[T] = []
    end = elapsed() + TURN
    for piece in work:
        done.append(piece)
        if elapsed() >= end:
            await deferLater(reactor, 0, lambda: None)
            end = elapsed() + TURN
    return done
