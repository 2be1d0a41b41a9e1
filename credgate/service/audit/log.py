"""The audit log as a service: events in from the reactor, lines out from one thread.

``write`` never blocks and never fails. A thread takes what has gathered, makes lines of it and appends them in one go.
When a write fails, ``writable`` is false until one has succeeded: the relay then answers 503 before any byte goes
upstream, because unaudited means unserved. The lines that failed are kept and tried again every second; behind them
events gather up to a bound, the rest is counted and the count written as an event of its own once lines can be.
Stopping waits, for seconds at most, until all lines are out; an event that comes later is written on the spot.
How soon lines outlive a power cut is the configuration's ``sync``; no answer waits for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet import defer
from twisted.logger import Logger

from credgate.audit.event import Event, Happening, line
from credgate.audit.file import LineFile
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
    from twisted.python.failure import Failure

    from credgate.audit.chain import Head
    from credgate.config.schema import AuditConfig

    class _Reactor(IReactorFromThreads, IReactorTime):
        """What is needed of the reactor."""


BATCH = 500
"""Lines of one write."""
GATHER = 0.02
"""Seconds that the first line of a write waits for more: waking the thread for each costs the reactor more than the
line does."""


SYNC = {"never": None, "second": 1.0, "always": 0.0}
"""Seconds after which a written line is synchronised, by the configuration's word; None: when the kernel likes."""


class AuditLog(Service):
    """Writes events to where the configuration's table says. Times are seconds."""

    name = "audit"
    log = Logger()

    def __init__(  # noqa: PLR0913 - four of them are for tests to shorten
        self,
        audit: AuditConfig,
        reactor: _Reactor,
        *,
        retry: float = 1.0,
        grace: float = 5.0,
        max_pending: int = 10_000,
        wall: Callable[[], float] = time.time,
        observe: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        """``observe`` is told of every event, written or not, in the reactor's thread; it must not raise."""
        self._to, self._reactor, self._wall, self._observe = audit.to, reactor, wall, observe
        self._file = LineFile(audit.to, self._note, max_bytes=audit.max_bytes, keep=audit.keep)
        self._sync, self._dirty = SYNC[audit.sync], False
        self._retry, self._grace, self._max_pending = retry, grace, max_pending
        self._events: deque[Event] = deque()
        self._pending: list[bytes] = []
        self._lost = self._told = self.lines = 0
        self._failing = False
        self._writing = threading.Lock()
        self._ready, self._closing, self._over = threading.Event(), threading.Event(), threading.Event()
        self._ended: defer.Deferred[None] | None = None

    @property
    def writable(self) -> bool:
        """Whether what happens now can be told: the last write succeeded and there is room for more events."""
        return not self._failing and len(self._events) < self._max_pending

    @property
    def lost(self) -> int:
        """How many events could not be told, for there was no room for them."""
        return self._lost

    @property
    def head(self) -> Head:
        """Where the chain of the log stands: what ``credgate audit verify`` compares its end with."""
        return self._file.head

    def write(self, event: Event) -> None:
        """Take ``event``. Called in the reactor's thread only."""
        self._observe(event)
        if len(self._events) >= self._max_pending:
            self._lost += 1
            return
        self._events.append(event)
        if self._over.is_set():
            self._finish()
        elif not self._ready.is_set():
            self._ready.set()

    def startService(self) -> None:
        """Open the log and start the thread. Raises :class:`ConfigError` when the log cannot be opened."""
        try:
            self._file.open()
        except OSError as error:
            raise ConfigError(f"{self._to} cannot be opened: {error.strerror}", key="audit.to") from None
        super().startService()
        self._closing.clear()
        self._over.clear()
        ended = self._ended = defer.Deferred()
        threading.Thread(target=self._run, args=(ended,), name="credgate-audit", daemon=True).start()

    def stopService(self) -> defer.Deferred[None] | None:
        """Write what is left; fires when that is done, or given up."""
        super().stopService()
        self._closing.set()
        self._ready.set()
        ended, self._ended = self._ended, None
        return None if ended is None else ended.addTimeout(self._grace, self._reactor).addErrback(self._unfinished)

    def _tell_failed(self, error: OSError) -> None:
        self.log.error(
            "audit: {to} cannot be written ({error}); nothing is served until it can", to=self._to, error=error.strerror
        )

    def _tell_unsynchronised(self, error: OSError) -> None:
        self.log.error("audit: {to} cannot be synchronised: {error}", to=self._to, error=error.strerror)

    def _tell_recovered(self) -> None:
        self.log.info("audit: {to} can be written again", to=self._to)

    def _unfinished(self, failure: Failure) -> None:
        failure.trap(defer.TimeoutError)
        self.log.error("audit: {to} took too long; the last lines may be lost", to=self._to)

    # From here on: the thread.

    def _run(self, ended: defer.Deferred[None]) -> None:
        """Write whenever there is something, until the service stops."""
        while not self._closing.is_set():
            if not self._ready.wait(self._sync if self._dirty else None):
                self._synchronise()
                continue
            self._closing.wait(GATHER)
            self._ready.clear()
            self._persist()
        # Said before the last look: an earlier event is found by it, a later one written by whoever brings it.
        self._over.set()
        self._finish()
        self._reactor.callFromThread(ended.callback, None)

    def _finish(self) -> None:
        """Write what is left, if that can be, and let the file go; once all is over also in the reactor's thread."""
        self._flush()
        self._synchronise()
        with self._writing:
            self._file.close()

    def _synchronise(self) -> None:
        """Have the disk hold what was written. A disk that cannot is told; lines are written on all the same."""
        self._dirty = False
        if self._sync is None:
            return
        try:
            with self._writing:
                self._file.sync()
        except OSError as error:
            self._reactor.callFromThread(self._tell_unsynchronised, error)

    def _persist(self) -> None:
        """Write all there is; on failure again and again, the last time when the service stops."""
        while (error := self._flush()) is not None:
            if not self._failing:
                self._failing = True
                self._reactor.callFromThread(self._tell_failed, error)
            if self._closing.is_set():
                return
            self._closing.wait(self._retry)
        if self._failing:
            self._failing = False
            self._reactor.callFromThread(self._tell_recovered)

    def _flush(self) -> OSError | None:
        """Write until nothing is left or a write fails."""
        with self._writing:
            while self._pending or self._gather():
                taken, error = self._file.append(self._pending)
                del self._pending[:taken]
                self.lines += taken
                self._dirty = self._dirty or taken > 0
                if error is not None:
                    return error
            return None

    def _gather(self) -> bool:
        """Make the next lines of what has come in; whether there are any."""
        count = min(BATCH, len(self._events))
        self._pending = [line(self._events.popleft()).encode("ascii") for _ in range(count)]
        lost, self._told = self._lost - self._told, self._lost
        if lost:
            self._pending.append(self._note(Happening.AUDIT_GAP, f"{lost} events could not be written"))
        return bool(self._pending)

    def _note(self, happening: Happening, text: str) -> bytes:
        """Make a line about the log itself."""
        return line(Event(wall=self._wall(), event=happening, text=text)).encode("ascii")
