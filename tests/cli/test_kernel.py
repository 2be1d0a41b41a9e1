"""What the kernel is asked for, and how it is said that it refuses (what mounts do: ``test_walled``)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from credgate.cli import kernel


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: kernel.mount("tmpfs", "/no/such/place", 0), "mount tmpfs at /no/such/place: "),
        (lambda: kernel.copied("/no/such/place"), "open_tree /no/such/place: "),
        (lambda: kernel.attached(-1, "/no/such/place"), "move_mount to /no/such/place: "),
        (lambda: kernel.read_only("/no/such/place"), "mount_setattr /no/such/place: "),
    ],
)
def test_a_refusal_says_what_was_asked(call: object, text: str) -> None:
    """A wall that does not stand must not go unnoticed."""
    assert callable(call)
    with pytest.raises(OSError, match=text):
        call()


def test_a_child_dies_with_its_parent() -> None:
    """Also one whose parent was gone before it asked."""
    child = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: kernel.die_with(os.getppid() + 1))  # noqa: PLW1509 - what it is for
    assert child.wait(10) == -signal.SIGKILL
    script = """
import os, subprocess
from credgate.cli import kernel
ours = os.getpid()
child = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: kernel.die_with(ours))
print(child.pid, flush=True)
os.kill(ours, 9)
"""
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False, timeout=30)
    # Its standard output is the child's as well: run() has waited for both to end.
    assert ran.returncode == -signal.SIGKILL
    assert ran.stdout.strip().isdigit()
