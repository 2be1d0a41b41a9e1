"""The one thread in which a session store's calls run, in the order in which they were made.

A database call never blocks the reactor: ``run`` returns a Deferred. Only ``wait`` blocks; it is for the start, before
the reactor runs, when a store that cannot be trusted must prevent the start. Every failure of ``run`` is a StoreError,
so that callers need not know which database is used; an unexpected error is logged with its traceback. ``writable`` is
the outcome of the last call.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from credgate.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads

T = TypeVar("T")


class _Thread(Thread):
    """A thread that does not keep the process alive if the start fails elsewhere (a port in use)."""

    def __init__(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401 - Thread's own arguments
        super().__init__(*args, daemon=True, **kw)


class _Pool(ThreadPool):
    """One thread, at least and at most: SQLite's connection stays in it, and the calls keep their order."""

    threadFactory = _Thread  # noqa: N815 - Twisted names it

    def __init__(self) -> None:
        super().__init__(1, 1, "credgate-store")


class StoreThread:
    """One worker thread; ``pool`` is for tests."""

    log = Logger()

    def __init__(self, reactor: IReactorFromThreads, pool: ThreadPool | None = None) -> None:
        self.writable = False
        self._reactor, self._given = reactor, pool
        self._pool: ThreadPool | None = None

    def start(self) -> None:
        """Start a thread, also after ``stop``."""
        self._pool = self._given or _Pool()
        self._pool.start()

    def stop(self) -> None:
        """End the thread, after the calls that wait in it."""
        pool, self._pool, self.writable = self._pool, None, False
        if pool is not None:
            pool.stop()

    def run(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        """Run a call in the thread; fails with StoreError."""
        if self._pool is None:
            return fail(_stopped())
        return deferToThreadPool(self._reactor, self._pool, call, *args).addCallbacks(
            self._call_succeeded, self._call_failed
        )

    def wait(self, call: Callable[..., T], *args: object) -> T:
        """Run a call in the thread and block until it is done; raises what it raises."""
        if self._pool is None:
            raise _stopped()
        results: SimpleQueue[T | Failure] = SimpleQueue()
        # Before the reactor runs no Deferred would fire, so the result comes through a queue.
        self._pool.callInThreadWithCallback(lambda _, result: results.put(result), call, *args)
        result = results.get()
        if isinstance(result, Failure):
            result.raiseException()
        return self._call_succeeded(result)

    def _call_succeeded(self, result: T) -> T:
        self.writable = True
        return result

    def _call_failed(self, failure: Failure) -> Failure:
        if failure.check(CancelledError):  # the caller cancelled; the call itself continues
            return failure
        self.writable = False
        if failure.check(StoreError):
            return failure
        # Callers need not know which database is used: every failure is a StoreError.
        self.log.failure("a call of the session store failed with an unexpected error", failure=failure)
        return Failure(StoreError(f"the session store failed ({type(failure.value).__name__}); the log says more"))


def _stopped() -> StoreError:
    return StoreError("the session store is closed: credgate is stopping, or has not started")
