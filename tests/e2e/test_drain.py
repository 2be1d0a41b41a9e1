"""SIGTERM during git commands: running ones may finish or are refused or cut, and no new one starts."""

from __future__ import annotations

import http.client
import signal
from typing import TYPE_CHECKING

import pytest
from attrs import define

from tests.fakes.repositories import noise
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    import subprocess

    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.recorder import Hold
    from tests.fakes.repositories import Repositories
    from tests.fakes.sandbox import Ran, Sandbox

MIB = 1024 * 1024
LONG, SHORT = "1h", "1s"


@define
class Held:
    """A transfer of git's that stands still at the forge, under a gateway that is told to stop."""

    door: Door
    box: Sandbox
    process: subprocess.Popen[str]
    hold: Hold

    def finish(self) -> Ran:
        """Let the bytes flow and git end."""
        self.hold.release()
        return self.box.finish(self.process, seconds=60)


def _begin(door: Door, forge: Forge, box: Sandbox, command: list[str], *, cwd: str, push: bool) -> Held:
    hold = forge.plain.hold("up" if push else "down", 2 * MIB)
    held = Held(door, box, box.begin("git", *command, cwd=cwd), hold)
    assert hold.reached.wait(30)
    return held


def _pushing(door: Door, forge: Forge, repos: Repositories, enter: Enter) -> tuple[Held, str, str]:
    path = repos.seeded()
    box = enter([path], door=door).box
    box.git("clone", address(path), "clone").fine()
    new = box.commit("clone", "noise", noise(32))  # more than the kernel holds on its way to the forge
    return _begin(door, forge, box, ["push", "origin", "HEAD:main"], cwd="clone", push=True), path, new


def _cloning(door: Door, forge: Forge, repos: Repositories, enter: Enter) -> tuple[Held, str]:
    path = repos.seeded(files=[{"noise": noise(8)}])
    box = enter([path], door=door).box
    return _begin(door, forge, box, ["clone", address(path), "clone"], cwd="", push=False), path


def _door(start_gateway: StartGateway, drain_timeout: str) -> Door:
    return start_gateway(settings={"limits": {"drain_timeout": drain_timeout}})


def test_running_push_completes_and_no_new_one_starts(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge
) -> None:
    """The control socket says what goes on, and still serves; new connections are refused; the audit has the push."""
    door = _door(start_gateway, LONG)
    gateway = door.gateway
    held, path, new = _pushing(door, forge, repos, enter)
    idle = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    idle.request("GET", "/health")
    assert idle.getresponse().read() == b'{"status":"healthy"}'
    try:
        held.door.stop()
        assert idle.sock.recv(1) == b""
        ready = gateway.control("GET", "/v1/ready")
        assert (ready.status, ready.json["status"]) == (503, "draining")
        granted = gateway.grant([path])
        said = enter([path], door=door).box.git("ls-remote", address(path))
        said.refused()
    finally:
        idle.close()
        ran = held.finish()
    ran.fine()
    assert repos.head(path) == new
    assert held.door.ended() == -signal.SIGTERM
    assert gateway.audited(repo=path, operation="git-receive-pack")["reason"] == "allowed"
    gateway.start()  # what was acknowledged in the meantime is there
    assert granted.id in [one["id"] for one in gateway.control("GET", "/v1/sessions").json["sessions"]]


def test_push_after_drain_timeout_is_refused_and_moves_no_ref(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge
) -> None:
    """By name of the ref: the gateway is there just long enough to say so."""
    door = _door(start_gateway, SHORT)
    held, path, _ = _pushing(door, forge, repos, enter)
    before = repos.head(path)
    try:
        held.door.stop()
        ran = held.box.finish(held.process, seconds=30)
    finally:
        held.hold.release()
    said = ran.refused()
    assert "credgate is stopping" in said
    assert "[remote rejected] HEAD -> main" in said
    assert held.door.ended() == -signal.SIGTERM
    assert repos.head(path) == before
    assert door.gateway.audited(repo=path, operation="git-receive-pack")["reason"] == "shutdown"


def test_running_clone_completes(repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge) -> None:
    """The clone is complete."""
    held, path = _cloning(_door(start_gateway, LONG), forge, repos, enter)
    try:
        held.door.stop()
    finally:
        ran = held.finish()
    ran.fine()
    assert held.box.git("rev-parse", "HEAD", cwd="clone").fine() == repos.head(path)
    assert held.door.ended() == -signal.SIGTERM


def test_clone_after_drain_timeout_is_visibly_cut(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge
) -> None:
    """A partial clone must not look complete."""
    door = _door(start_gateway, SHORT)
    held, path = _cloning(door, forge, repos, enter)
    try:
        held.door.stop()
        ran = held.box.finish(held.process, seconds=30)
    finally:
        held.hold.release()
    ran.refused()
    assert not (held.box.home / "clone").exists()
    assert held.door.ended() == -signal.SIGTERM
    assert door.gateway.audited(repo=path, operation="git-upload-pack")["reason"] == "shutdown"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge, number: signal.Signals
) -> None:
    """However long the drain may take; the ref stays, and the log holds no traceback about it."""
    door = _door(start_gateway, LONG)
    held, path, _ = _pushing(door, forge, repos, enter)
    before = repos.head(path)
    try:
        held.door.stop()
        assert door.gateway.process is not None
        door.gateway.process.send_signal(number)
        assert held.door.ended() == -signal.SIGTERM
        assert held.box.finish(held.process, seconds=30).code != 0
    finally:
        held.hold.release()
    assert repos.head(path) == before
    assert "Traceback" not in door.gateway.log()
    assert door.gateway.audited(event="stopped")
