"""The fixture that fails untidy tests: it must fail each kind of them, and no tidy one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
from twisted.internet import defer, protocol, reactor, task
from twisted.logger import Logger


def test_tidy():
    reactor.callLater(60, lambda: None).cancel()
    defer.fail(ZeroDivisionError()).addErrback(lambda _: None)


def test_expected(clean_reactor):
    try:
        1 / 0
    except ZeroDivisionError:
        Logger().failure("it")
    assert [failure.type for failure in clean_reactor] == [ZeroDivisionError]
    clean_reactor.clear()


def test_delayed_call():
    reactor.callLater(60, lambda: None)


def test_listening_port():
    reactor.listenTCP(0, protocol.ServerFactory(), interface="127.0.0.1")


def test_unhandled_failure():
    defer.fail(ZeroDivisionError())


def test_unhandled_failure_in_a_cycle():
    failed = defer.fail(ZeroDivisionError())
    failed.itself = failed


def test_unhandled_failure_a_turn_later():
    task.deferLater(reactor, 0, lambda: 1 / 0)


def test_logged_failure():
    try:
        1 / 0
    except ZeroDivisionError:
        Logger().failure("it")


def test_tidy_after_all_of_them():
    pass
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Run these tests under the fixture; return the lines of pytest's summary."""
    directory = tmp_path_factory.mktemp("untidy")
    shutil.copy(Path(__file__).with_name("conftest.py"), directory / "conftest.py")
    (directory / "test_it.py").write_text(TESTS)
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-rpE",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(directory),
        str(directory),
    ]
    run = subprocess.run(line, capture_output=True, text=True, check=False, cwd=directory)
    return {said.split(" - ")[0].strip() for said in run.stdout.splitlines()}


@pytest.mark.parametrize("name", ["tidy", "expected", "tidy_after_all_of_them"])
def test_a_tidy_test_passes(outcomes: set[str], name: str) -> None:
    """What it cleaned up, said that it expects, or found there is no offence of its own."""
    assert f"PASSED test_it.py::test_{name}" in outcomes
    assert f"ERROR test_it.py::test_{name}" not in outcomes


@pytest.mark.parametrize(
    "name",
    [
        "delayed_call",
        "listening_port",
        "unhandled_failure",
        "unhandled_failure_in_a_cycle",
        "unhandled_failure_a_turn_later",
        "logged_failure",
    ],
)
def test_an_untidy_test_fails(outcomes: set[str], name: str) -> None:
    """The test itself passes; its leavings do not."""
    assert {f"PASSED test_it.py::test_{name}", f"ERROR test_it.py::test_{name}"} <= outcomes
