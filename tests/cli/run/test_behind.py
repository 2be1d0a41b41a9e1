"""A command behind walls, without walls: what is told to whom (with walls: ``tests/e2e/test_run.py``).

In a process of its own: signals are waited for, and another thread of the tests' would take them.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from credgate.cli.run import behind
from credgate.cli.run.signals import NotRun

RUN = """
import os, sys
from credgate.cli import behind
door, port, *words = sys.argv[1:]
started = lambda: print("started", flush=True)
sys.exit(behind.run(
    words, ["sh", "-c", "exit 7"], os.environ, door=int(door), port=int(port), started=started, share_terminal=True
))
"""


def begin(door: socket.socket, port: int, *words: str) -> subprocess.Popen[str]:
    """Start it, with ``words`` for walls."""
    command = [sys.executable, "-c", RUN, str(door.fileno()), str(port), *words]
    return subprocess.Popen(command, pass_fds=(door.fileno(),), stdout=subprocess.PIPE, text=True)


def test_its_status_passes_and_the_keeper_gets_the_door() -> None:
    """The door is a listening socket on the port that the command is told."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keeper, theirs = socket.socketpair()
    keeper.settimeout(30)
    with keeper, theirs, begin(theirs, port) as process:
        _, received, _, _ = socket.recv_fds(keeper, 16, 1)
        with socket.socket(fileno=received[0]) as door:
            assert door.getsockname() == ("127.0.0.1", port)
        keeper.send(b"1")
        assert process.communicate(timeout=30) == ("started\n", None)
    assert process.returncode == 7


def test_walls_that_fall_are_their_builder_s_status() -> None:
    """Nobody says that it is process 1 then, and nobody waits for that."""
    ours, theirs = socket.socketpair()
    with ours, theirs, begin(theirs, 1, "sh", "-c", "exit 2", "--") as process:
        assert process.communicate(timeout=30) == ("started\n", None)
    assert process.returncode == 2


def test_walls_that_cannot_be_run_are_said() -> None:
    """Nothing was started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(NotRun):
        behind.run(["/no/such/program"], ["true"], {}, door=0, port=1, started=lambda: None, share_terminal=True)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
