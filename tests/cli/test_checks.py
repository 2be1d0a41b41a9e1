"""What the doctor looks at on the machine."""

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


def test_a_socket_that_is_there_and_closed_is_well(tmp_path: Path) -> None:
    """Each thing that can be wrong has its own words, and a command."""
    path = tmp_path / "s"
    missing = checks.control_socket(path)
    assert (missing.state, missing.mend[:18]) == (WRONG, "twistd -n credgate")
    path.touch()
    assert "is no socket" in checks.control_socket(path).text
    path.unlink()
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        assert checks.control_socket(path).state == OK
        tmp_path.chmod(0o777)
        found = checks.control_socket(path)
    assert (found.state, found.mend) == (WRONG, f"chmod go-w {tmp_path}")


def test_a_directory_that_may_not_be_entered_is_another_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a gateway that is not there: the command that mends it is another."""

    def locked(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.lstat", locked)
    found = checks.control_socket(tmp_path / "s")
    assert (found.state, found.mend) == (WRONG, "sudo credgate doctor")
    assert f"may not be entered by uid {os.geteuid()}" in found.text


def test_a_port_is_connected_to() -> None:
    """Whatever address it is bound to."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        assert checks.port("git port", f"0.0.0.0:{port}").state == OK
    assert checks.port("git port", f"127.0.0.1:{port}").state == WRONG
    assert checks.port("git port", "").state == WRONG
    assert checks.port("git port", "/run/git.sock").state == UNKNOWN


def test_a_resolver_is_asked() -> None:
    """Any answer will do: whether it resolves is not the gateway's matter; none at all is."""
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


def test_the_clock_is_asked_and_not_set() -> None:
    """In a container the kernel may not know."""
    assert checks.clock().state in {OK, UNKNOWN}


@pytest.mark.parametrize(
    ("answer", "state", "text"),
    [
        (0, OK, "synchronised"),
        (5, UNKNOWN, "not synchronised, says the kernel"),
        (-1, UNKNOWN, "does not say"),
        (OSError(), UNKNOWN, "does not say"),
    ],
)
def test_a_clock_is_judged_by_what_the_kernel_says(
    monkeypatch: pytest.MonkeyPatch, answer: object, state: str, text: str
) -> None:
    """A container's may not know, which is no fault; it is told with the command that helps where it is one."""
    asked: list[int] = []

    class Libc:
        """The C library, of which one function is asked."""

        def __init__(self, *_: object, **__: object) -> None:
            """Open it."""

        def adjtimex(self, state: Any) -> object:
            """Answer; what would change the clock is written down."""
            asked.append(state._obj.modes)
            if isinstance(answer, Exception):
                raise answer
            return answer

    monkeypatch.setattr(checks.ctypes, "CDLL", Libc)
    found = checks.clock()
    assert (found.state, text in found.text) == (state, True)
    assert asked == [0]


@pytest.mark.parametrize(
    ("status", "said", "state", "mend"),
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
def test_a_container_is_judged_by_what_its_own_helper_says(status: int, said: list[str], state: str, mend: str) -> None:
    """And the command that mends it is one to copy."""
    found = checks.judged("container box", "docker", "box", status, said)
    assert (found.state, mend in found.mend) == (state, True)


def test_a_container_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through whichever engine is there; here a stand-in that runs the words in this machine's sh."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks.container("box").state == UNKNOWN
    engine = tmp_path / "podman"
    engine.write_text('#!/bin/sh\n[ "$1 $2" = "exec box" ] || exit 125\necho enabled\n')
    engine.chmod(0o755)
    assert checks.container("box").state == OK
    assert checks.container("other").state == UNKNOWN
    engine.write_text("no program of this machine's")
    broken = checks.container("box")
    assert (broken.state, broken.text.startswith("podman exec: ")) == (UNKNOWN, True)


def test_a_container_that_does_not_stop_talking_or_says_nothing_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few KiB are read of what it says; one that is silent is given up."""
    engine = tmp_path / "podman"
    engine.write_text("#!/bin/sh\nexec /bin/cat /dev/zero\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    talking = checks.container("box")
    assert (talking.state, len(talking.text)) == (UNKNOWN, 200)
    monkeypatch.setattr(checks, "_CONTAINER_PATIENCE", 0.2)
    engine.write_text("#!/bin/sh\nexec /bin/sleep 600\n")
    silent = checks.container("box")
    assert (silent.state, "timed out after 0.2 seconds" in silent.text) == (UNKNOWN, True)
