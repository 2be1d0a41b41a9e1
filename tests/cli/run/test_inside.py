"""Process 1 behind the walls: hands the door out, runs the command as if it had been started directly (walls: e2e)."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import closing

import pytest
from attrs import define

from tests.fakes.keeping import LIMIT, program
from tests.fakes.waiting import free_port


@define
class Inside:
    """One that was started without walls, and our ends of its two sockets."""

    process: subprocess.Popen[str]
    wrapper: socket.socket
    keeper: socket.socket
    port: int

    def door(self) -> socket.socket:
        """Take the listening socket, as the keeper does, and say so."""
        _, (descriptor,), _, _ = socket.recv_fds(self.keeper, 16, 1)
        self.keeper.send(b"1")
        return socket.socket(fileno=descriptor)

    def end(self) -> tuple[int, str, str]:
        """Wait for it."""
        out, err = self.process.communicate(timeout=LIMIT)
        self.wrapper.close()
        self.keeper.close()
        return self.process.returncode, out, err


def start(*command: str) -> Inside:
    """Start one for a command."""
    (wrapper, telling), (keeper, door), port = socket.socketpair(), socket.socketpair(), free_port()
    for one in (wrapper, keeper):
        one.settimeout(LIMIT)
    descriptors = telling.fileno(), door.fileno()
    with telling, door:
        words = program("credgate.cli.run.inside", *map(str, descriptors), str(port), *command, given="sys.argv[1:]")
        process = subprocess.Popen(
            words,
            pass_fds=descriptors,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    return Inside(process, wrapper, keeper, port)


def test_the_command_starts_when_the_door_is_open() -> None:
    """Its first git must not find a port that nobody listens on; what it says and its status are its own."""
    inside = start("sh", "-c", "echo out; echo err >&2; exit 7")
    assert inside.wrapper.recv(1) == b"1"
    with inside.door() as door, closing(socket.create_connection(("127.0.0.1", inside.port), LIMIT)):
        assert door.getsockname() == ("127.0.0.1", inside.port)
    assert inside.end() == (7, "out\n", "err\n")


def test_a_keeper_that_is_gone_leaves_a_command_without_a_gateway() -> None:
    """It is run all the same, and its git says that nobody answers: a wrapper that died is no reason to hang."""
    inside = start("sh", "-c", "exit 3")
    inside.keeper.close()
    assert inside.end()[0] == 3


@pytest.mark.parametrize(("name", "status"), [("/no/such/command", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_run_is_one_line_and_the_shell_s_status(name: str, status: int) -> None:
    """As without walls."""
    inside = start(name)
    inside.door().close()
    code, out, err = inside.end()
    assert (code, out, err.startswith(f"credgate: {name}: ")) == (status, "", True)


def test_a_signal_is_the_command_s() -> None:
    """What was ignored while the walls were built is not ignored by the command."""
    inside = start("sh", "-c", "trap 'exit 4' TERM; trap 'exit 5' INT; echo ready; while :; do read x; done")
    inside.door().close()
    assert inside.process.stdout is not None
    assert inside.process.stdout.readline() == "ready\n"
    inside.process.send_signal(signal.SIGINT)
    assert inside.end()[0] == 5


def test_an_orphan_is_waited_for_by_nobody_else() -> None:
    """Process 1 takes what lost its parent; the command's end is the end all the same."""
    inside = start("sh", "-c", "(true &); exit 6")
    inside.door().close()
    assert inside.end()[0] == 6
