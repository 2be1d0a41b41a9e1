"""Packs are read in a thread: in order, one piece at a time, with back-pressure, and without calls after the end."""

from __future__ import annotations

import itertools
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater

from credgate.pack.memory import AT_ONCE, BUDGET
from credgate.service.inspect.pack_reader import FULL, PIECE, SLICE, TURN, PackReading, WalkThreads, in_slices
from tests.fakes.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from credgate.pack.objects import Sliced


@define
class Reader:
    """Records its pieces, each of which needs three steps. ``wrong`` is raised by a step, or at the end."""

    wrong: Exception | None = None
    pieces: list[bytes] = field(factory=list)
    ended: bool = False
    _steps: int = 0

    def receive(self, data: bytes) -> None:
        """Record a piece."""
        assert not self._steps
        self.pieces.append(data)
        self._steps = 3

    def step(self) -> bool:
        """Work."""
        if self.wrong is not None and self.pieces[-1] == b"bad":
            raise self.wrong
        self._steps -= 1
        return bool(self._steps)

    def end(self) -> None:
        """End."""
        if self.wrong is not None:
            raise self.wrong
        self.ended = True


class Case:
    """A reading, and a record of its calls."""

    def __init__(self, *, eager: bool = False, wrong: Exception | None = None) -> None:
        self.threads, self.reader = Threads(eager), Reader(wrong)
        self.calls: list[Any] = []
        self.reading = PackReading(
            self.reader,
            self.threads,
            self._record("advanced"),
            self._record("ended"),
            self._failed,
            fills=self._record("fills"),
            drains=self._record("drains"),
        )
        self.broken: str | None = None

    def _record(self, what: str) -> Callable[[], None]:
        def call() -> None:
            self.calls.append(what)
            if what == self.broken:
                raise RuntimeError(what)

        return call

    def _failed(self, failure: Failure) -> None:
        self.calls.append(failure.value)


@pytest.mark.parametrize("eager", [False, True])
def test_pieces_are_read_in_order_and_the_end_comes_last(*, eager: bool) -> None:
    """Whether the thread is fast or slow."""
    case = Case(eager=eager)
    for part in (b"one", b"two", b"three"):
        case.reading.feed(part)
    case.reading.close()
    case.threads.run_all()
    assert case.reader.pieces == [b"one", b"two", b"three"]
    assert case.reader.ended
    assert case.calls == ["advanced"] * 3 + ["ended"]


def test_end_may_be_signalled_later() -> None:
    """When nothing waits to be read."""
    case = Case()
    case.reading.feed(b"one")
    case.threads.run_all()
    assert case.calls == ["advanced"]
    case.reading.close()
    case.threads.run_all()
    assert case.calls == ["advanced", "ended"]


def test_one_thread_reads_at_a_time() -> None:
    """No other thread touches the reader meanwhile."""
    case = Case()
    for _ in range(5):
        case.reading.feed(b"x")
        assert len(case.threads.waiting) == 1
    case.reading.close()
    assert len(case.threads.waiting) == 1


def test_large_input_is_read_in_pieces() -> None:
    """So that an abandoned reading stops soon."""
    case = Case(eager=True)
    data = bytes(range(256)) * (3 * PIECE // 256) + b"x"
    case.reading.feed(data)
    assert [len(piece) for piece in case.reader.pieces] == [PIECE, PIECE, PIECE, 1]
    assert b"".join(case.reader.pieces) == data


def test_sender_is_paused_while_too_much_waits() -> None:
    """It resumes when half of it is read. Each is called once."""
    case = Case()
    case.reading.feed(bytes(FULL))
    assert not case.reading.full
    case.reading.feed(bytes(PIECE + 1))  # one piece is being read already
    case.reading.feed(b"x")
    assert (case.reading.full, case.calls) == (True, ["fills"])
    case.threads.run_all()
    assert not case.reading.full
    assert case.calls.count("drains") == 1
    assert case.calls.count("fills") == 1


def test_advanced_is_called_before_the_sender_resumes() -> None:
    """The resumed sender starts the thread on the reader again."""
    case = Case()
    seen: list[int] = []
    case.reading.advanced = lambda: seen.append(len(case.threads.waiting))
    case.reading.drains = lambda: case.reading.feed(b"more")
    case.reading.feed(bytes(FULL + PIECE))
    case.threads.run_all()
    assert seen == [0] * len(case.reader.pieces)
    assert case.reader.pieces[-1] == b"more"


@pytest.mark.parametrize("parts", [[b"bad"], [b"good", b"bad", b"good"], []])
def test_failure_is_reported_once_and_ends_the_reading(parts: list[bytes]) -> None:
    """In a piece or at the end. What follows is not read."""
    wrong = ValueError("wrong")
    case = Case(wrong=wrong)
    for part in parts:
        case.reading.feed(part)
    case.reading.close()
    case.threads.run_all()
    case.reading.feed(b"more")
    case.threads.run_all()
    assert case.calls == ["advanced"] * parts[:1].count(b"good") + [wrong]
    assert b"more" not in case.reader.pieces


@pytest.mark.parametrize("wrong", [None, ValueError("wrong")])
def test_abandoned_reading_calls_nothing(wrong: Exception | None) -> None:
    """The current piece is completed in its thread; after that the reading is idle."""
    case = Case(wrong=wrong)
    case.reading.feed(b"bad" if wrong else b"one")
    case.reading.feed(b"two")
    case.reading.abandon()
    idle = case.reading.wait_idle()
    assert not idle.called
    case.threads.run_all()
    assert idle.called
    case.reading.close()
    assert case.calls == []
    assert len(case.reader.pieces) == 1
    assert case.threads.waiting == []


def test_reading_without_work_is_idle() -> None:
    """Before the first piece and after the end."""
    case = Case(eager=True)
    case.reading.feed(b"one")
    case.reading.close()
    case.reading.abandon()
    assert case.reading.wait_idle().called
    never = Case()
    never.reading.abandon()
    assert never.reading.wait_idle().called


@pytest.mark.parametrize("what", ["advanced", "ended", "drains"])
def test_exception_of_a_callback_is_reported_as_failure(what: str) -> None:
    """Otherwise the push would wait forever."""
    case = Case()
    case.broken = what
    case.reading.feed(bytes(FULL + PIECE))
    case.reading.close()
    case.threads.run_all()
    assert isinstance(case.calls[-1], RuntimeError)
    assert case.calls.count(what) == 1
    assert case.threads.waiting == []


@ensureDeferred
async def test_walk_threads_shorten_the_switch_interval_while_they_run() -> None:
    """It is restored when they stop."""
    before = sys.getswitchinterval()
    walk_threads = WalkThreads(reactor)  # type: ignore[arg-type]  # it has threads
    walk_threads.startService()
    try:
        name = await walk_threads.lane("s-1")(lambda: threading.current_thread().name)
        assert sys.getswitchinterval() == pytest.approx(TURN)
        with pytest.raises(ValueError, match="wrong"):
            await walk_threads.lane("s-1")(_raises)
    finally:
        await walk_threads.stopService()
    assert "credgate-walk" in name
    assert sys.getswitchinterval() == pytest.approx(before)


@ensureDeferred
async def test_walk_threads_free_what_pushes_held() -> None:
    """Large containers are emptied in a thread, while the service runs."""
    walk_threads = WalkThreads(reactor)  # type: ignore[arg-type]  # it has threads
    walk_threads.startService()
    names: list[str] = []

    class Watched(dict[int, int]):
        """Records the thread that removes its items."""

        def popitem(self) -> tuple[int, int]:
            names.append(threading.current_thread().name)
            return super().popitem()

    try:
        for _ in range(2):
            names.clear()
            BUDGET.discard(Watched.fromkeys(range(3 * AT_ONCE)))
            while BUDGET.discarded:
                await deferLater(reactor, 0.001)  # type: ignore[arg-type]  # as above
            assert len(names) == 3 * AT_ONCE
            assert all("credgate-walk" in name for name in names)
    finally:
        await walk_threads.stopService()
    assert BUDGET.wake is None


@define
class Endless:
    """A reader that never finishes its piece."""

    steps: int = 0

    def receive(self, data: bytes) -> None:
        """Take a piece."""

    def step(self) -> bool:
        """Work."""
        self.steps += 1
        return True

    def end(self) -> None:
        """End."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advance the time by 0.4 slices at each call."""
    looks = itertools.count()
    monkeypatch.setattr(
        "credgate.service.inspect.pack_reader.time", SimpleNamespace(monotonic=lambda: next(looks) * SLICE * 0.4)
    )


@pytest.mark.usefixtures("clock")
def test_long_piece_is_read_in_slices() -> None:
    """The thread is released between slices, and the reader continues where it was."""
    threads, reader = Threads(), Endless()
    calls: list[Any] = []
    reading = PackReading(reader, threads, lambda: calls.append("advanced"), lambda: None, calls.append)
    reading.feed(b"x")
    for _ in range(3):
        assert len(threads.waiting) == 1
        threads.run()
    assert reader.steps == 9
    assert reading.behind
    reading.abandon()
    threads.run_all()
    assert calls == []


@pytest.mark.usefixtures("clock")
@ensureDeferred
async def test_sliced_work_returns_its_result() -> None:
    """Whatever the number of slices."""

    def work() -> Sliced[str]:
        for _ in range(30):
            yield
        return "done"

    threads = Threads(eager=True)
    assert await in_slices(threads, work()) == "done"


class Turns:
    """Walk threads that run their calls when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads = Threads()
        monkeypatch.setattr(
            "credgate.service.inspect.pack_reader.deferToThreadPool", lambda _reactor, _pool, call: self.threads(call)
        )
        self.walk_threads = WalkThreads(reactor)  # type: ignore[arg-type]  # it has threads
        self.ran: list[str] = []

    def queue(self, session: str, count: int = 1) -> None:
        """Queue ``count`` calls of a session."""
        for _ in range(count):
            self.walk_threads.lane(session)(self.ran.append, session)


def test_sessions_take_turns_in_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session with a hundred calls delays another only by the calls that run."""
    turns = Turns(monkeypatch)
    turns.queue("hostile", 100)
    turns.queue("neighbour", 2)
    turns.queue("third")
    turns.threads.run_all()
    assert turns.ran[:7] == ["hostile", "hostile", "hostile", "neighbour", "third", "hostile", "neighbour"]
    assert len(turns.ran) == 103


def test_failed_call_releases_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller gets the failure, and the next call runs."""
    turns = Turns(monkeypatch)
    failed: list[Any] = []
    for _ in range(5):
        turns.walk_threads.lane("s-1")(_raises).addErrback(failed.append)
    turns.queue("s-2")
    turns.threads.run_all()
    assert (len(failed), turns.ran) == (5, ["s-2"])


def _raises() -> None:
    raise ValueError("wrong")
