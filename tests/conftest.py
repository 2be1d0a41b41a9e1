"""What every test shares: hypothesis' profiles, default signals, and the summary of what this machine cannot show."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.needs import NotShown, demand

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For the second and later Pythons of one run: what differs between Pythons shows in a few examples.
settings.register_profile("few", settings.get_profile("default"), max_examples=20)
# For `tox run -e quick`.
settings.register_profile("quick", settings.get_profile("default"), max_examples=5)
settings.load_profile("default")

_NOT_SHOWN = pytest.StashKey[NotShown]()
# Python itself ignores these, and gives them back to the processes that it starts.
_PYTHONS = {signal.SIGPIPE, signal.SIGXFSZ}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs are not installed, before its fixtures start anything."""
    demand(*(tool for mark in item.iter_markers("needs") for tool in mark.args))


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> Iterator[None]:
    """Let processes under test find every signal at its default, however this run was started.

    ``nohup`` ignores SIGHUP, a shell's ``&`` SIGINT and SIGQUIT, and exec(2) passes that on; a shell cannot even trap
    what it found ignored. A handler that does nothing ignores the signal here, but is reset to the default by exec(2).
    """
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    ignored = [one for one in signal.valid_signals() - _PYTHONS if signal.getsignal(one) is signal.SIG_IGN]
    for one in ignored:
        signal.signal(one, lambda *_: None)
    yield
    for one in ignored:
        signal.signal(one, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count; with several processes this one gets every report."""
    config.stash[_NOT_SHOWN] = NotShown()
    config.pluginmanager.register(_Counter(config.stash[_NOT_SHOWN]))


class _Counter:
    """Counts the skips that pytest reports."""

    def __init__(self, counted: NotShown) -> None:
        self._counted = counted

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look at one report; a skip's has its file, line and reason."""
        if report.skipped and isinstance(report.longrepr, tuple):
            self._counted.add(report.longrepr[2])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say once, at the end, what was not shown and which packages show it."""
    if lines := config.stash[_NOT_SHOWN].lines():
        terminalreporter.section("NOT SHOWN", sep="!")
        for line in lines:
            terminalreporter.write_line(line)
