"""The keeper: a session that is made, told of, and ended however its wrapper ends (with real git: ``tests/e2e``)."""

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

from credgate.cli.output import CommandError, GatewayUnreachable
from credgate.cli.run import supervisor
from tests.fakes.control_gateway import within
from tests.fakes.keeping import LIMIT, Wrapper, orders

if TYPE_CHECKING:
    from tests.fakes.control_gateway import Gateway


def left(home: Path) -> list[str]:
    """Return the directories of sessions that are there."""
    return sorted(path.name for path in home.glob("credgate-run-*"))


async def begun(given: dict[str, Any]) -> tuple[Wrapper, dict[str, Any]]:
    """Start a keeper and wait for its line, while the reactor goes on."""
    wrapper = Wrapper.start(given)
    return wrapper, await within(deferToThread(wrapper.told))


async def ended(wrapper: Wrapper) -> tuple[int, str]:
    """Let go, and wait for its end."""
    said: tuple[int, str] = await within(deferToThread(wrapper.end))
    return said


@pytest_twisted.ensureDeferred
async def test_a_session_is_there_until_the_pipe_ends(gateway: Gateway, home: Path) -> None:
    """However the wrapper ended: then it is revoked, and nothing of it lies about."""
    wrapper, told = await begun(orders(gateway.socket, "octo/hello"))
    (held,) = gateway.registry.all()
    assert (held.id, held.label, str(held.bound_to)) == (told["id"], "run", "127.0.0.1/32")
    assert (told["url"], told["address"], told["private"]) == ("http://127.0.0.1:8080", "127.0.0.1:8080", False)
    assert [forge["name"] for forge in told["forges"]] == ["github.com", "git.example"]
    assert Path(told["box"]).parent.parent == home
    assert await ended(wrapper) == (0, "")
    assert gateway.registry.all() == []
    assert left(home) == []


@pytest_twisted.ensureDeferred
async def test_the_token_is_in_a_file_that_no_other_user_reads(gateway: Gateway) -> None:
    """And nowhere in what is told: that line goes through a pipe into the wrapper's memory."""
    wrapper, told = await begun(orders(gateway.socket, "octo/hello"))
    box = Path(told["box"])
    token, _, secret = (box / "token").read_text().strip().partition(":")
    assert gateway.registry.authenticate(token, secret, "127.0.0.1") is not None
    modes = {name: stat.S_IMODE((box / name).stat().st_mode) for name in (".", "home", "token", "gitconfig")}
    assert modes == {".": 0o700, "home": 0o700, "token": 0o400, "gitconfig": 0o600}
    assert secret not in str(told)
    await ended(wrapper)


@pytest_twisted.ensureDeferred
async def test_what_the_gateway_refuses_is_told_in_its_words(gateway: Gateway, home: Path) -> None:
    """With an exit status; no directory and no session is left of the attempt."""
    wrapper, told = await begun(orders(gateway.socket, "octo/hello", session={"repos": ["no such form"]}))
    assert told["exit"] == 1
    assert "octo/hello" not in told["error"]
    assert "no such form" in told["error"]
    assert await ended(wrapper) == (1, "")
    assert (gateway.registry.all(), left(home)) == ([], [])


def test_a_gateway_that_is_not_there_is_status_3(home: Path) -> None:
    """As for every command that asks one."""
    wrapper = Wrapper.start(orders(home / "none"))
    told = wrapper.told()
    assert (told["exit"], "no gateway answers" in told["error"]) == (3, True)
    assert wrapper.end() == (3, "")
    assert left(home) == []


def test_a_wrapper_that_dies_before_it_said_anything_leaves_nothing(home: Path) -> None:
    """Nothing was made, so nothing has to end."""
    wrapper = Wrapper.start(None)
    assert wrapper.end()[0] == 1
    assert left(home) == []


@pytest_twisted.ensureDeferred
async def test_a_session_that_cannot_be_revoked_is_no_success(gateway: Gateway, home: Path) -> None:
    """The wrapper then says how to end it by hand; what lay on the disk is gone all the same."""
    wrapper, told = await begun(orders(gateway.socket, "octo/hello"))
    gateway.socket.unlink()
    assert await ended(wrapper) == (3, "")
    assert [one.id for one in gateway.registry.all()] == [told["id"]]
    assert left(home) == []


# A gateway of its own.


def config(home: Path, text: str = "") -> str:
    """Write a configuration."""
    path = home / "credgate.toml"
    path.write_text(text or '[forges."github.com"]\nkind = "github"\nurl = "https://github.com"\n')
    return str(path)


def health(port: int) -> int:
    """Ask a gateway whether it is well."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().status


def test_a_private_gateway_lives_as_long_as_the_session(home: Path) -> None:
    """It serves at a port of its own, and at the door of an isolated command; then neither answers."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        ours, theirs = socket.socketpair()
        given = orders(None, "octo/hello", config=config(home), door=theirs.fileno())
        wrapper = Wrapper.start(given, fds=[theirs.fileno()])
        theirs.close()
        told = wrapper.told()
        with ours:
            ours.settimeout(LIMIT)
            socket.send_fds(ours, [b"door"], [door.fileno()])
            assert ours.recv(1) == b"1"
        port = int(told["address"].rpartition(":")[2])
        assert told["private"]
        assert [health(port), health(door.getsockname()[1])] == [200, 200]
        assert wrapper.end() == (0, "")
    with pytest.raises(ConnectionRefusedError):
        health(port)
    assert left(home) == []


def test_a_command_that_never_started_opens_no_door(home: Path) -> None:
    """Its end of the pair closes without a word; the session is kept until the wrapper ends all the same."""
    ours, theirs = socket.socketpair()
    given = orders(None, config=config(home), door=theirs.fileno())
    wrapper = Wrapper.start(given, fds=[theirs.fileno()])
    theirs.close()
    wrapper.told()
    ours.close()
    assert wrapper.end() == (0, "")
    assert left(home) == []


def test_a_gateway_that_does_not_start_says_why(home: Path) -> None:
    """The last line of its log is the one that a person needs; status 2, as for any configuration."""
    wrapper = Wrapper.start(orders(None, config=config(home, "[nonsense]\n")))
    told = wrapper.told()
    assert told["error"].startswith("the gateway did not start: ")
    assert "nonsense" in told["error"]
    assert (told["exit"], wrapper.end()[0]) == (2, 2)
    assert left(home) == []


@pytest_twisted.ensureDeferred
async def test_a_gateway_that_is_never_ready_is_given_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, by the same leash that ends it with its wrapper."""
    monkeypatch.setattr(supervisor, "START", 0.2)
    monkeypatch.setattr(supervisor, "TWISTD", "import sys; sys.stdin.read()")
    kept = supervisor.PrivateSession(home / "kept")
    (kept.directory / "gateway").mkdir(parents=True)
    with pytest.raises(CommandError, match=r"was not ready in 0\.2 s: it said nothing") as caught:
        await within(Deferred.fromCoroutine(supervisor._gateway(kept, None)))
    assert caught.value.status == 3
    await within(Deferred.fromCoroutine(kept.end()))
    assert kept.gateway is not None
    assert kept.gateway.poll() == 0
    assert not kept.directory.exists()


class Elsewhere:
    """A gateway whose git listener is no TCP port, or another machine's."""

    def __init__(self, git: str) -> None:
        self.git, self.asked, self.socket = git, [], Path("/nowhere")  # type: ignore[var-annotated]

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Answer as the control API does."""
        self.asked.append((method, path, body))
        if method == "GET":
            return {"listeners": {"git": self.git}, "forges": [], "default_forge": ""}
        return {"id": "s-1", "token": "t", "secret": "s"}


async def made(home: Path, monkeypatch: pytest.MonkeyPatch, git: str) -> tuple[Elsewhere, dict[str, Any]]:
    """Make a session at a gateway that listens there."""
    control = Elsewhere(git)
    monkeypatch.setattr(supervisor, "Control", lambda _: control)
    kept = supervisor.PrivateSession(home / "kept")
    kept.directory.mkdir()
    return control, await supervisor._made(kept, orders(Path("x"), "octo/hello"))


@pytest_twisted.ensureDeferred
async def test_a_gateway_that_git_cannot_reach_gets_no_session(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git speaks to TCP ports alone: it would fail later, and say less."""
    with pytest.raises(CommandError, match=r"\(/run/git.sock\) is no TCP port"):
        await made(home, monkeypatch, "/run/git.sock")


@pytest.mark.parametrize(
    ("git", "bind"), [("127.0.0.1:80", "127.0.0.1"), ("0.0.0.0:80", "127.0.0.1"), ("10.0.0.1:80", None)]
)
@pytest_twisted.ensureDeferred
async def test_a_session_is_for_this_machine_where_that_can_be_told(
    home: Path, monkeypatch: pytest.MonkeyPatch, git: str, bind: str | None
) -> None:
    """A gateway on loopback sees loopback; one elsewhere sees an address that nobody here knows for certain."""
    control, _ = await made(home, monkeypatch, git)
    assert control.asked[-1][2]["bind"] == bind


def test_directories_are_made_where_only_this_user_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such place, or none that can be written, the usual one has to do."""
    assert supervisor._place() == str(home)
    for wrong in ("relative", str(home / "none"), ""):
        monkeypatch.setenv("XDG_RUNTIME_DIR", wrong)
        assert supervisor._place() is None


def test_a_line_is_read_and_not_a_byte_more() -> None:
    """What is behind it is the pipe's end, which somebody else waits for; a line that breaks off is what came."""
    for sent, line, rest in ((b'{"a": 1}\nx', b'{"a": 1}\n', b"x"), (b'{"a"', b'{"a"', b"")):
        reading, writing = os.pipe()
        os.write(writing, sent)
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            assert supervisor._line(pipe) == line
            assert pipe.read() == rest


def test_who_waits_waits_for_the_end_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapper says nothing more; bytes on the pipe would be no reason to end its session."""
    reading, writing = os.pipe()
    read = os.read
    monkeypatch.setattr(os, "read", lambda _, size: read(reading, size))
    waiting = threading.Thread(target=supervisor._until_end)
    waiting.start()
    os.write(writing, b"noise")
    waiting.join(0.2)
    assert waiting.is_alive()
    os.close(writing)
    waiting.join(LIMIT)
    assert not waiting.is_alive()
    os.close(reading)


def test_unreachable_is_a_failure() -> None:
    """``keep`` names one error: whoever catches it catches both."""
    assert issubclass(GatewayUnreachable, CommandError)
