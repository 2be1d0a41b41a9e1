"""The checks of ``credgate doctor`` on the machine."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import dnslib
import pytest

from credgate.cli import checks
from credgate.cli.checks import OK, UNKNOWN, WRONG

if TYPE_CHECKING:
    from pathlib import Path


def test_control_socket_states(tmp_path: Path) -> None:
    """Each problem has its own text and command."""
    path = tmp_path / "s"
    missing = checks.control_socket(path)
    assert (missing.state, missing.mend[:18]) == (WRONG, "twistd -n credgate")
    path.touch()
    assert "is not a socket" in checks.control_socket(path).text
    path.unlink()
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        assert checks.control_socket(path).state == OK
        tmp_path.chmod(0o777)
        found = checks.control_socket(path)
    assert (found.state, found.mend) == (WRONG, f"chmod go-w {tmp_path}")


def test_inaccessible_socket_directory_is_reported_with_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is distinguished from a missing gateway."""

    def locked(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.lstat", locked)
    found = checks.control_socket(tmp_path / "s")
    assert (found.state, found.mend) == (WRONG, "sudo credgate doctor")
    assert f"uid {os.geteuid()} has no access to" in found.text


def test_port_is_ok_if_it_accepts_a_connection() -> None:
    """Also if it is bound to all addresses."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        assert checks.port("git port", f"0.0.0.0:{port}").state == OK
    assert checks.port("git port", f"127.0.0.1:{port}").state == WRONG
    assert checks.port("git port", "").state == WRONG
    assert checks.port("git port", "/run/git.sock").state == UNKNOWN


def test_resolver_is_ok_if_it_answers() -> None:
    """Any answer is accepted; a missing or malformed one is wrong."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        port = server.getsockname()[1]

        def serve() -> None:
            query, peer = server.recvfrom(4096)
            server.sendto(dnslib.DNSRecord.parse(query).reply().pack(), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert checks.resolver(f"127.0.0.1#{port}").state == OK
        thread.join()
    silent = checks.resolver(f"127.0.0.1#{port}")
    assert (silent.state, "[dns] upstream" in silent.mend) == (WRONG, True)


def test_clock_state_on_this_machine() -> None:
    """In a container the kernel may not know it."""
    assert checks.clock().state in {OK, UNKNOWN}


@pytest.mark.parametrize(
    ("answer", "state", "text"),
    [
        (0, OK, "synchronised"),
        (5, UNKNOWN, "the kernel reports that it is not synchronised"),
        (-1, UNKNOWN, "does not report"),
        (OSError(), UNKNOWN, "does not report"),
    ],
)
def test_clock_state_follows_the_kernels_report(
    monkeypatch: pytest.MonkeyPatch, answer: object, state: str, text: str
) -> None:
    """The clock is not changed."""
    asked: list[int] = []

    class Libc:
        """The C library."""

        def __init__(self, *_: object, **__: object) -> None:
            """Load it."""

        def adjtimex(self, state: Any) -> object:
            """Return the prepared state; record ``modes``, which would change the clock."""
            asked.append(state._obj.modes)
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(checks.ctypes, "CDLL", Libc)
    found = checks.clock()
    assert (found.state, text in found.text) == (state, True)
    assert asked == [0]


@pytest.mark.parametrize(
    ("status", "expected", "state", "mend"),
    [
        (0, ["enabled: http://gateway:8080", "session: /run/secrets/gateway_token"], OK, ""),
        (0, ["enabled: http://gateway:8080", "session: none (x is missing)"], WRONG, "credgate session create"),
        (1, ["disabled"], WRONG, "credgate-sandbox enable"),
        (3, ["git is not installed"], WRONG, "apt-get install git"),
        (4, ["credgate-sandbox is not installed"], WRONG, "docker cp git-credential-credgate"),
        (125, ["Error: no such container"], UNKNOWN, "docker ps"),
        (137, [], UNKNOWN, "docker ps"),
    ],
)
def test_container_state_follows_its_helpers_report(status: int, expected: list[str], state: str, mend: str) -> None:
    """Each problem has a command that can be copied."""
    found = checks.judge_container("docker", "box", status, expected)
    assert (found.state, mend in found.mend) == (state, True)


def test_container_is_checked_with_the_installed_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the engine is a script."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks.container("box").state == UNKNOWN
    engine = tmp_path / "podman"
    engine.write_text('#!/bin/sh\n[ "$1 $2" = "exec box" ] || exit 125\necho enabled\n')
    engine.chmod(0o755)
    assert checks.container("box").state == OK
    assert checks.container("other").state == UNKNOWN
    engine.write_text("not a program")
    broken = checks.container("box")
    assert (broken.state, broken.text.startswith("podman exec: ")) == (UNKNOWN, True)


def test_container_output_and_time_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning of the output is read; a silent container times out."""
    engine = tmp_path / "podman"
    engine.write_text("#!/bin/sh\nexec /bin/cat /dev/zero\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    talking = checks.container("box")
    assert (talking.state, len(talking.text)) == (UNKNOWN, 200)
    monkeypatch.setattr(checks, "CONTAINER_TIMEOUT", 0.2)
    engine.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    silent = checks.container("box")
    assert (silent.state, "timed out after 0.2 seconds" in silent.text) == (UNKNOWN, True)
