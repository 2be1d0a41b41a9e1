"""Reads packs in threads: piece by piece, in order, with back-pressure, and in turns between sessions.

A :class:`PackJob` is fed one piece at a time and stepped until it needs the next. Only one side touches it at any time:
the thread that reads for it or, between two calls, the reactor. A step takes a few milliseconds, and the reactor runs
between two steps (:class:`WalkThreads` shortens the interpreter's switch interval for that).

After each slice of work (:data:`SLICE`) the thread is released, and the next waiting session gets it. So a piece that
takes a minute to read delays another session by one slice.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool

from credgate.pack.memory import BUDGET

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads
    from twisted.python.failure import Failure

    from credgate.pack.objects import Sliced

FULL = 256 * 1024
"""Bytes waiting to be read at which the sender is paused. It resumes at half of that."""
PIECE = 128 * 1024
THREADS = 2  # so that one long step does not stop every push
TURN = 0.001
"""The interpreter's switch interval: seconds that a thread keeps the interpreter while another waits for it."""
SLICE = 0.01
"""Seconds of work after which another session gets the thread. A longer step is completed first."""

T = TypeVar("T")


class PackJob(Protocol):
    """A parser that is fed: a ``pack.walk.PackWalk``, or a ``git.v2.FetchResponseReader`` around one."""

    def receive(self, data: bytes) -> None:
        """Take the next bytes."""

    def step(self) -> bool:
        """Do a little work; return whether there is more to do before more bytes are needed."""

    def end(self) -> None:
        """Signal the end of the bytes. Raises if there should be more."""


class ReadPhase(Enum):
    """OPEN -> ENDING by :meth:`PackReading.close`; any -> OVER by the end, by a failure, or by ``abandon``."""

    OPEN = "more bytes may come"
    ENDING = "all bytes came; some may not be read yet"
    OVER = "nothing more is read and nothing more is called"


@define(eq=False)
class PackReading:
    """Feeds ``reader`` in a thread, and calls back in the reactor: after each piece, at the end, or on failure."""

    reader: PackJob
    in_thread: Callable[..., Deferred[Any]]
    advanced: Callable[[], None]
    ended: Callable[[], None]
    failed: Callable[[Failure], None]
    fills: Callable[[], None] = lambda: None
    drains: Callable[[], None] = lambda: None
    full: bool = field(default=False, init=False)
    """Whether the sender is paused."""
    _phase: ReadPhase = field(default=ReadPhase.OPEN, init=False)
    _busy: bool = field(default=False, init=False)
    _pieces: deque[bytes] = field(factory=deque, init=False)
    _held: int = field(default=0, init=False)
    _idle: list[Deferred[None]] = field(factory=list, init=False)

    @property
    def behind(self) -> bool:
        """Whether bytes wait to be read."""
        return self._phase is not ReadPhase.OVER and (self._busy or bool(self._pieces))

    def feed(self, part: bytes) -> None:
        """Queue bytes for reading."""
        for at in range(0, len(part), PIECE):
            self._pieces.append(part[at : at + PIECE])
        self._held += len(part)
        if self._held > FULL and not self.full:
            self.full = True
            self.fills()
        self._next()

    def close(self) -> None:
        """Signal the end of the bytes. ``ended`` is called when all are read and the reader accepts the end."""
        if self._phase is ReadPhase.OPEN:
            self._phase = ReadPhase.ENDING
        self._next()

    def abandon(self) -> None:
        """Read nothing more and call nothing more."""
        # A slice that is being read is completed in its thread, because a thread cannot be stopped.
        self._phase = ReadPhase.OVER
        self._pieces.clear()
        # The callbacks refer to the push, which refers to this object. Without them the push's memory is freed as soon
        # as it ends, not at the next garbage collection.
        self.advanced = self.ended = self.fills = self.drains = lambda: None
        self.failed = lambda _failure: None

    def wait_idle(self) -> Deferred[None]:
        """Fire when no thread reads any more. Call :meth:`abandon` first."""
        idle: Deferred[None] = Deferred()
        self._idle.append(idle)
        if not self._busy:
            self._fire_idle()
        return idle

    def _next(self) -> None:
        blocked = self._busy or self._phase is ReadPhase.OVER
        if blocked or not (self._pieces or self._phase is ReadPhase.ENDING):
            return
        self._busy = True
        piece = self._pieces.popleft() if self._pieces else None
        if piece is not None:
            self._held -= len(piece)
        self._run(_read, self.reader, piece, last=piece is None)

    def _run(self, call: Callable[..., bool], *args: object, last: bool) -> None:
        reading = self.in_thread(call, *args)
        reading.addCallbacks(self._read, self._read_failed, callbackArgs=(last,))
        # A callback's own exception is reported as a failure, too: otherwise the push would never be answered.
        reading.addErrback(self._fail)

    def _read(self, more: bool, last: bool) -> None:  # noqa: FBT001 - a callback's arguments
        if more and self._phase is not ReadPhase.OVER:
            self._run(_continue, self.reader, last=last)
            return
        self._busy = False
        if self._phase is ReadPhase.OVER:
            self._fire_idle()
        elif last:
            self._phase = ReadPhase.OVER
            self.ended()
            self.abandon()
        else:
            self.advanced()  # first: what follows may start the thread on the reader again
            if self.full and self._held <= FULL // 2:
                self.full = False
                self.drains()
            self._next()

    def _read_failed(self, failure: Failure) -> None:
        self._busy = False
        if self._phase is ReadPhase.OVER:
            self._fire_idle()
        else:
            self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        failed = self.failed
        self.abandon()
        failed(failure)

    def _fire_idle(self) -> None:
        waiting, self._idle = self._idle, []
        for one in waiting:
            one.callback(None)


def _read(reader: PackJob, piece: bytes | None) -> bool:
    """Begin to read a piece, or the end (``None``); return whether there is more to do. Runs in a thread."""
    if piece is None:
        reader.end()
        return False
    reader.receive(piece)
    return _continue(reader)


def _continue(reader: PackJob) -> bool:
    """Read for one slice; return whether there is more to do. Runs in a thread."""
    until = time.monotonic() + SLICE
    while reader.step():
        if time.monotonic() > until:
            return True
    return False


async def in_slices(in_thread: Callable[..., Deferred[Any]], work: Sliced[T]) -> T:
    """Run ``work`` in a thread, slice by slice, and return its result."""
    while True:
        ended, result = await in_thread(_slice, work)
        if ended:
            return cast("T", result)


def _slice(work: Sliced[T]) -> tuple[bool, T | None]:
    until = time.monotonic() + SLICE
    try:
        while True:
            next(work)
            if time.monotonic() > until:
                return False, None
    except StopIteration as ended:
        return True, ended.value


class WalkThreads(Service):
    """The threads that read packs, in turns between sessions. They are few: the reactor needs the interpreter, too."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, THREADS, "credgate-walk")
        self._switch_interval = TURN
        # Waiting calls by session, in the order of turns. A session that had its turn moves to the end.
        self._waiting: dict[str, deque[tuple[Deferred[Any], Callable[[], object]]]] = {}
        self._running = 0
        self._freeing = False

    def startService(self) -> None:
        # Frequent switches between threads keep the delay of other clients small: a reading thread holds the
        # interpreter for at most this long while the reactor waits for it.
        super().startService()
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(TURN)
        self._pool.start()
        BUDGET.wake = self._wake

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if BUDGET.wake == self._wake:
            BUDGET.wake = None
        sys.setswitchinterval(self._switch_interval)
        self._waiting.clear()
        return deferToThread(self._pool.stop)  # not in the reactor: it waits for running steps

    def lane(self, session_id: str) -> Callable[..., Deferred[Any]]:
        """Return a function that runs a call in one of the threads when it is the turn of ``session_id``."""

        def in_turn(call: Callable[..., T], *args: object) -> Deferred[T]:
            done: Deferred[T] = Deferred()
            self._waiting.setdefault(session_id, deque()).append((done, partial(call, *args)))
            self._start()
            return done

        return in_turn

    def _wake(self) -> None:
        """Free what pushes held, in this thread's pool. Called in any thread."""
        self._reactor.callFromThread(self._free)

    def _free(self) -> None:
        if self.running and BUDGET.discarded and not self._freeing:
            self._freeing = True
            # It takes turns with the sessions, as one of them.
            ensureDeferred(in_slices(self.lane(""), BUDGET.freeing())).addBoth(self._freed)

    def _freed(self, result: object) -> object:
        self._freeing = False
        self._free()  # something may have been discarded since the last look
        return result

    def _start(self) -> None:
        while self._waiting and self._running < THREADS:
            session_id = next(iter(self._waiting))
            # One call, then the session moves to the end: a large push delays others by one slice.
            calls = self._waiting.pop(session_id)
            done, call = calls.popleft()
            if calls:
                self._waiting[session_id] = calls
            self._running += 1
            deferToThreadPool(self._reactor, self._pool, call).addBoth(self._finished, done)

    def _finished(self, result: object, done: Deferred[Any]) -> None:
        self._running -= 1
        self._start()
        done.callback(result)  # a Failure goes to the errbacks
