"""Exit statuses and signal masks (signals of real processes: ``tests/e2e/test_run.py``)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from credgate.cli.run.signals import CommandStartError, SignalForwarder, die_with_parent, shell_status
from tests.fakes.run_processes import program
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("code", "status"), [(0, 0), (7, 7), (-15, 143), (-9, 137)])
def test_status_of_a_signal_is_128_plus_its_number(code: int, status: int) -> None:
    """As in shells."""
    assert shell_status(code) == status


@pytest.mark.parametrize(("name", "status"), [("/no/such/command", 127), ("/etc/passwd", 126)])
def test_command_that_cannot_be_started_has_the_status_of_a_shell(name: str, status: int) -> None:
    """127 if it does not exist, 126 if it is not executable."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(CommandStartError) as caught:
        SignalForwarder().start([name], {})
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert caught.value.status == status


@pytest.mark.parametrize("reap", [False, True])
def test_signal_mask_is_restored_after_the_command(*, reap: bool) -> None:
    """With and without waiting for orphaned processes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    forwarder = SignalForwarder()
    child = forwarder.start(["sh", "-c", "exit 3"], dict(os.environ))
    assert forwarder.wait(child, lambda: child.pid, reap=reap) == 3
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


STARTS = """
import subprocess
from credgate.cli.run import signals
def main():
    signals.prepare()
    print("starts", flush=True)
    while True:
        subprocess.run(["true"])
"""


def test_process_that_starts_others_stops_with_its_group_at_any_time(tmp_path: Path) -> None:
    """Ctrl-Z and ``fg``, a hundred times. With vfork(2), about twenty of these did not stop the process."""
    (tmp_path / "starts.py").write_text(STARTS)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [word for word in program("starts") if word != "-P"]  # -P would leave out PYTHONPATH
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, process_group=0) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"starts\n"
            for _ in range(100):
                os.killpg(process.pid, signal.SIGTSTP)
                wait_until(lambda: os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)[0], "it has stopped")
                os.killpg(process.pid, signal.SIGCONT)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_child_is_killed_when_its_parent_ends() -> None:
    """Also if the parent ended before the child asked for it."""
    child = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: die_with_parent(os.getppid() + 1))  # noqa: PLW1509 - what is tested
    assert child.wait(10) == -signal.SIGKILL
    script = """
import os, subprocess
from credgate.cli.run.signals import die_with_parent
our_pid = os.getpid()
child = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: die_with_parent(our_pid))
print(child.pid, flush=True)
os.kill(our_pid, 9)
"""
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False, timeout=30)
    # The child has the same standard output, so run() waited for the end of both.
    assert ran.returncode == -signal.SIGKILL
    assert ran.stdout.strip().isdigit()
