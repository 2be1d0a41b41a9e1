"""The forge's side: TLS verification, no credential, a rejected credential, an unreachable forge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.recorder import Recorder
from tests.fakes.sandbox import address
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from tests.e2e.conftest import Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

TABLE = 'forges."github.com"'


def test_https_to_the_forge_is_verified_and_works(
    repos: Repositories, enter: Enter, login: str, start_gateway: StartGateway, forge: Forge
) -> None:
    """With the authority that the operator named: clone and push, the login on every request."""
    path = repos.seeded()
    door = start_gateway(url=forge.tls.url, settings={TABLE: {"ca_file": str(forge.authority.ca_file)}})
    box = enter([path], login=login, door=door).box
    box.git("clone", address(path), "clone").fine()
    pushed = box.commit("clone", "file", b"new\n")
    box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    assert repos.head(path) == pushed
    requests = forge.tls.up.count(b" HTTP/1.1\r\n")
    assert requests == forge.tls.up.lower().count(b"\r\nauthorization: basic ") > 3


def test_an_unknown_authority_is_refused(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge
) -> None:
    """The system's store does not know ours: not a byte of the request leaves."""
    path = repos.seeded()
    door = start_gateway(url=forge.tls.url)
    said = enter([path], door=door).box.git("ls-remote", address(path)).refused()
    assert "remote: credgate" in said
    assert forge.tls.up == b""
    assert door.gateway.audited(repo=path)["reason"] == "forge-unreachable"


def test_a_certificate_for_another_name_is_refused(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge
) -> None:
    """It is signed by the right authority, for another host name."""
    path = repos.seeded()
    stranger = Recorder(forge.server.port, tls=forge.authority.server_context("stranger.localhost"))
    try:
        door = start_gateway(url=stranger.url, settings={TABLE: {"ca_file": str(forge.authority.ca_file)}})
        said = enter([path], door=door).box.git("ls-remote", address(path)).refused()
        assert "remote: credgate" in said
        assert stranger.up == b""
    finally:
        stranger.close()


def test_without_a_credential_reads_are_anonymous_and_writes_are_refused(
    repos: Repositories, enter: Enter, login: str, start_gateway: StartGateway, forge: Forge
) -> None:
    """Public repositories need no secret; a push says what is missing; the start said so, too."""
    path = repos.seeded()
    before = repos.head(path)
    door = start_gateway(url=forge.public.url, settings={TABLE: {"credential": ""}})
    box = enter([path], login=login, door=door).box
    box.git("clone", address(path), "clone").fine()
    assert b"uthorization" not in forge.public.up
    box.commit("clone", "file", b"new\n")
    forge.public.clear()
    said = box.git("push", "origin", "HEAD:main", cwd="clone").refused()
    assert "remote: credgate" in said
    assert "credential" in said
    assert forge.public.up == b""
    assert repos.head(path) == before
    assert door.gateway.audited(repo=path, decision="deny")["reason"] == "no-forge-credential"
    assert "github.com" in door.gateway.log()


def test_rejected_forge_credential_is_reported_as_gateway_error(
    repos: Repositories, enter: Enter, login: str, start_gateway: StartGateway
) -> None:
    """The forge's 401 never passes: git would drop the session, and ask for another."""
    path = repos.seeded()
    door = start_gateway(secret="ghp_" + "0" * 36)
    box = enter([path], login=login, door=door).box
    said = box.git("ls-remote", address(path)).refused()
    assert "remote: credgate" in said
    assert "Authentication failed" not in said
    assert door.gateway.audited(repo=path, reason="forge-refused-credential")["upstream_status"] == 401


@pytest.mark.parametrize("service", ["fetch", "push"])
def test_unreachable_forge_is_named(
    repos: Repositories, enter: Enter, login: str, start_gateway: StartGateway, service: str
) -> None:
    """The refusal says that the forge is unreachable."""
    path = repos.seeded()
    door = start_gateway(url=f"http://127.0.0.1:{free_port()}")
    box = enter([path], login=login, door=door).box
    box.git("init", "-q", "here").fine()
    box.commit("here", "file", b"new\n")
    command = ["fetch", address(path)] if service == "fetch" else ["push", address(path), "HEAD:main"]
    said = box.git(*command, cwd="here").refused()
    assert "remote: credgate" in said
    assert "github.com" in said
    assert door.gateway.audited(repo=path)["reason"] == "forge-unreachable"


def test_unknown_repository_is_reported(repos: Repositories, enter: Enter, login: str) -> None:
    """The refusal says that it is granted, and that the forge does not have it."""
    path = repos.fresh()
    said = enter([path], login=login).box.git("ls-remote", address(path)).refused()
    assert "remote: credgate" in said
    assert "404" in said or "not found" in said
