"""Reading costly bytes in a thread: one piece after the other, in order, with back-pressure.

A *reader* is anything with ``receive``, ``step`` and ``end``: ``pack.walk.PackWalk``, ``git.v2.AnswerReader``. It is
given a piece and stepped until it needs the next. It is only ever touched by the one thread that reads for it, or
by the reactor while that thread does not. Steps are a few milliseconds; between them the reactor has its turn
(``WalkThreads`` shortens the interpreter's own switch interval for that).

A thread is given up after each slice of work (:data:`SLICE`), and sessions take turns: a piece that takes a minute to
read delays another session's by a slice.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads
    from twisted.python.failure import Failure

    from credgate.pack.slices import Sliced

FULL = 256 * 1024
"""Bytes that wait to be read before whoever sends them is held."""
PIECE = 128 * 1024
THREADS = 2
TURN = 0.001
"""Seconds that a thread keeps the interpreter while another waits for it."""
SLICE = 0.01
"""Seconds of work after which another session has its turn; a step that is longer is finished."""

T = TypeVar("T")


class PackJob(Protocol):
    """What is read into."""

    def receive(self, data: bytes) -> None:
        """Take the next bytes."""

    def step(self) -> bool:
        """Work a little; whether there is more to do without more bytes."""

    def end(self) -> None:
        """Note that there are no more bytes. Raises if there should be."""


@define(eq=False)
class PackReading:
    """Feeds ``reader``; tells in the reactor of each piece that was read, of the end, or of what was wrong."""

    reader: PackJob
    in_thread: Callable[..., Deferred[Any]]
    advanced: Callable[[], None]
    ended: Callable[[], None]
    failed: Callable[[Failure], None]
    fills: Callable[[], None] = lambda: None
    drains: Callable[[], None] = lambda: None
    _pieces: deque[bytes] = field(factory=deque, init=False)
    _held: int = field(default=0, init=False)
    _busy: bool = field(default=False, init=False)
    full: bool = field(default=False, init=False)
    _closed: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)
    _resting: list[Deferred[None]] = field(factory=list, init=False)

    @property
    def behind(self) -> bool:
        """Whether something waits to be read."""
        return not self._over and (self._busy or bool(self._pieces))

    def feed(self, part: bytes) -> None:
        """Take bytes; they are read in their turn."""
        for at in range(0, len(part), PIECE):
            self._pieces.append(part[at : at + PIECE])
        self._held += len(part)
        if self._held > FULL and not self.full:
            self.full = True
            self.fills()
        self._next()

    def close(self) -> None:
        """Note the end of the bytes; ``ended`` is called once all are read and the reader agrees."""
        self._closed = True
        self._next()

    def abandon(self) -> None:
        """Read nothing more and call nothing more. A slice that is being read is finished in its thread."""
        self._over = True
        self._pieces.clear()
        # The callbacks lead to the push, which holds this object: without them all is freed when the push ends, and
        # not when the collector of cycles runs next.
        self.advanced = self.ended = self.fills = self.drains = _nothing
        self.failed = _ignored

    def _next(self) -> None:
        if self._busy or self._over or not (self._pieces or self._closed):
            return
        self._busy = True
        piece = self._pieces.popleft() if self._pieces else None
        if piece is not None:
            self._held -= len(piece)
        self._work(_read, self.reader, piece, last=piece is None)

    def _work(self, call: Callable[..., bool], *args: object, last: bool) -> None:
        reading = self.in_thread(call, *args)
        reading.addCallbacks(self._read, self._fail, callbackArgs=(last,))
        reading.addErrback(self._told_wrong)

    def _read(self, more: bool, last: bool) -> None:  # noqa: FBT001 - a callback's arguments
        if more and not self._over:
            self._work(_go_on, self.reader, last=last)
            return
        self._busy = False
        if self._over:
            self._rested()
        elif last:
            self._over = True
            self.ended()
            self.abandon()
        else:
            self.advanced()  # before anything that could set the thread to work on the reader again
            if self.full and self._held <= FULL // 2:
                self.full = False
                self.drains()
            self._next()

    def _fail(self, failure: Failure) -> None:
        self._busy = False
        if self._over:
            self._rested()
        else:
            self._told_wrong(failure)

    def _told_wrong(self, failure: Failure) -> None:
        """Report what a reader or a callback raised: nobody else would hear of that."""
        failed = self.failed
        self.abandon()
        failed(failure)

    def rest(self) -> Deferred[None]:
        """Fire once no thread reads any more; only after :meth:`abandon`."""
        resting: Deferred[None] = Deferred()
        self._resting.append(resting)
        if not self._busy:
            self._rested()
        return resting

    def _rested(self) -> None:
        resting, self._resting = self._resting, []
        for one in resting:
            one.callback(None)


def _read(reader: PackJob, piece: bytes | None) -> bool:
    """Begin to read one piece, or the end; whether there is more to do. Runs in a thread."""
    if piece is None:
        reader.end()
        return False
    reader.receive(piece)
    return _go_on(reader)


def _go_on(reader: PackJob) -> bool:
    """Read on for one slice; whether there is more to do. Runs in a thread."""
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


def _nothing() -> None:
    """Take no notice."""


def _ignored(_failure: Failure) -> None:
    """Take no notice."""


class WalkThreads(Service):
    """The threads that read packs: few, for they share one processor with the reactor. Sessions take turns."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, THREADS, "credgate-walk")
        self._turn = TURN
        # What waits, by session, in the order of their turns; a session that has had its turn goes to the end.
        self._waiting: dict[str, deque[tuple[Deferred[Any], Callable[[], object]]]] = {}
        self._running = 0

    def startService(self) -> None:
        """Be ready; and let threads take turns often, so that a walk delays no other client by much."""
        super().startService()
        self._turn = sys.getswitchinterval()
        sys.setswitchinterval(TURN)
        self._pool.start()

    def stopService(self) -> Deferred[None]:
        """End the threads, off the reactor's: a step that is under way takes milliseconds."""
        super().stopService()
        sys.setswitchinterval(self._turn)
        self._waiting.clear()
        return deferToThread(self._pool.stop)

    def lane(self, session_id: str) -> Callable[..., Deferred[Any]]:
        """Return what runs a call in one of the threads when it is the turn of ``session_id``."""
        return partial(self._in_lane, session_id)

    def _in_lane(self, session_id: str, call: Callable[..., T], *args: object) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self._waiting.setdefault(session_id, deque()).append((done, partial(call, *args)))
        self._start()
        return done

    def _start(self) -> None:
        while self._waiting and self._running < THREADS:
            session_id = next(iter(self._waiting))
            calls = self._waiting.pop(session_id)
            done, call = calls.popleft()
            if calls:
                self._waiting[session_id] = calls
            self._running += 1
            deferToThreadPool(self._reactor, self._pool, call).addBoth(self._ran, done)

    def _ran(self, result: object, done: Deferred[Any]) -> None:
        self._running -= 1
        self._start()
        done.callback(result)  # a Failure goes to the errbacks
