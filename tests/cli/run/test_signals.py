"""Exit statuses as a shell shows them (signals with real processes: ``tests/e2e/test_run.py``)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from credgate.cli.run.signals import NotRun, SignalForwarder, die_with, status


@pytest.mark.parametrize(("code", "shown"), [(0, 0), (7, 7), (-15, 143), (-9, 137)])
def test_a_signal_is_128_and_its_number(code: int, shown: int) -> None:
    """As scripts test for."""
    assert status(code) == shown


@pytest.mark.parametrize(("name", "shown"), [("/no/such/command", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_run_has_the_shell_s_status(name: str, shown: int) -> None:
    """And the mask of signals is as it was only when a command has ended: nobody else runs here."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(NotRun) as caught:
        SignalForwarder().start([name], {})
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert caught.value.status == shown


@pytest.mark.parametrize("reap", [False, True])
def test_a_command_s_status_is_returned_and_signals_are_as_before(*, reap: bool) -> None:
    """Also where orphans are waited for."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    passing = SignalForwarder()
    child = passing.start(["sh", "-c", "exit 3"], dict(os.environ))
    assert passing.wait(child, lambda: child.pid, reap=reap) == 3
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_child_dies_with_its_parent() -> None:
    """Also one whose parent was gone before it asked."""
    child = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: die_with(os.getppid() + 1))  # noqa: PLW1509 - what it is for
    assert child.wait(10) == -signal.SIGKILL
    script = """
import os, subprocess
from credgate.cli.run.signals import die_with
ours = os.getpid()
child = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: die_with(ours))
print(child.pid, flush=True)
os.kill(ours, 9)
"""
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False, timeout=30)
    # Its standard output is the child's as well: run() has waited for both to end.
    assert ran.returncode == -signal.SIGKILL
    assert ran.stdout.strip().isdigit()
