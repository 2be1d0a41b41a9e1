"""The supervisor: it creates a session and revokes it, however the wrapper ends (with git: ``tests/e2e``)."""

from __future__ import annotations

import http.client
import os
import socket
import stat
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from credgate.cli.output import CommandError
from credgate.cli.run import supervisor
from tests.fakes.control_gateway import within
from tests.fakes.run_processes import LIMIT, Wrapper, request

if TYPE_CHECKING:
    from tests.fakes.control_gateway import Gateway


def remaining(home: Path) -> list[str]:
    """Return the directories of sessions that exist."""
    return sorted(path.name for path in home.glob("credgate-run-*"))


async def start(given: dict[str, Any]) -> tuple[Wrapper, dict[str, Any]]:
    """Start a supervisor and wait for its result, while the reactor runs."""
    wrapper = Wrapper.start(given)
    return wrapper, await within(deferToThread(wrapper.result))


async def end(wrapper: Wrapper) -> tuple[int, str]:
    """Close the pipe and wait for the supervisor's end."""
    result: tuple[int, str] = await within(deferToThread(wrapper.end))
    return result


@pytest_twisted.ensureDeferred
async def test_session_exists_until_the_pipe_ends(gateway: Gateway, home: Path) -> None:
    """Then it is revoked and its directory is removed."""
    wrapper, result = await start(request(gateway.socket, "octo/hello"))
    (session,) = gateway.registry.all()
    assert (session.id, session.label, str(session.bound_to)) == (result["id"], "run", "127.0.0.1/32")
    assert (result["url"], result["address"], result["private"]) == ("http://127.0.0.1:8080", "127.0.0.1:8080", False)
    assert [forge["name"] for forge in result["forges"]] == ["github.com", "git.example"]
    assert Path(result["directory"]).parent.parent == home
    assert await end(wrapper) == (0, "")
    assert gateway.registry.all() == []
    assert remaining(home) == []


@pytest_twisted.ensureDeferred
async def test_secret_is_only_in_a_file_that_no_other_user_can_read(gateway: Gateway) -> None:
    """The result that is sent to the wrapper does not contain it."""
    wrapper, result = await start(request(gateway.socket, "octo/hello"))
    directory = Path(result["directory"])
    token, _, secret = (directory / "token").read_text().strip().partition(":")
    assert gateway.registry.authenticate(token, secret, "127.0.0.1") is not None
    modes = {name: stat.S_IMODE((directory / name).stat().st_mode) for name in (".", "home", "token", "gitconfig")}
    assert modes == {".": 0o700, "home": 0o700, "token": 0o400, "gitconfig": 0o600}
    assert secret not in str(result)
    await end(wrapper)


@pytest_twisted.ensureDeferred
async def test_refusal_is_reported_with_the_gateways_message(gateway: Gateway, home: Path) -> None:
    """No directory and no session remains."""
    wrapper, result = await start(request(gateway.socket, "octo/hello", session={"repos": ["no such form"]}))
    assert result["exit"] == 1
    assert "octo/hello" not in result["error"]
    assert "no such form" in result["error"]
    assert await end(wrapper) == (1, "")
    assert (gateway.registry.all(), remaining(home)) == ([], [])


def test_missing_gateway_has_status_3(home: Path) -> None:
    """As for every command that uses a gateway."""
    wrapper = Wrapper.start(request(home / "none"))
    result = wrapper.result()
    assert (result["exit"], "no gateway answers" in result["error"]) == (3, True)
    assert wrapper.end() == (3, "")
    assert remaining(home) == []


def test_wrapper_that_ends_without_a_request_leaves_nothing(home: Path) -> None:
    """Nothing was created."""
    wrapper = Wrapper.start(None)
    assert wrapper.end()[0] == 1
    assert remaining(home) == []


@pytest_twisted.ensureDeferred
async def test_session_that_cannot_be_revoked_is_a_failure(gateway: Gateway, home: Path) -> None:
    """The files are removed all the same."""
    wrapper, result = await start(request(gateway.socket, "octo/hello"))
    gateway.socket.unlink()
    assert await end(wrapper) == (3, "")
    assert [one.id for one in gateway.registry.all()] == [result["id"]]
    assert remaining(home) == []


# With a private gateway.


def config(home: Path, text: str = "") -> str:
    """Write a configuration file."""
    path = home / "credgate.toml"
    path.write_text(text or '[forges."github.com"]\nkind = "github"\nurl = "https://github.com"\n')
    return str(path)


def health(port: int) -> int:
    """Return the status of a gateway's ``/health``."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().status


def test_private_gateway_lives_as_long_as_the_session(home: Path) -> None:
    """It is reached by its own port and by the listening socket of an isolated command."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours, theirs = socket.socketpair()
        wrapper = Wrapper.start(
            request(None, "octo/hello", config=config(home), channel=theirs.fileno()), fds=[theirs.fileno()]
        )
        theirs.close()
        result = wrapper.result()
        with ours:
            ours.settimeout(LIMIT)
            socket.send_fds(ours, [b"listener"], [listener.fileno()])
            assert ours.recv(1) == b"1"
        port = int(result["address"].rpartition(":")[2])
        assert result["private"]
        assert [health(port), health(listener.getsockname()[1])] == [200, 200]
        assert wrapper.end() == (0, "")
    with pytest.raises(ConnectionRefusedError):
        health(port)
    assert remaining(home) == []


def test_command_that_was_not_started_sends_no_listening_socket(home: Path) -> None:
    """Its end of the channel is closed. The session exists until the wrapper ends."""
    ours, theirs = socket.socketpair()
    wrapper = Wrapper.start(request(None, config=config(home), channel=theirs.fileno()), fds=[theirs.fileno()])
    theirs.close()
    wrapper.result()
    ours.close()
    assert wrapper.end() == (0, "")
    assert remaining(home) == []


def test_gateway_that_does_not_start_is_reported_with_its_last_log_line(home: Path) -> None:
    """Status 2, as for every invalid configuration."""
    wrapper = Wrapper.start(request(None, config=config(home, "[nonsense]\n")))
    result = wrapper.result()
    assert result["error"].startswith("the gateway did not start: ")
    assert "nonsense" in result["error"]
    assert (result["exit"], wrapper.end()[0]) == (2, 2)
    assert remaining(home) == []


@pytest_twisted.ensureDeferred
async def test_gateway_that_does_not_become_ready_is_stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the end of its standard input."""
    monkeypatch.setattr(supervisor, "START_TIMEOUT", 0.2)
    monkeypatch.setattr(supervisor, "TWISTD", "import sys; sys.stdin.read()")
    session = supervisor.CommandSession(home / "session")
    (session.directory / "gateway").mkdir(parents=True)
    with pytest.raises(CommandError, match=r"was not ready within 0\.2 s: its log is empty") as caught:
        await within(Deferred.fromCoroutine(session.start_gateway(None)))
    assert caught.value.status == 3
    await within(Deferred.fromCoroutine(session.close()))
    assert session.gateway is not None
    assert session.gateway.poll() == 0
    assert not session.directory.exists()


class OtherGateway:
    """The control API of a gateway with another git listener."""

    def __init__(self, git: str) -> None:
        self.git, self.requests, self.socket = git, [], Path("/nowhere")  # type: ignore[var-annotated]

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Answer as the control API does."""
        self.requests.append((method, path, body))
        if method == "GET":
            return {"listeners": {"git": self.git}, "forges": [], "default_forge": ""}
        return {"id": "s-1", "token": "t", "secret": "s"}


async def create(home: Path, monkeypatch: pytest.MonkeyPatch, git: str) -> OtherGateway:
    """Create a session at a gateway with this git listener."""
    control = OtherGateway(git)
    monkeypatch.setattr(supervisor, "ControlClient", lambda _: control)
    session = supervisor.CommandSession(home / "session")
    session.directory.mkdir()
    await session.create(request(Path("x"), "octo/hello"))
    return control


@pytest_twisted.ensureDeferred
async def test_no_session_is_created_if_git_cannot_reach_the_gateway(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git connects to TCP ports only; it would fail later with a less helpful message."""
    with pytest.raises(CommandError, match=r"\(/run/git.sock\) is not a TCP port"):
        await create(home, monkeypatch, "/run/git.sock")


@pytest.mark.parametrize(
    ("git", "bind"), [("127.0.0.1:80", "127.0.0.1"), ("0.0.0.0:80", "127.0.0.1"), ("10.0.0.1:80", None)]
)
@pytest_twisted.ensureDeferred
async def test_session_is_bound_to_loopback_if_the_gateway_is_there(
    home: Path, monkeypatch: pytest.MonkeyPatch, git: str, bind: str | None
) -> None:
    """The address by which another gateway sees this machine is not known."""
    control = await create(home, monkeypatch, git)
    assert control.requests[-1][2]["bind"] == bind


def test_session_directory_is_in_the_users_runtime_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If that is not set or not writable, the default directory for temporary files is used."""
    assert supervisor.private_directory() == str(home)
    for wrong in ("relative", str(home / "none"), ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", wrong)
        assert supervisor.private_directory() is None


@pytest.mark.parametrize(
    ("sent", "line", "rest"), [(b'{"a": 1}\nx', b'{"a": 1}\n', b"x"), (b'{"a"', b'{"a"', b"")], ids=["whole", "cut"]
)
def test_read_line_reads_no_byte_after_the_line(sent: bytes, line: bytes, rest: bytes) -> None:
    """What follows is for another reader."""
    reading, writing = os.pipe()
    os.write(writing, sent)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        assert supervisor.read_line(pipe) == line
        assert pipe.read() == rest


def test_only_the_end_of_input_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes on the pipe are ignored."""
    reading, writing = os.pipe()
    read = os.read
    monkeypatch.setattr(os, "read", lambda _, size: read(reading, size))
    waiting = threading.Thread(target=supervisor.wait_for_end_of_input)
    waiting.start()
    os.write(writing, b"noise")
    waiting.join(0.2)
    assert waiting.is_alive()
    os.close(writing)
    waiting.join(LIMIT)
    assert not waiting.is_alive()
    os.close(reading)
