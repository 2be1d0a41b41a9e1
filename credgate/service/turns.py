"""Shares the reactor's turns among bodies that cost more than their bytes: compressed ones, and long lists of refs.

Such a body is read in steps. However many of them there are, all together have :data:`SLICE` seconds of a turn, and the
last step that begins within it; then the reactor serves everybody else before the next step. Bodies take steps in
rotation, so that one that is large does not delay one that is small.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.internet.task import Cooperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

SLICE = 0.005
"""Seconds of one turn of the reactor in which steps may begin."""


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
