"""Reading costly bytes in a thread: one piece after the other, in order, with back-pressure.

A *reader* is anything with ``receive``, ``step`` and ``end``: ``git.walk.PackWalk``, ``git.ask.AnswerReader``. It is
given a piece and stepped until it needs the next. It is only ever touched by the one thread that reads for it, or
by the reactor while that thread does not. Steps are a few milliseconds; between them the reactor has its turn
(``Walkers`` shortens the interpreter's own switch interval for that).
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeVar

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads
    from twisted.python.failure import Failure

FULL = 256 * 1024
"""Bytes that wait to be read before whoever sends them is held."""
PIECE = 128 * 1024
THREADS = 2
TURN = 0.001
"""Seconds that a thread keeps the interpreter while another waits for it."""

T = TypeVar("T")


class Reader(Protocol):
    """What is read into."""

    def receive(self, data: bytes) -> None:
        """Take the next bytes."""

    def step(self) -> bool:
        """Work a little; whether there is more to do without more bytes."""

    def end(self) -> None:
        """Note that there are no more bytes. Raises if there should be."""


@define(eq=False)
class Digest:
    """Feeds ``reader``; tells in the reactor of each piece that was read, of the end, or of what was wrong."""

    reader: Reader
    in_thread: Callable[..., Deferred[None]]
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
        """Read nothing more and tell nobody. A piece that is being read is finished in its thread."""
        self._over = True
        self._pieces.clear()

    def _next(self) -> None:
        if self._busy or self._over or not (self._pieces or self._closed):
            return
        self._busy = True
        piece = self._pieces.popleft() if self._pieces else None
        if piece is not None:
            self._held -= len(piece)
        reading = self.in_thread(_read, self.reader, piece)
        reading.addCallbacks(self._read, self._fail, callbackArgs=(piece is None,))
        reading.addErrback(self._told_wrong)

    def _read(self, _none: None, last: bool) -> None:  # noqa: FBT001 - a callback's argument
        self._busy = False
        if self._over:
            self._rested()
        elif last:
            self._over = True
            self.ended()
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
            self.abandon()
            self.failed(failure)

    def _told_wrong(self, failure: Failure) -> None:
        """Whoever was told broke over it: nobody else would hear of that."""
        self.abandon()
        self.failed(failure)

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


def _read(reader: Reader, piece: bytes | None) -> None:
    """Read one piece, or the end. Runs in a thread."""
    if piece is None:
        reader.end()
        return
    reader.receive(piece)
    while reader.step():
        pass


class Walkers(Service):
    """The threads that read packs: few, for they share one processor with the reactor."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(0, THREADS, "credgate-walk")
        self._turn = TURN

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
        return deferToThread(self._pool.stop)

    def in_thread(self, call: Callable[..., T], *args: object) -> Deferred[T]:
        """Run ``call`` in one of the threads."""
        return deferToThreadPool(self._reactor, self._pool, call, *args)
