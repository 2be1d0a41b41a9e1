"""One run for all who wait: the first who joins starts it, the others get its result, and so does who joins meanwhile.

A waiter that is cancelled leaves; the run goes on for the others, or for nobody: a half-made credential is worth
nothing, a whole one is there for the next request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from credgate.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
_log = Logger()


class SingleFlight(Generic[T]):
    """What many may ask for at once and is done once. ``run`` makes the coroutine that does it."""

    def __init__(self, run: Callable[[], Coroutine[Deferred[object], object, T]]) -> None:
        self._run = run
        self._waiting: list[Deferred[T]] = []
        self.aloft = False
        """Whether it runs now."""

    def join(self) -> Deferred[T]:
        """Wait for the run that is under way, or start one."""
        waiter: Deferred[T] = Deferred()
        self._waiting.append(waiter)
        if not self.aloft:
            self.aloft = True
            Deferred.fromCoroutine(self._run()).addBoth(self._landed)
        return waiter

    def _landed(self, result: T | Failure) -> None:
        self.aloft = False
        waiting, self._waiting = self._waiting, []
        # Of a waiter that was cancelled it is already known how it ends.
        left = [waiter for waiter in waiting if not waiter.called]
        if isinstance(result, Failure) and not left and result.check(CredentialError) is None:
            _log.failure("Nobody waits any more for what failed here.", result)
        for waiter in left:
            if waiter.called:  # by one that was told before it
                continue
            if isinstance(result, Failure):
                waiter.errback(result)
            else:
                waiter.callback(result)
