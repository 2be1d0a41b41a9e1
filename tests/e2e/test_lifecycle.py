"""Restarts, revocation in mid-transfer, rotation: what the gateway promises about time."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.fakes.repositories import noise
from tests.fakes.sandbox import address
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

MIB = 1024 * 1024


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_sessions_survive_a_restart(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, number: signal.Signals
) -> None:
    """Even after ``kill -9``; the stale socket is replaced."""
    path = repos.seeded()
    door = start_gateway()
    visits = [enter([path], door=door, login=login) for login in ("helper", "bearer")]
    revoked = enter([path], door=door)
    door.gateway.revoke(revoked.lease)
    listed = door.gateway.control("GET", "/v1/sessions").json
    door.gateway.stop(number)
    door.gateway.start()
    again = door.gateway.control("GET", "/v1/sessions").json
    assert [one["id"] for one in again["sessions"]] == [one["id"] for one in listed["sessions"]]
    for visit in visits:
        visit.box.git("ls-remote", address(path)).fine()
    revoked.box.git("ls-remote", address(path)).refused()


def test_second_gateway_does_not_take_over_a_live_socket(start_gateway: StartGateway) -> None:
    """It exits with a clear error, and the first continues."""
    door = start_gateway()
    process = door.gateway.spawn()
    assert process.wait(30) != 0
    assert str(door.gateway.control_socket.parent) in door.gateway.log()
    assert door.gateway.control("GET", "/health").json == {"status": "healthy"}


def test_revocation_cuts_a_running_clone(
    repos: Repositories, enter: Enter, login: str, door: Door, forge: Forge
) -> None:
    """Even while no byte moves; git must report a failure."""
    path = repos.seeded(files=[{"noise": noise(8)}])
    visit = enter([path], login=login)
    hold = forge.plain.hold("down", 2 * MIB)
    clone = visit.box.begin("git", "clone", address(path), "clone")
    try:
        assert hold.reached.wait(30)
        door.gateway.revoke(visit.lease)
        ran = visit.box.finish(clone, seconds=10)
    finally:
        hold.release()
    ran.refused()
    assert not (visit.box.home / "clone").exists()
    assert door.gateway.audited(repo=path, reason="session-ended")["operation"] == "git-upload-pack"


def test_revocation_cuts_a_running_push(
    repos: Repositories, enter: Enter, login: str, door: Door, forge: Forge
) -> None:
    """The forge must not accept the incomplete push."""
    path = repos.seeded()
    before = repos.head(path)
    visit = enter([path], login=login)
    visit.box.git("clone", address(path), "clone").fine()
    visit.box.commit("clone", "noise", noise(8))
    hold = forge.plain.hold("up", 2 * MIB)
    push = visit.box.begin("git", "push", "origin", "HEAD:main", cwd="clone")
    try:
        assert hold.reached.wait(30)
        door.gateway.revoke(visit.lease)
        ran = visit.box.finish(push, seconds=10)
    finally:
        hold.release()
    assert ran.code != 0
    line = door.gateway.audited(repo=path, reason="session-ended")
    assert line["operation"] == "git-receive-pack"
    wait_until(lambda: not forge.plain.open or line, "the forge's connection ends")
    assert repos.head(path) == before


def test_revocation_does_not_cut_other_sessions(
    repos: Repositories, enter: Enter, login: str, door: Door, forge: Forge
) -> None:
    """This is the positive control of the two tests above."""
    path = repos.seeded(files=[{"noise": noise(8)}])
    visit, other = enter([path], login=login), enter([path], login=login)
    hold = forge.plain.hold("down", 2 * MIB)
    clone = visit.box.begin("git", "clone", address(path), "clone")
    try:
        assert hold.reached.wait(30)
        door.gateway.revoke(other.lease)
    finally:
        hold.release()
    visit.box.finish(clone).fine()
    assert visit.box.git("rev-parse", "HEAD", cwd="clone").fine() == repos.head(path)


def test_credential_file_is_rotated_without_a_restart(
    repos: Repositories, enter: Enter, login: str, start_gateway: StartGateway, forge: Forge
) -> None:
    """The next requests use the new content."""
    path = repos.seeded()
    old = forge.secret
    door = start_gateway()
    visit = enter([path], login=login, door=door)
    visit.box.git("ls-remote", address(path)).fine()
    new = old[:-8] + "rotated0"
    try:
        forge.server.rotate(new)
        said = visit.box.git("ls-remote", address(path)).refused()
        assert "remote: credgate" in said
        assert "Authentication failed" not in said
        door.gateway.write_credential(new)
        wait_until(lambda: visit.box.git("ls-remote", address(path)).code == 0, "the new credential is used")
    finally:
        forge.server.rotate(old)


def test_sigterm_ends_the_process_and_removes_the_socket(start_gateway: StartGateway) -> None:
    """Service managers expect both."""
    door = start_gateway()
    process = door.gateway.process
    door.gateway.stop()
    assert process is not None
    assert process.returncode in {0, -signal.SIGTERM}
    assert not door.gateway.control_socket.exists()
    assert "Traceback" not in door.gateway.log()
