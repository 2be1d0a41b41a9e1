"""Process 1 of an isolated command, here without namespaces (with them: ``tests/e2e/test_run.py``)."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import closing

import pytest
from attrs import define

from tests.fakes.run_processes import LIMIT, program
from tests.fakes.waiting import free_port


@define
class Pid1:
    """The process, and our ends of its two sockets."""

    process: subprocess.Popen[str]
    wrapper: socket.socket
    supervisor: socket.socket
    port: int

    def accept(self) -> socket.socket:
        """Receive the listening socket and answer, as the supervisor does."""
        _, (descriptor,), _, _ = socket.recv_fds(self.supervisor, 16, 1)
        self.supervisor.send(b"1")
        return socket.socket(fileno=descriptor)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return exit status, standard output and standard error."""
        out, err = self.process.communicate(timeout=LIMIT)
        self.wrapper.close()
        self.supervisor.close()
        return self.process.returncode, out, err


def start(*command: str) -> Pid1:
    """Start process 1 for a command."""
    (wrapper, to_wrapper), (supervisor, to_supervisor) = socket.socketpair(), socket.socketpair()
    port = free_port()
    for one in (wrapper, supervisor):
        one.settimeout(LIMIT)
    fds = to_wrapper.fileno(), to_supervisor.fileno()
    with to_wrapper, to_supervisor:
        words = program("credgate.cli.run.pid1", *map(str, fds), str(port), *command, given="sys.argv[1:]")
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process = subprocess.Popen(words, pass_fds=fds, text=True, **pipes)  # type: ignore[call-overload]  # mypy cannot follow **
    return Pid1(process, wrapper, supervisor, port)


def test_command_starts_after_the_supervisor_accepts_connections() -> None:
    """Its first git must not be refused. Output and exit status are the command's."""
    pid1 = start("sh", "-c", "echo out; echo err >&2; exit 7")
    assert pid1.wrapper.recv(1) == b"1"
    with pid1.accept() as listener, closing(socket.create_connection(("127.0.0.1", pid1.port), LIMIT)):
        assert listener.getsockname() == ("127.0.0.1", pid1.port)
    assert pid1.end() == (7, "out\n", "err\n")


def test_command_runs_without_a_gateway_if_the_supervisor_has_ended() -> None:
    """It must not wait for the supervisor without end."""
    pid1 = start("sh", "-c", "exit 3")
    pid1.supervisor.close()
    assert pid1.end()[0] == 3


@pytest.mark.parametrize(("name", "status"), [("/no/such/command", 127), ("/etc/passwd", 126)])
def test_command_that_cannot_be_started_has_the_status_of_a_shell(name: str, status: int) -> None:
    """One line on standard error has the reason."""
    pid1 = start(name)
    pid1.accept().close()
    code, out, err = pid1.end()
    assert (code, out, err.startswith(f"credgate: {name}: ")) == (status, "", True)


def test_signal_is_forwarded_to_the_command() -> None:
    """SIGINT, which bubblewrap ignores, has its default action in the command."""
    pid1 = start("sh", "-c", "trap 'exit 4' TERM; trap 'exit 5' INT; echo ready; while :; do read x; done")
    pid1.accept().close()
    assert pid1.process.stdout is not None
    assert pid1.process.stdout.readline() == "ready\n"
    pid1.process.send_signal(signal.SIGINT)
    assert pid1.end()[0] == 5


def test_orphaned_process_is_reaped() -> None:
    """The end of the command is the end of process 1 all the same."""
    pid1 = start("sh", "-c", "(true &); exit 6")
    pid1.accept().close()
    assert pid1.end()[0] == 6
