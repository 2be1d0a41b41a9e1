"""Rounds over the sessions: expire them, and write down what was used.

Two LoopingCalls on the service's clock. Every ``gc_interval`` a round ends what has expired (the first one at the
start); every few seconds the touches that came in are written in one batch. A round that fails is logged and the next
one runs; a round that is still waiting for the disk is not overtaken. Decides nothing itself: the registry does.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from credgate.service.registry import SessionRegistry

FLUSH_INTERVAL = 5.0
"""Seconds: how much of a session's last use a crash may forget."""


class GarbageCollector(Service):
    """Runs ``registry.collect`` every ``interval`` seconds, and ``registry.flush`` in between."""

    log = Logger()

    def __init__(
        self,
        registry: SessionRegistry,
        interval: float,
        clock: IReactorTime,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._collect, self._wall = registry.collect, wall
        self.succeeded = self.failed = 0
        """Rounds that ended expired sessions, or could not."""
        self.last_success = 0.0
        """Seconds since the epoch; 0: there was none."""
        self._rounds = (
            (self._loop(self._counted, clock), interval, True),
            (self._loop(registry.flush, clock), min(interval, FLUSH_INTERVAL), False),
        )
        self._ends: list[Deferred[LoopingCall]] = []

    def startService(self) -> None:
        """Run the first collection now, and keep on."""
        super().startService()
        self._ends = [loop.start(interval, now=now) for loop, interval, now in self._rounds]

    def stopService(self) -> Deferred[None]:
        """Stop; fires when a round that is under way has ended."""
        super().stopService()
        for loop, _, _ in self._rounds:
            if loop.running:
                loop.stop()
        return gatherResults(self._ends).addCallback(lambda _: None)

    def _counted(self) -> Deferred[int]:
        """Collect, and count how it went, for metrics."""
        return maybeDeferred(self._collect).addCallbacks(self._went_well, self._went_wrong)

    def _went_well(self, ended: int) -> int:
        self.succeeded, self.last_success = self.succeeded + 1, self._wall()
        return ended

    def _went_wrong(self, failure: Failure) -> Failure:
        self.failed += 1
        return failure

    def _loop(self, work: Callable[[], Deferred[Any]], clock: IReactorTime) -> LoopingCall:
        # A LoopingCall ends at its first error: none may reach it.
        loop = LoopingCall(lambda: maybeDeferred(work).addErrback(self._failed))
        loop.clock = clock
        return loop

    def _failed(self, failure: Failure) -> None:
        if self.running:  # while stopping, the registry writes for itself what is left
            self.log.failure("a round over the sessions failed; the next one tries again", failure=failure)
