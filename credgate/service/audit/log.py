"""The audit log as a service: receives events in the reactor, writes lines in a thread.

``write`` never blocks and never fails. The thread takes the queued events, converts them to lines and appends them in
one write. If a write fails, ``writable`` is false until one succeeds, and the relay answers 503 before any byte goes
upstream: what cannot be audited is not served. The failed lines are kept and retried every second. Further events are
queued up to a limit; beyond it they are counted, and the count is written as an event of its own later. Stopping waits
a few seconds until all lines are written; a later event is written at once. The configuration's ``sync`` determines
when lines survive a power failure; no response waits for that.
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
        """The interfaces of the reactor that are used."""


BATCH = 500
"""Lines in one write."""
GATHER = 0.02
"""Seconds that the first line of a write waits for more."""

SYNC = {"never": None, "second": 1.0, "always": 0.0}
"""Seconds until a written line is synchronised, by the configured word; None: the kernel decides."""


class AuditLog(Service):
    """Writes events to the configured destination. Times are seconds."""

    name = "audit"
    log = Logger()

    def __init__(  # noqa: PLR0913 - four of them are shortened by tests
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
        """``observe`` is called with every event, written or not, in the reactor's thread; it must not raise."""
        self._to, self._reactor, self._wall, self._observe = audit.to, reactor, wall, observe
        self._file = LineFile(audit.to, self._note, max_bytes=audit.max_bytes, keep=audit.keep)
        self._sync, self._dirty = SYNC[audit.sync], False
        self._retry, self._grace, self._max_pending = retry, grace, max_pending
        self._events: deque[Event] = deque()
        self._pending: list[bytes] = []
        self._lost = self._reported = self.lines = 0
        self._failing = False
        self._writing = threading.Lock()
        self._ready, self._closing, self._over = threading.Event(), threading.Event(), threading.Event()
        self._ended: defer.Deferred[None] | None = None

    @property
    def writable(self) -> bool:
        """Whether events can be recorded: the last write succeeded and there is room for more events."""
        return not self._failing and len(self._events) < self._max_pending

    @property
    def lost(self) -> int:
        """Number of events that were dropped because there was no room for them."""
        return self._lost

    @property
    def head(self) -> Head:
        """The end of the chain, with which ``credgate audit verify`` compares the log."""
        return self._file.head

    def write(self, event: Event) -> None:
        """Queue ``event``. Called in the reactor's thread only."""
        self._observe(event)
        # Never blocks and never fails: beyond the limit events are counted, and the count is written later.
        if len(self._events) >= self._max_pending:
            self._lost += 1
            return
        self._events.append(event)
        # After the thread has ended an event is written at once, in the reactor's thread.
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
        """Write the remaining events; fires when that is done or has timed out."""
        super().stopService()
        self._closing.set()
        self._ready.set()
        ended, self._ended = self._ended, None
        return None if ended is None else ended.addTimeout(self._grace, self._reactor).addErrback(self._unfinished)

    def _unfinished(self, failure: Failure) -> None:
        failure.trap(defer.TimeoutError)
        self.log.error("audit: {to} took too long to write; the last lines may be lost", to=self._to)

    # The following methods run in the thread.

    def _run(self, ended: defer.Deferred[None]) -> None:
        """Write events as they arrive, until the service stops."""
        while not self._closing.is_set():
            if not self._ready.wait(self._sync if self._dirty else None):
                self._synchronise()
                continue
            # Waking the thread for each line costs more than the line: wait for more.
            self._closing.wait(GATHER)
            self._ready.clear()
            self._persist()
        # Set before the last flush: it writes every earlier event, and ``write`` itself writes every later one.
        self._over.set()
        self._finish()
        self._reactor.callFromThread(ended.callback, None)

    def _finish(self) -> None:
        """Write the remaining events if possible, and close the file. Later calls are from the reactor's thread."""
        self._flush()
        self._synchronise()
        with self._writing:
            self._file.close()

    def _synchronise(self) -> None:
        """Synchronise written lines to the disk. A failure is logged, and writing continues."""
        self._dirty = False
        if self._sync is None:
            return
        try:
            with self._writing:
                self._file.sync()
        except OSError as error:
            text = "audit: {to} cannot be synchronised: {error}"
            self._reactor.callFromThread(self.log.error, text, to=self._to, error=error.strerror)

    def _persist(self) -> None:
        """Write all events; after a failure retry until it succeeds or the service stops."""
        while (error := self._flush()) is not None:
            if not self._failing:
                # Logged once, in the reactor's thread, until a write succeeds.
                self._failing = True
                text = "audit: {to} cannot be written ({error}); all requests are refused until it can"
                self._reactor.callFromThread(self.log.error, text, to=self._to, error=error.strerror)
            if self._closing.is_set():
                return
            self._closing.wait(self._retry)
        if self._failing:
            self._failing = False
            self._reactor.callFromThread(self.log.info, "audit: {to} can be written again", to=self._to)

    def _flush(self) -> OSError | None:
        """Write until nothing is left or a write fails."""
        with self._writing:
            while self._pending or self._gather():
                # Lines that were not written stay in ``_pending`` and are tried again.
                taken, error = self._file.append(self._pending)
                del self._pending[:taken]
                self.lines += taken
                self._dirty = self._dirty or taken > 0
                if error is not None:
                    return error
            return None

    def _gather(self) -> bool:
        """Convert queued events to the next lines; return whether there are any."""
        count = min(BATCH, len(self._events))
        self._pending = [line(self._events.popleft()).encode("ascii") for _ in range(count)]
        lost, self._reported = self._lost - self._reported, self._lost
        if lost:
            self._pending.append(self._note(Happening.AUDIT_GAP, f"{lost} events could not be written"))
        return bool(self._pending)

    def _note(self, happening: Happening, text: str) -> bytes:
        """Return a line about the log itself."""
        return line(Event(wall=self._wall(), event=happening, text=text)).encode("ascii")
