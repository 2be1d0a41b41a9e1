"""What tests of the shells share: pytest-twisted alone does not see a test that leaves something behind."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet import reactor, task
from twisted.logger import globalLogPublisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.python.failure import Failure


def _left_open() -> set[Any]:
    watched = {*reactor.getReaders(), *reactor.getWriters(), *reactor.getDelayedCalls()}
    return watched - set(reactor._internalReaders)


@pytest.fixture(scope="session", autouse=True)
def _settled_heap() -> None:
    # Set aside what the imports made, so that the collection after each test looks only at the tests' own objects.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[list[Failure]]:
    """Fail a test that leaves delayed calls, sockets, unhandled Deferred failures or logged failures.

    A test that provokes a logged failure takes it out of the list that this gives.
    """
    failures: list[Failure] = []

    def note(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    before = _left_open()
    globalLogPublisher.addObserver(note)
    try:
        yield failures
        for _ in range(2):  # what was closed last is told a turn later
            pytest_twisted.blockon(task.deferLater(reactor, 0, lambda: None))
        gc.collect()  # a Deferred tells of its unhandled failure when it goes
    finally:
        globalLogPublisher.removeObserver(note)
    problems = [*(f"left in the reactor: {left!r}" for left in _left_open() - before)]
    problems += [f"logged: {failure.getTraceback()}" for failure in failures]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
