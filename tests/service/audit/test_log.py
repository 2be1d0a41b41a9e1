"""The audit log's thread: all told in order, nothing blocked, failures shown, recovered from and accounted for."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import termios
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet import defer, reactor, task
from twisted.logger import globalLogPublisher

from credgate.audit.event import Event, Happening
from credgate.audit.log_files import rotated
from credgate.audit.verify import Verifier
from credgate.config.schema import AuditConfig
from credgate.errors import ConfigError
from credgate.service.audit.log import SYNC, AuditLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE = 10.0


def event(number: int) -> Event:
    """Make an event that can be told from others."""
    return Event(wall=float(number), event=Happening.REQUEST, status=number)


def told(path: Path) -> list[Any]:
    """Return what the log tells: the number of each event, or its text."""
    whole, _, _ = path.read_text(encoding="ascii").rpartition("\n")  # it may be read in the middle of a write
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line.get("status", line.get("text")) for line in lines]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread will do."""
    done = defer.Deferred[None]()

    def look() -> None:
        if condition():
            looping.stop()
            done.callback(None)

    looping = task.LoopingCall(look)
    looping.start(0.002)
    try:
        await done.addTimeout(DEADLINE, reactor)
    finally:
        if looping.running:
            looping.stop()


def gone() -> bool:
    """Whether no audit thread is left; it is for a moment after it said that it was over."""
    return not [one for one in threading.enumerate() if one.name == "credgate-audit"]


async def stopped(audit: AuditLog) -> None:
    """Stop the service and wait for it."""
    await defer.ensureDeferred(_waited(audit.stopService()))


async def _waited(ended: defer.Deferred[None] | None) -> None:
    if ended is not None:
        await ended.addTimeout(DEADLINE, reactor)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the log."""
    return tmp_path / "audit.log"


def fill(path: Path) -> None:
    """Put the log on a disk that is full."""
    path.symlink_to("/dev/full")


def free(path: Path) -> None:
    """Make room: the next write finds no file and makes one."""
    path.unlink()


class Pipe:
    """A log that hangs like a dead network disk, until somebody drains it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.taken = bytearray()
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drain)

    @property
    def full(self) -> bool:
        """Whether it holds nearly its 64 KiB: who writes a batch more hangs."""
        held = fcntl.ioctl(self._fd, termios.FIONREAD, b"\0" * 4)
        return int.from_bytes(held, sys.byteorder) > 60_000

    def drain(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Go; a writer that still hangs is told so."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._fd)

    def _drain(self) -> None:
        while not self._over.wait(0.001):
            with suppress(BlockingIOError):
                self.taken += os.read(self._fd, 1 << 20)


@pytest.fixture
def pipe(path: Path) -> Iterator[Pipe]:
    """Make the log a pipe."""
    made = Pipe(path)
    yield made
    made.close()


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """Collect what the service logs for the operator."""
    found: list[str] = []

    def note(entry: dict[str, Any]) -> None:
        if str(entry.get("log_format", "")).startswith("audit: "):
            found.append(entry["log_format"].format(**entry))

    globalLogPublisher.addObserver(note)
    yield found
    globalLogPublisher.removeObserver(note)


def made(path: Path | str, **more: Any) -> AuditLog:
    """Make a log that tries again soon."""
    table = {key: more.pop(key) for key in ("sync", "max_bytes", "keep") if key in more}
    return AuditLog(AuditConfig(to=str(path), **table), reactor, retry=0.01, wall=lambda: 0.0, **more)


@pytest_twisted.ensureDeferred
async def test_events_are_written_in_order_and_soon(path: Path) -> None:
    """Operators watch the file while the gateway runs."""
    audit = made(path)
    audit.startService()
    for number in range(2000):
        audit.write(event(number))
    await until(lambda: told(path) == list(range(2000)))
    assert audit.writable
    await stopped(audit)


@pytest_twisted.ensureDeferred
async def test_every_event_is_observed_and_lines_are_counted(path: Path) -> None:
    """An event without room is observed too, and counted as lost."""
    seen: list[Event] = []
    audit = made(path, observe=seen.append, max_pending=2)
    for number in range(3):
        audit.write(event(number))
    assert (len(seen), audit.lost, audit.lines) == (3, 1, 0)
    audit.startService()
    await stopped(audit)
    assert audit.lines == len(told(path)) == 3


@pytest_twisted.ensureDeferred
async def test_stop_writes_all_accepted_events(path: Path) -> None:
    """What was accepted before the stop is in the file when the stop is done."""
    audit = made(path)
    audit.startService()
    for number in range(1234):
        audit.write(event(number))
    await stopped(audit)
    assert told(path) == list(range(1234))


@pytest_twisted.ensureDeferred
async def test_event_after_the_stop_is_written_at_once(path: Path) -> None:
    """Services stop concurrently, so the last transfer may end later."""
    audit = made(path)
    audit.startService()
    await stopped(audit)
    audit.write(event(1))
    audit.write(event(2))
    assert told(path) == [1, 2]


@pytest_twisted.ensureDeferred
async def test_it_starts_again_after_a_stop(path: Path) -> None:
    """A service may be stopped and started."""
    audit = made(path)
    for number in (1, 2):
        audit.startService()
        audit.write(event(number))
        await stopped(audit)
    assert told(path) == [1, 2]


def test_stop_without_start_does_nothing(path: Path) -> None:
    """A failed start stops all services, even those not started."""
    assert made(path).stopService() is None


def test_log_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """Otherwise every request would be refused."""
    with pytest.raises(ConfigError) as caught:
        made(tmp_path / "missing" / "audit.log").startService()
    assert str(caught.value) == f"audit.to: {tmp_path}/missing/audit.log cannot be opened: No such file or directory"


@pytest_twisted.ensureDeferred
async def test_full_disk_makes_log_unwritable_until_there_is_room(path: Path, messages: list[str]) -> None:
    """The queued lines are written first, and service resumes without a restart."""
    fill(path)
    audit = made(path)
    audit.startService()
    assert audit.writable
    for number in range(3):
        audit.write(event(number))
    await until(lambda: not audit.writable)
    audit.write(event(3))
    assert not audit.writable
    free(path)
    await until(lambda: audit.writable)
    audit.write(event(4))
    await stopped(audit)
    assert told(path) == [0, 1, 2, 3, 4]
    assert messages == [
        f"audit: {path} cannot be written (No space left on device); all requests are refused until it can",
        f"audit: {path} can be written again",
    ]


@pytest_twisted.ensureDeferred
async def test_lost_events_are_counted_and_recorded(path: Path) -> None:
    """Memory stays bounded, and the log has a line about the gap."""
    fill(path)
    audit = made(path, max_pending=10)
    audit.startService()
    audit.write(event(0))
    await until(lambda: not audit.writable and not audit._events)
    for number in range(1, 26):
        audit.write(event(number))
    assert len(audit._events) == 10
    free(path)
    await until(lambda: audit.writable)
    audit.write(event(26))
    await stopped(audit)
    assert told(path) == [*range(11), "15 events could not be written", 26]


@pytest_twisted.ensureDeferred
async def test_full_queue_makes_log_unwritable(path: Path, pipe: Pipe) -> None:
    """A hanging disk does not fail writes, so the length of the queue decides."""
    audit = made(path, max_pending=5000)
    audit.startService()
    for number in range(3000):
        audit.write(event(number))
    await until(lambda: pipe.full)
    for number in range(6000):
        audit.write(event(number))
    assert not audit.writable
    pipe.drain()
    await until(lambda: b"events could not be written" in pipe.taken)
    assert audit.writable
    await stopped(audit)


@pytest_twisted.ensureDeferred
async def test_stop_gives_up_on_a_full_disk(path: Path, messages: list[str]) -> None:
    """A broken disk must not block the end of the process."""
    fill(path)
    audit = AuditLog(AuditConfig(to=str(path)), reactor, retry=3600.0)
    audit.startService()
    audit.write(event(0))
    await until(lambda: not audit.writable)
    await stopped(audit)
    assert len(messages) == 1
    await until(gone)


@pytest_twisted.ensureDeferred
async def test_stop_gives_up_on_a_hanging_disk(path: Path, pipe: Pipe, messages: list[str]) -> None:
    """It takes the grace period only; the thread ends with the process."""
    audit = made(path, grace=0.05)
    audit.startService()
    for number in range(5000):
        audit.write(event(number))
    await until(lambda: pipe.full)
    await stopped(audit)
    assert messages == [f"audit: {path} took too long to write; the last lines may be lost"]
    pipe.drain()
    await until(gone)


@pytest_twisted.ensureDeferred
async def test_write_does_not_block_the_reactor(path: Path, pipe: Pipe) -> None:
    """Even with a hanging disk."""
    audit = made(path)
    audit.startService()
    before = reactor.seconds()
    for number in range(5000):
        audit.write(event(number))
    await until(lambda: pipe.full)
    for number in range(5000):
        audit.write(event(number))
    assert reactor.seconds() - before < 1.0
    pipe.drain()
    await stopped(audit)


@pytest_twisted.ensureDeferred
async def test_log_is_written_to_stderr_by_default(capfd: pytest.CaptureFixture[str]) -> None:
    """Containers collect it."""
    audit = made("stderr")
    audit.startService()
    audit.write(event(7))
    await stopped(audit)
    assert json.loads(capfd.readouterr().err)["status"] == 7


def whole(path: Path, audit: AuditLog) -> int:
    """Verify the log's files; how many lines there are."""
    verifier = Verifier(audit.head)
    for file in [*(kept for _, kept in rotated(path)), path]:
        for number, one in enumerate(file.read_bytes().splitlines(), 1):
            verifier.feed(file.name, number, one)
    verifier.end()
    assert verifier.faults == []
    return verifier.lines


@pytest_twisted.ensureDeferred
async def test_chain_continues_over_restarts_and_rotations(path: Path) -> None:
    """A removed line is detected even at the end of a process or file."""
    for start in range(3):
        audit = made(path, max_bytes=2000)
        audit.startService()
        for number in range(20):
            audit.write(event(20 * start + number))
            await task.deferLater(reactor, 0.003, lambda: None)
        await stopped(audit)
    assert rotated(path)
    assert [one for one in every(path) if isinstance(one, int)] == list(range(60))
    assert whole(path, audit) == len(every(path))


def every(path: Path) -> list[int | str]:
    """Read what the lines of all files tell."""
    return [one for file in [*(kept for _, kept in rotated(path)), path] for one in told(file)]


def move(old: Path, new: Path) -> None:
    """Rename it."""
    old.rename(new)


@pytest_twisted.ensureDeferred
async def test_chain_is_valid_after_a_full_disk(path: Path) -> None:
    """Queued lines are linked when they are written."""
    audit = made(path)
    audit.startService()
    audit.write(event(0))
    await until(lambda: path.exists() and told(path) == [0])
    aside = path.with_suffix(".aside")
    move(path, aside)
    fill(path)
    audit.write(event(1))
    await until(lambda: not audit.writable)
    free(path)
    move(aside, path)
    await until(lambda: audit.writable)
    await stopped(audit)
    assert told(path) == [0, 1]
    assert whole(path, audit) == 2


@pytest.mark.parametrize(("sync", "expected"), [("always", True), ("second", True), ("never", False)])
@pytest_twisted.ensureDeferred
async def test_lines_are_synchronised_as_configured(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sync: str,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """A power cut takes what the disk was never told of; how much that may be is the operator's choice."""
    synchronised: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synchronised.append)
    monkeypatch.setitem(SYNC, "second", 0.01)
    audit = made(path, sync=sync)
    audit.startService()
    audit.write(event(0))
    await until(lambda: path.exists() and told(path) == [0])
    if expected:
        await until(lambda: bool(synchronised))
    await stopped(audit)
    assert bool(synchronised) is expected


@pytest_twisted.ensureDeferred
async def test_failed_synchronisation_is_logged(
    path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    """The lines are written, so service continues."""

    def fails(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    audit = made(path, sync="always")
    audit.startService()
    audit.write(event(0))
    await until(lambda: bool(messages))
    assert audit.writable
    await stopped(audit)
    assert messages[0] == f"audit: {path} cannot be synchronised: Input/output error"
