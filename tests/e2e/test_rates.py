"""Rates, as git prints them: each limit with its own sentence, and a neighbour that goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.repositories import noise
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

MIB = 1024 * 1024


def _door(start_gateway: StartGateway, **limits: int) -> Door:
    return start_gateway(settings={"limits": {"max_connections_per_address": 512, **limits}})


def test_session_over_its_request_limit_is_told_how_long_to_wait(
    repos: Repositories, enter: Enter, login: str, start_gateway: StartGateway, forge: Forge
) -> None:
    """Other sessions continue. Requests without a credential are not counted."""
    path = repos.seeded()
    door = _door(start_gateway, requests_per_minute=3)
    box = enter([path], login=login, door=door).box
    box.git("clone", address(path), "clone").fine()
    heard = len(forge.plain.up)
    said = box.git("ls-remote", address(path)).refused()
    assert "remote: credgate: this session has made its limit of 3 requests within a minute; wait" in said
    assert "429" in said
    assert len(forge.plain.up) == heard
    line = door.gateway.audited(repo=path, decision="deny", status=429)
    assert (line["reason"], line["rule"]) == ("too-many-requests", "limits")
    assert b"\r\nRetry-After: " in door.front.down
    enter([path], login=login, door=door).box.git("clone", address(path), "clone").fine()


def test_address_over_its_request_limit_is_refused(
    repos: Repositories, enter: Enter, start_gateway: StartGateway
) -> None:
    """The session does not matter."""
    path = repos.seeded()
    door = _door(start_gateway, requests_per_minute_per_address=3)
    enter([path], door=door).box.git("clone", address(path), "clone").fine()
    said = enter([path], door=door).box.git("ls-remote", address(path)).refused()
    assert "remote: credgate: this address has made its limit of 3 requests" in said
    assert door.gateway.audited(repo=path, decision="deny", status=429)["reason"] == "too-many-requests"


def test_push_over_the_request_limit_is_refused_for_each_ref(
    repos: Repositories, enter: Enter, login: str, start_gateway: StartGateway
) -> None:
    """Its ref advertisement was the last admitted request, so git reads the reason in the report."""
    path = repos.seeded()
    before = repos.head(path)
    door = _door(start_gateway, requests_per_minute=1)
    box = enter([path], login=login, door=door).box
    box.git("init", "-q", "work").fine()
    box.commit("work", "file", b"new\n")
    said = box.git("push", address(path), "HEAD:refs/heads/new", cwd="work").refused()
    assert "[remote rejected] HEAD -> new (credgate: this session has made its limit of 1 requests" in said
    assert repos.head(path) == before
    assert door.gateway.audited(repo=path, operation="git-receive-pack")["reason"] == "too-many-requests"
    fresh = enter([path], login=login, door=_door(start_gateway)).box
    fresh.git("init", "-q", "work").fine()
    fresh.commit("work", "file", b"new\n")
    fresh.git("push", address(path), "HEAD:refs/heads/new", cwd="work").fine()


def test_clone_over_the_byte_limit_completes_and_the_next_waits(
    repos: Repositories, enter: Enter, start_gateway: StartGateway
) -> None:
    """A running transfer is never cut."""
    path = repos.seeded(files=[{"noise": noise(3)}])
    door = _door(start_gateway, bytes_per_minute=MIB)
    box = enter([path], door=door).box
    box.git("clone", address(path), "clone").fine()
    said = box.git("fetch", cwd="clone").refused()
    assert f"remote: credgate: this session has transferred its limit of {MIB} bytes within a minute" in said
    assert door.gateway.audited(repo=path, decision="deny", status=429)["reason"] == "too-many-bytes"
    enter([path], door=door).box.git("clone", address(path), "clone").fine()
