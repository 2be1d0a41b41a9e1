"""Reading in a thread: in order, one piece at a time, with back-pressure, and nobody is told after it is over."""

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

from credgate.service.inspect.pack_reader import FULL, PIECE, SLICE, TURN, PackReading, WalkThreads, in_slices
from tests.fakes.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from credgate.pack.slices import Sliced


@define
class Reader:
    """Keeps what it was given; each piece needs two more steps; ``wrong`` is raised by the step, or at the end."""

    wrong: Exception | None = None
    pieces: list[bytes] = field(factory=list)
    ended: bool = False
    _steps: int = 0

    def receive(self, data: bytes) -> None:
        """Take a piece."""
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


class Reading:
    """A digest and what it told."""

    def __init__(self, *, eager: bool = False, wrong: Exception | None = None) -> None:
        self.threads, self.reader, self.told = Threads(eager), Reader(wrong), []
        self.digest = PackReading(
            self.reader,
            self.threads,
            self._tell("advanced"),
            self._tell("ended"),
            self._failed,
            fills=self._tell("fills"),
            drains=self._tell("drains"),
        )
        self.told: list[Any]
        self.broken: str | None = None

    def _tell(self, what: str) -> Callable[[], None]:
        def tell() -> None:
            self.told.append(what)
            if what == self.broken:
                raise RuntimeError(what)

        return tell

    def _failed(self, failure: Failure) -> None:
        self.told.append(failure.value)


@pytest.mark.parametrize("eager", [False, True])
def test_pieces_are_read_in_order_and_the_end_is_told_last(*, eager: bool) -> None:
    """Whether the thread is quick or not."""
    reading = Reading(eager=eager)
    for part in (b"one", b"two", b"three"):
        reading.digest.feed(part)
    reading.digest.close()
    reading.threads.run_all()
    assert reading.reader.pieces == [b"one", b"two", b"three"]
    assert reading.reader.ended
    assert reading.told == ["advanced"] * 3 + ["ended"]


def test_the_end_may_be_known_later() -> None:
    """Nothing waits then, and nothing is told before."""
    reading = Reading()
    reading.digest.feed(b"one")
    reading.threads.run_all()
    assert reading.told == ["advanced"]
    reading.digest.close()
    reading.threads.run_all()
    assert reading.told == ["advanced", "ended"]


def test_one_thread_at_a_time() -> None:
    """The reader is touched by nobody else meanwhile."""
    reading = Reading()
    for _ in range(5):
        reading.digest.feed(b"x")
        assert len(reading.threads.waiting) == 1
    reading.digest.close()
    assert len(reading.threads.waiting) == 1


def test_what_is_large_is_read_in_pieces() -> None:
    """A thread that is told to stop stops soon."""
    reading = Reading(eager=True)
    data = bytes(range(256)) * (3 * PIECE // 256) + b"x"
    reading.digest.feed(data)
    assert [len(piece) for piece in reading.reader.pieces] == [PIECE, PIECE, PIECE, 1]
    assert b"".join(reading.reader.pieces) == data


def test_whoever_sends_is_held_while_too_much_waits() -> None:
    """And let loose again when half of it is read: once each."""
    reading = Reading()
    reading.digest.feed(bytes(FULL))
    assert not reading.digest.full
    reading.digest.feed(bytes(PIECE + 1))  # one piece is being read already
    reading.digest.feed(b"x")
    assert (reading.digest.full, reading.told) == (True, ["fills"])
    reading.threads.run_all()
    assert not reading.digest.full
    assert reading.told.count("drains") == 1
    assert reading.told.count("fills") == 1


def test_what_was_read_is_told_before_more_is_asked_for() -> None:
    """What comes of the asking sets the thread to work on the reader again."""
    reading = Reading()
    seen: list[int] = []
    reading.digest.advanced = lambda: seen.append(len(reading.threads.waiting))
    reading.digest.drains = lambda: reading.digest.feed(b"more")
    reading.digest.feed(bytes(FULL + PIECE))
    reading.threads.run_all()
    assert seen == [0] * len(reading.reader.pieces)
    assert reading.reader.pieces[-1] == b"more"


@pytest.mark.parametrize("parts", [[b"bad"], [b"good", b"bad", b"good"], []])
def test_what_is_wrong_is_told_once_and_ends_it(parts: list[bytes]) -> None:
    """In a piece, or at the end; what follows is not read."""
    wrong = ValueError("wrong")
    reading = Reading(wrong=wrong)
    for part in parts:
        reading.digest.feed(part)
    reading.digest.close()
    reading.threads.run_all()
    reading.digest.feed(b"more")
    reading.threads.run_all()
    assert reading.told == ["advanced"] * parts[:1].count(b"good") + [wrong]
    assert b"more" not in reading.reader.pieces


@pytest.mark.parametrize("wrong", [None, ValueError("wrong")])
def test_nobody_is_told_after_it_was_abandoned(wrong: Exception | None) -> None:
    """The piece that is being read is finished in its thread; when it is, nobody reads any more."""
    reading = Reading(wrong=wrong)
    reading.digest.feed(b"bad" if wrong else b"one")
    reading.digest.feed(b"two")
    reading.digest.abandon()
    resting = reading.digest.rest()
    assert not resting.called
    reading.threads.run_all()
    assert resting.called
    reading.digest.close()
    assert reading.told == []
    assert len(reading.reader.pieces) == 1
    assert reading.threads.waiting == []


def test_who_reads_nothing_rests() -> None:
    """At once, before the first piece and behind the end."""
    reading = Reading(eager=True)
    reading.digest.feed(b"one")
    reading.digest.close()
    reading.digest.abandon()
    assert reading.digest.rest().called
    never = Reading()
    never.digest.abandon()
    assert never.digest.rest().called


@pytest.mark.parametrize("what", ["advanced", "ended", "drains"])
def test_whoever_breaks_over_what_it_is_told_is_told_that(what: str) -> None:
    """Otherwise it would wait for ever."""
    reading = Reading()
    reading.broken = what
    reading.digest.feed(bytes(FULL + PIECE))
    reading.digest.close()
    reading.threads.run_all()
    assert isinstance(reading.told[-1], RuntimeError)
    assert reading.told.count(what) == 1
    assert reading.threads.waiting == []


@ensureDeferred
async def test_the_walkers_are_threads_of_their_own_that_take_short_turns() -> None:
    """And leave the interpreter as they found it."""
    before = sys.getswitchinterval()
    walkers = WalkThreads(reactor)  # type: ignore[arg-type]  # it has threads
    walkers.startService()
    try:
        name = await walkers.lane("s-1")(lambda: threading.current_thread().name)
        assert sys.getswitchinterval() == pytest.approx(TURN)
        with pytest.raises(ValueError, match="wrong"):
            await walkers.lane("s-1")(_raises)
    finally:
        await walkers.stopService()
    assert "credgate-walk" in name
    assert sys.getswitchinterval() == pytest.approx(before)


@define
class Endless:
    """A reader of a piece that takes for ever."""

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
    """Have time pass four tenths of a slice at each look."""
    looks = itertools.count()
    monkeypatch.setattr(
        "credgate.service.inspect.pack_reader.time", SimpleNamespace(monotonic=lambda: next(looks) * SLICE * 0.4)
    )


@pytest.mark.usefixtures("clock")
def test_a_long_piece_is_read_in_slices() -> None:
    """The thread is given up between them, and the reader goes on where it was."""
    threads, reader = Threads(), Endless()
    told: list[Any] = []
    digest = PackReading(reader, threads, lambda: told.append("advanced"), lambda: None, told.append)
    digest.feed(b"x")
    for _ in range(3):
        assert len(threads.waiting) == 1
        threads.run()
    assert reader.steps == 9
    assert digest.behind
    digest.abandon()
    threads.run_all()
    assert told == []


@pytest.mark.usefixtures("clock")
@ensureDeferred
async def test_work_in_slices_returns_its_result() -> None:
    """However many slices it needs."""

    def work() -> Sliced[str]:
        for _ in range(30):
            yield
        return "done"

    threads = Threads(eager=True)
    assert await in_slices(threads, work()) == "done"


class Turns:
    """Walkers without threads: what is handed to the pool runs when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads = Threads()
        monkeypatch.setattr(
            "credgate.service.inspect.pack_reader.deferToThreadPool", lambda _reactor, _pool, call: self.threads(call)
        )
        self.walkers = WalkThreads(reactor)  # type: ignore[arg-type]  # it has threads
        self.ran: list[str] = []

    def ask(self, session: str, count: int = 1) -> None:
        """Have a session ask for its turn so many times."""
        for _ in range(count):
            self.walkers.lane(session)(self.ran.append, session)


def test_sessions_take_turns_in_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that asks for a hundred does not delay another by more than those that run."""
    turns = Turns(monkeypatch)
    turns.ask("hostile", 100)
    turns.ask("neighbour", 2)
    turns.ask("third")
    turns.threads.run_all()
    assert turns.ran[:7] == ["hostile", "hostile", "hostile", "neighbour", "third", "hostile", "neighbour"]
    assert len(turns.ran) == 103


def test_a_call_that_fails_does_not_keep_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller is told, and the next one runs."""
    turns = Turns(monkeypatch)
    failed: list[Any] = []
    for _ in range(5):
        turns.walkers.lane("s-1")(_raises).addErrback(failed.append)
    turns.ask("s-2")
    turns.threads.run_all()
    assert (len(failed), turns.ran) == (5, ["s-2"])


def _raises() -> None:
    raise ValueError("wrong")
