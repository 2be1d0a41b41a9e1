"""The store's thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor, task
from twisted.internet.defer import CancelledError

from credgate.errors import StoreError
from credgate.service.store_thread import StoreThread

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def thread() -> Iterator[StoreThread]:
    """Give a started thread, a real one."""
    made = StoreThread(reactor)  # type: ignore[arg-type]
    made.start()
    yield made
    made.stop()


def broken(error: Exception) -> None:
    """Fail."""
    raise error


@ensureDeferred
async def test_calls_run_in_one_other_thread_in_their_order(thread: StoreThread) -> None:
    """SQLite's connection belongs to one thread, and a remove must not overtake its insert."""
    order: list[int] = []

    def call(number: int) -> int:
        order.append(number)
        return threading.get_ident()

    idents = {await deferred for deferred in [thread.run(call, number) for number in range(50)]}
    assert order == list(range(50))
    assert len(idents) == 1
    assert threading.get_ident() not in idents
    assert thread.wait(call, 50) in idents


@ensureDeferred
async def test_a_slow_call_does_not_hold_up_the_reactor(thread: StoreThread) -> None:
    """The reactor turns while the disk does not: the call is let go by a timer."""
    gate = threading.Event()
    pending = thread.run(gate.wait, 30)
    turns = 0
    for _ in range(100):
        await task.deferLater(reactor, 0, lambda: None)
        turns += 1
    assert not pending.called
    assert turns == 100
    reactor.callLater(0, gate.set)  # type: ignore[attr-defined]
    assert await pending.addTimeout(20, reactor)  # type: ignore[arg-type]


@ensureDeferred
async def test_writable_says_how_the_last_call_went(thread: StoreThread) -> None:
    """Readiness shows it."""
    assert not thread.writable
    thread.wait(int)
    assert thread.writable
    with pytest.raises(StoreError, match="full"):
        await thread.run(broken, StoreError("full"))
    assert not thread.writable
    await thread.run(int)
    assert thread.writable


@ensureDeferred
async def test_any_other_error_is_a_store_error_and_logged(thread: StoreThread, clean_reactor: list[Any]) -> None:
    """Callers answer 503; the log has the traceback, the answer has not."""
    with pytest.raises(StoreError) as caught:
        await thread.run(broken, ZeroDivisionError("detail"))
    assert str(caught.value) == "the session store failed (ZeroDivisionError); the log says more"
    assert not thread.writable
    assert clean_reactor.pop().check(ZeroDivisionError)


def test_wait_raises_what_the_call_raises(thread: StoreThread) -> None:
    """The start stops with the store's own words."""
    with pytest.raises(StoreError, match="damaged"):
        thread.wait(broken, StoreError("damaged"))


@ensureDeferred
async def test_a_caller_who_gives_up_is_no_failing_disk(thread: StoreThread) -> None:
    """The call goes on; the store is as writable as before."""
    thread.wait(int)
    gate = threading.Event()
    pending = thread.run(gate.wait, 30)
    pending.cancel()
    with pytest.raises(CancelledError):
        await pending
    assert thread.writable
    gate.set()


@ensureDeferred
async def test_a_thread_that_is_not_running_refuses(thread: StoreThread) -> None:
    """Before the start and after the end: a clear error, not a call that never returns."""
    thread.stop()
    assert not thread.writable
    with pytest.raises(StoreError, match="is closed"):
        await thread.run(int)
    with pytest.raises(StoreError, match="is closed"):
        thread.wait(int)
    thread.stop()


def test_a_process_whose_start_fails_elsewhere_ends() -> None:
    """A port in use after the store was opened: nobody calls stop, and the process must not hang."""
    code = """
from twisted.internet import reactor
from credgate.service.store_thread import StoreThread
thread = StoreThread(reactor)
thread.start()
thread.wait(print, "open")
raise SystemExit(7)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout) == (7, b"open\n")


def test_a_stopped_thread_starts_again_and_leaves_none_behind(thread: StoreThread) -> None:
    """A thread that is left keeps the process from ending."""
    thread.stop()
    before = threading.active_count()
    for _ in range(3):
        thread.start()
        assert thread.wait(int) == 0
        thread.stop()
    assert threading.active_count() == before
