"""Periodic work on the sessions: expired ones are ended, and their last uses are written.

Two LoopingCalls on the service's clock. A round every ``gc_interval`` ends what has expired, the first at the start;
every few seconds the collected last uses are written in one batch. A failed round is logged and the next one runs; no
round starts while the one before waits for the disk. The registry decides what is done.
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
"""Seconds of a session's last use that a crash may lose."""


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
        """Rounds that succeeded, and rounds that failed."""
        self.last_success = 0.0
        """When the last round succeeded, in seconds since the epoch; 0: never."""
        self._rounds = (
            (self._loop(self._counted, clock), interval, True),
            (self._loop(registry.flush, clock), min(interval, FLUSH_INTERVAL), False),
        )
        self._ends: list[Deferred[LoopingCall]] = []

    def startService(self) -> None:
        super().startService()
        self._ends = [loop.start(interval, now=now) for loop, interval, now in self._rounds]

    def stopService(self) -> Deferred[None]:
        """Stop; fires when a running round has ended."""
        super().stopService()
        for loop, _, _ in self._rounds:
            if loop.running:
                loop.stop()
        return gatherResults(self._ends).addCallback(lambda _: None)

    def _counted(self) -> Deferred[None]:
        """Run a round, and count its outcome for metrics."""

        def succeeded(_ended: int) -> None:
            self.succeeded, self.last_success = self.succeeded + 1, self._wall()

        def failed(failure: Failure) -> Failure:
            self.failed += 1
            return failure

        return maybeDeferred(self._collect).addCallbacks(succeeded, failed)

    def _loop(self, work: Callable[[], Deferred[Any]], clock: IReactorTime) -> LoopingCall:
        # A LoopingCall ends at its first error: none may reach it.
        loop = LoopingCall(lambda: maybeDeferred(work).addErrback(self._failed))
        loop.clock = clock
        return loop

    def _failed(self, failure: Failure) -> None:
        if self.running:  # while stopping, the registry itself writes what is due
            self.log.failure("a round over the sessions failed; the next one tries again", failure=failure)
