"""Measure every turn of a gateway's reactor, from inside its process and without a line in the product.

Python imports ``sitecustomize`` when it starts. ``tests.fakes.gateway`` puts this folder on ``PYTHONPATH`` and names a
file in ``CREDGATE_TEST_LOOP_LAG``; without that variable nothing happens. No release ships this file, and nothing that
a sandbox can reach speaks of it.

Method. Twisted's epoll reactor waits in ``epoll.poll`` and nowhere else. A turn is the time from one return of
``poll`` to the next call of it: all that the reactor did for the descriptors that were ready and the calls that were
due. Nobody else is served meanwhile. This measures the turn itself; a repeated call with a timer would miss every
turn that ends before the timer is due. Three figures of a turn are taken:

* ``wall``: the monotonic clock;
* ``cpu``: the processor time of the reactor's thread (``time.thread_time_ns``). It does not contain the time in which
  another thread holds the interpreter's lock, nor a wait for a disk;
* ``stopped``: ``wall`` less the time in which the thread was ready to run and the kernel had no processor for it (the
  second field of its ``schedstat``: the run queue delay). It contains waits for the interpreter's lock and for disks,
  which are the gateway's own doing, and leaves out other processes that took the processor.

``stopped`` is at least ``cpu``, so it is the figure to assert on. What it cannot leave out is another process that
takes the processor from a thread of the gateway which holds the lock, and time that a hypervisor takes: a test on a
busy machine repeats its case and takes the least. Without ``schedstat`` (``CONFIG_SCHED_INFO``) ``stopped`` is ``cpu``.

The cost of a turn is three clocks and one ``pread``, about four microseconds.

The file is shared memory of eight 64-bit numbers (``FIELDS``), written by the process alone but for ``reset``: the test
writes another number there, and the maxima begin anew with the next turn, which shows in ``seen``. ``began`` is when
the turn under way began (0: it waits in ``poll``), so that a turn that never ends is seen as well. Without the variable
``CREDGATE_TEST_LOOP_LAG`` nothing is measured, and programs that the gateway starts do not get it.
"""

from __future__ import annotations

import atexit
import os
import select
import struct
import threading
import time
from mmap import mmap
from typing import Any

VARIABLE = "CREDGATE_TEST_LOOP_LAG"
FIELDS = ("reset", "seen", "turns", "began", "wall", "cpu", "stopped", "total")
"""``total`` is the sum of ``stopped`` since the reset."""
SIZE = 8 * len(FIELDS)
_TURNS = struct.Struct("=6Q")
_NOT_OPENED, _NO_SCHEDSTAT = -1, -2


class Recorder:
    """Keeps the longest turn since the last reset in shared memory."""

    def __init__(self, memory: mmap) -> None:
        self._memory = memory
        self._numbers = memoryview(memory).cast("Q")
        self._seen = self._turns = self._total = 0
        self._wall = self._cpu = self._stopped = 0
        self._schedstat = _NOT_OPENED
        self._start: tuple[int, int, int] | None = None

    def begin(self) -> None:
        """Remember when the turn began; a reset that came since the last one takes effect."""
        if self._schedstat == _NOT_OPENED:
            self._schedstat = _open_schedstat()
        asked = self._numbers[0]
        if asked != self._seen:
            self._seen, self._turns, self._total = asked, 0, 0
            self._wall = self._cpu = self._stopped = 0
            self._write(began=0)
            self._numbers[1] = asked  # last: whoever sees it sees the maxima begun anew
        now = time.monotonic_ns()
        self._numbers[3] = now
        self._start = (now, time.thread_time_ns(), self._delay())

    def end(self) -> None:
        """Count the turn, unless a reset came since it began: then it holds work of before."""
        if self._start is None:
            return
        (wall_began, cpu_began, delay_began), self._start = self._start, None
        wall, cpu = time.monotonic_ns() - wall_began, time.thread_time_ns() - cpu_began
        stopped = max(cpu, wall - (self._delay() - delay_began)) if self._schedstat >= 0 else cpu
        if self._numbers[0] == self._seen:
            self._turns += 1
            self._total += stopped
            self._wall, self._cpu = max(self._wall, wall), max(self._cpu, cpu)
            self._stopped = max(self._stopped, stopped)
        self._write(began=0)

    def _write(self, began: int) -> None:
        _TURNS.pack_into(self._memory, 16, self._turns, began, self._wall, self._cpu, self._stopped, self._total)

    def _delay(self) -> int:
        """Read the nanoseconds that this thread has waited for a processor so far."""
        return int(os.pread(self._schedstat, 64, 0).split()[1]) if self._schedstat >= 0 else 0


def _open_schedstat() -> int:
    """Open the file of this thread: the thread that polls is the reactor's."""
    try:
        return os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _NO_SCHEDSTAT


class RecordedEpoll:
    """``select.epoll`` with its ``poll`` measured; C's own type cannot be inherited from."""

    recorder: Recorder

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._epoll = _epoll(*arguments, **more)
        self._poll = self._epoll.poll
        for name in ("register", "unregister", "modify", "fileno", "close"):
            setattr(self, name, getattr(self._epoll, name))

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._epoll.closed

    def poll(self, *arguments: Any, **more: Any) -> Any:
        """Wait; a turn ends before and begins behind it."""
        self.recorder.end()
        found = self._poll(*arguments, **more)
        self.recorder.begin()
        return found


_epoll = select.epoll


def install(path: str) -> None:
    """Have every reactor of this process measured."""
    descriptor = os.open(path, os.O_RDWR)
    RecordedEpoll.recorder = Recorder(mmap(descriptor, SIZE))
    atexit.register(RecordedEpoll.recorder.end)  # the turn in which the reactor stopped is the last
    os.close(descriptor)
    select.epoll = RecordedEpoll  # type: ignore[assignment,misc]


# Programs that the gateway starts are not measured: the variable ends here.
if path := os.environ.pop(VARIABLE, ""):
    install(path)
