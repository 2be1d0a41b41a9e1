"""``twistd credgate``: everything that can be wrong stops the start with one line; parts start and stop in order."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.application.service import MultiService, Service
from twisted.internet import defer
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import globalLogPublisher

import credgate
from credgate.config.schema import Config, ListenConfig
from credgate.errors import ConfigError
from credgate.service import tap
from credgate.service.audit.log import AuditLog
from credgate.service.registry import SessionRegistry
from credgate.service.sandbox.listener import Sweep
from credgate.values import RepoPath
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from twisted.python.failure import Failure

SECRET = "ghp_0123456789abcdef"
CONFIG = """
[listen]
git = "{git}"
control = "{folder}/run/control.sock"
dns = "{dns}"
[sessions]
store = "memory:"
[audit]
to = "{folder}/audit.log"
[forges."github.com"]
kind = "github"
url = "https://github.com"
credential = "{credential}"
"""


@pytest.fixture(autouse=True)
def _unhardened(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a process gives up it cannot take back: see test_process.
    monkeypatch.setattr(tap, "harden", lambda: None)
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """Collect what is logged by this module."""
    lines: list[str] = []

    def note(event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "credgate.service.tap":
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(note)
    yield lines
    globalLogPublisher.removeObserver(note)


def options(folder: Path, text: str = CONFIG, **changes: str) -> tap.Options:
    """Write a configuration and return the options that name it."""
    values = {"git": "tcp:0:interface=127.0.0.1", "dns": "", "credential": "env://GITHUB_TOKEN", "folder": str(folder)}
    path = folder / "credgate.toml"
    path.write_text(text.format(**values | changes))
    parsed = tap.Options()
    parsed.parseOptions(["--config", str(path)])
    return parsed


def exit_line(make: Any, *args: Any) -> str:
    """Return the one line that a start ends with."""
    with pytest.raises(SystemExit) as raised:
        make(*args)
    line = raised.value.code
    assert isinstance(line, str)
    assert line.startswith("credgate: ")
    assert "\n" not in line
    assert SECRET not in line
    return line


# Options.


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing is started."""
    with pytest.raises(SystemExit) as raised:
        tap.Options().parseOptions(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"credgate {credgate.__version__}\n"


def test_no_file_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A token in the environment is enough; the variable is gone afterwards."""
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    parsed = tap.Options()
    parsed.parseOptions([])
    assert parsed["config"] is None
    made = tap.makeService(parsed)
    assert isinstance(made, tap.GatewayService)
    assert "GITHUB_TOKEN" not in tap.os.environ


# What stops the start.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"git": "nonsense:1"}, ["listen.git", "endpoint string"]),
        ({"git": "tcp:x"}, ["listen.git", "endpoint string"]),
        ({"git": "systemd:domain=INET:index=0"}, ["listen.git", "systemd has passed no such socket"]),
        ({"credential": "env://NOT_SET"}, ["credential", "NOT_SET"]),
        ({"text": CONFIG + "bad = 1\n"}, ["bad"]),
        ({"text": CONFIG + 'ca_file = "/nowhere/ca.pem"\n'}, ["ca_file"]),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, changes: dict[str, str], words: list[str]) -> None:
    """With the key; before anything listens."""
    line = exit_line(tap.makeService, options(tmp_path, **changes))
    for word in words:
        assert word in line


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """With its name."""
    parsed = tap.Options()
    parsed.parseOptions(["-c", str(tmp_path / "missing.toml")])
    assert "missing.toml" in exit_line(tap.makeService, parsed)


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    """Whoever has it."""
    port = free_port()
    first = tap.makeService(options(tmp_path, git=f"tcp:{port}:interface=127.0.0.1", credential=""))
    first.privilegedStartService()
    first.startService()
    other = tmp_path / "other"
    other.mkdir()
    second = tap.makeService(options(other, git=f"tcp:{port}:interface=127.0.0.1", credential=""))
    assert f"cannot listen on 127.0.0.1:{port}" in exit_line(second.privilegedStartService)
    await stop(first)


def test_what_the_start_made_is_never_walked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full collection of modules and stored sessions would be one long turn of the reactor."""
    done: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: done.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    gateway = tap.GatewayService()
    monkeypatch.setattr(MultiService, "startService", lambda _service: done.append("start"))
    gateway.startService()
    assert done == ["start", "collect", "freeze"]


def test_an_error_of_credgates_own_is_one_line() -> None:
    """Any other is a defect and keeps its traceback."""
    gateway = tap.GatewayService()

    class Broken(Service):
        error: Exception = CannotListenError(None, 80, OSError("taken"))

        def startService(self) -> None:
            raise self.error

    part = Broken()
    part.setServiceParent(gateway)
    assert exit_line(gateway.startService) == "credgate: cannot listen on *:80: taken"
    part.error = RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        gateway.startService()


# What is said at the start.


@pytest.mark.parametrize("credential", ["", "env://GITHUB_TOKEN"])
def test_a_forge_without_a_credential_is_named(tmp_path: Path, said: list[str], credential: str) -> None:
    """Its pushes will be refused: better known now."""
    tap.makeService(options(tmp_path, credential=credential))
    assert said == ([] if credential else ["github.com has no credential: anonymous reads only, pushes are refused"])


@pytest.mark.parametrize("most", [100, 1024])
@pytest.mark.parametrize(("dns", "held"), [("", 0), ("127.0.0.1:53", tap.DNS_FLIGHTS + 128)])
def test_more_connections_than_descriptors_are_not_promised(
    monkeypatch: pytest.MonkeyPatch, said: list[str], most: int, dns: str, held: int
) -> None:
    """The control socket must answer under a flood, of DNS questions too: each holds a socket while it waits."""
    asked: list[tuple[int, int]] = []

    def most_connections(wanted: int, other: int) -> int:
        asked.append((wanted, other))
        return most

    monkeypatch.setattr(tap, "most_connections", most_connections)
    assert tap._affordable(Config(listen=ListenConfig(dns=dns))).max_connections == most
    assert asked == [(1024, held)]
    assert bool(said) is (most == 100)


# The whole.


async def stop(service: Any) -> None:
    """Stop, and wait for it."""
    await defer.maybeDeferred(service.stopService)


@pytest.mark.parametrize("dns", ["", "127.0.0.1:{port}"])
@pytest_twisted.ensureDeferred
async def test_it_is_ready_once_it_is_started_and_not_when_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dns: str
) -> None:
    """Readiness asks every part that serves; DNS only where it is on."""
    asked: dict[str, Any] = {}
    real = tap.control_service

    def control_service(facade: Any, *args: Any, **more: Any) -> Any:
        asked["ready"] = facade.readiness
        return real(facade, *args, **more)

    monkeypatch.setattr(tap, "control_service", control_service)
    gateway = tap.makeService(options(tmp_path, dns=dns.format(port=free_port())))
    gateway.privilegedStartService()
    gateway.startService()
    told = await ensureDeferred(asked["ready"]())
    assert told == {"serving": True, "git": True, "sessions": True, "audit": True} | ({"dns": True} if dns else {})
    assert (tmp_path / "run" / "control.sock").exists()
    await stop(gateway)
    told = await ensureDeferred(asked["ready"]())
    assert (told["serving"], told["git"]) == (False, False)
    assert not (tmp_path / "run" / "control.sock").exists()
    lines = (tmp_path / "audit.log").read_text().splitlines()
    assert ['"event":"started"' in lines[0], '"event":"stopped"' in lines[-1]] == [True, True]
    assert SECRET not in "".join(lines)


@pytest_twisted.ensureDeferred
async def test_a_reload_changes_the_rules_of_pushes_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The gate judges by the new policy and ``/v1/explain`` by the same; a bad one leaves the old one in both."""
    given: list[Any] = []
    real = tap.control_service

    def control_service(facade: Any, *args: Any, **more: Any) -> Any:
        given.append(facade)
        return real(facade, *args, **more)

    monkeypatch.setattr(tap, "control_service", control_service)
    gateway = tap.makeService(options(tmp_path, credential=""))
    (services,) = [part.services for part in gateway if isinstance(part, Sweep)]  # type: ignore[attr-defined]

    def in_force() -> tuple[int, int]:
        return services.judge.authorizer.policy.max_refs, given[0].policy().max_refs

    assert in_force() == (2_000, 2_000)
    options(tmp_path, CONFIG + "[policy]\nmax_refs = 7\n", credential="")
    assert (await given[0].reload())["restart_needed"] == []
    assert in_force() == (7, 7)
    options(tmp_path, CONFIG + "[policy]\nmax_refs = 0\n", credential="")
    with pytest.raises(ConfigError, match=r"policy\.max_refs"):
        await given[0].reload()
    assert in_force() == (7, 7)
    assert not given[0].has_credential(RepoPath("github.com", "octo/hello"))


def test_public_url_is_passed_to_the_services(tmp_path: Path) -> None:
    """Links to LFS objects are made of it."""
    written = CONFIG.replace("[listen]\n", '[listen]\npublic_url = "https://gate.example.com"\n')
    gateway = tap.makeService(options(tmp_path, written))
    (services,) = [part.services for part in gateway if isinstance(part, Sweep)]  # type: ignore[attr-defined]
    assert services.public_url == "https://gate.example.com"


def test_what_others_need_starts_first(tmp_path: Path) -> None:
    """And stops last: the last answer still needs the store, and its line the log."""
    order = [type(part) for part in tap.makeService(options(tmp_path))]  # type: ignore[call-overload]
    assert order[:2] == [AuditLog, SessionRegistry]
    assert order.index(Sweep) < order.index(tap.SandboxListener)


@pytest_twisted.ensureDeferred
async def test_parts_stop_one_after_the_other_in_reverse() -> None:
    """Each when the later ones are done."""
    gateway, order = tap.GatewayService(), []
    waiting: defer.Deferred[None] = defer.Deferred()

    class Part(Service):
        def stopService(self) -> Any:
            order.append(self.name)
            return waiting if self.name == "last" else None

    for name in ("first", "last"):
        part = Part()
        part.setName(name)
        part.setServiceParent(gateway)
    stopping = defer.maybeDeferred(gateway.stopService)
    assert order == ["last"]
    waiting.callback(None)
    await stopping
    assert order == ["last", "first"]
    assert not gateway.running


@pytest_twisted.ensureDeferred
async def test_a_part_that_breaks_in_stopping_does_not_keep_the_others(
    clean_reactor: list[Failure], said: list[str]
) -> None:
    """They have connections, rows and lines to end."""
    gateway, order = tap.GatewayService(), []

    class Part(Service):
        def stopService(self) -> None:
            order.append(self.name)
            raise RuntimeError("broken")

    for name in ("first", "last"):
        part = Part()
        part.setName(name)
        part.setServiceParent(gateway)
    await stop(gateway)
    assert order == ["last", "first"]
    assert said == ["a part of the gateway did not stop well: Part"] * 2
    clean_reactor.clear()
