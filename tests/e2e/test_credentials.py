"""Forge credentials with real git: several for one forge, printed by a command, replaced in the middle of things.

The forge is Python's, whose owners may each have a secret of their own; what it was shown is read from the recorder
before it, request by request.
"""

from __future__ import annotations

import base64
import json
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define

from tests.e2e.conftest import random_secret
from tests.fakes.canary import traces
from tests.fakes.forge import PythonForge
from tests.fakes.recorder import Recorder
from tests.fakes.repositories import Repositories
from tests.fakes.sandbox import address
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Door, Enter, StartGateway

TABLE = 'forges."github.com"'
_REQUEST = re.compile(rb"(GET|POST) (/[^ ]*) HTTP/1\.1\r\n((?:[^\r\n]+\r\n)*)\r\n")
_LOGIN = re.compile(rb"Authorization: Basic ([A-Za-z0-9+/=]+)\r\n")


class Owners(PythonForge):
    """A forge whose owners may have secrets of their own: no other is good for them, nor theirs for others."""

    owners: dict[str, str]

    def admits(self, login: str, target: str) -> bool:
        return login == f"x-access-token:{self.owners.get(target.split('/')[1], self.secret)}"


@define(eq=False)
class Place:
    """A forge of this test's own, seen through its recorder."""

    server: Owners
    repositories: Repositories
    recorder: Recorder

    def shown(self) -> list[tuple[str, str, str]]:
        """Return every request: its method, whose repository it asks for, and the secret that it showed."""
        found = []
        for exchange in self.recorder.exchanges:
            for method, target, fields in _REQUEST.findall(bytes(exchange.up)):
                login = _LOGIN.search(fields)
                secret = base64.b64decode(login[1]).decode().partition(":")[2] if login else ""
                found.append((method.decode(), target.decode().split("/")[1], secret))
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "forge").mkdir()
    (tmp_path / "repositories").mkdir()
    server = Owners(tmp_path / "repositories", random_secret(), tmp_path / "forge")
    server.owners = {}
    recorder = Recorder(server.port)
    yield Place(server, Repositories(tmp_path / "repositories"), recorder)
    recorder.close()
    server.close()


def secret_file(path: Path, secret: str) -> str:
    """Write a secret's file; its reference."""
    beside = path.with_suffix(".new")
    beside.touch(mode=0o600)
    beside.write_text(secret)
    beside.replace(path)
    return f"file://{path}"


# Several for one forge.


@pytest.fixture
def two(place: Place, start_gateway: StartGateway, tmp_path: Path) -> Door:
    """Have organisations with a credential each, and one without."""
    owners = place.server.owners
    known = ("acme", "umbrella", "octo", "moved-in")
    owners |= {name: random_secret() for name in (*known, "third")}
    patterns = {f'"{name}/*"': secret_file(tmp_path / name, owners[name]) for name in known}
    return start_gateway(url=place.recorder.url, settings={TABLE: {"credential": ""}, f"{TABLE}.credentials": patterns})


def test_two_organisations_in_one_session(place: Place, two: Door, enter: Enter, login: str) -> None:
    """Submodules across them are cloned and both pushed to; neither's credential is ever shown for the other's."""
    repos, owners = place.repositories, place.server.owners
    library = repos.seeded("umbrella/library")
    modules = b'[submodule "lib"]\n\tpath = lib\n\turl = ../../umbrella/library.git\n'
    files = ({"README": b"one\n", ".gitmodules": modules},)
    program = repos.seeded("acme/program", files=files, links={"lib": repos.head(library)})
    box = enter([program, library], login=login, door=two).box
    box.git("clone", "--recurse-submodules", address(program), "clone").fine()
    box.git("checkout", "-q", "main", cwd="clone/lib").fine()
    for folder, path in (("clone", program), ("clone/lib", library)):
        oid = box.commit(folder, "file", b"new\n")
        box.git("push", "origin", "HEAD:main", cwd=folder).fine()
        assert repos.head(path) == oid
    shown = {(owner, secret) for _, owner, secret in place.shown()}
    assert shown == {(owner, owners[owner]) for owner in ("acme", "umbrella")}
    lines = {line["repo"]: line for line in two.gateway.audit() if "credential" in line}
    assert set(lines) == {program, library}
    assert lines[program]["credential"] != lines[library]["credential"]
    assert {line["credential_kind"] for line in lines.values()} == {"file"}


def test_a_repository_without_a_pattern_has_no_credential(place: Place, two: Door, enter: Enter, login: str) -> None:
    """Never the nearest other's: it is asked anonymously, and takes no push."""
    path = place.repositories.seeded("third/open")
    box = enter([path], login=login, door=two).box
    said = box.git("ls-remote", address(path)).refused()
    assert "requires a credential for this repository and none is configured" in said
    assert {secret for _, _, secret in place.shown()} == {""}
    place.recorder.clear()
    box.git("init", "-q", "here").fine()
    box.commit("here", "file", b"new\n")
    said = box.git("push", address(path), "HEAD:main", cwd="here").refused()
    assert "no credential is configured for github.com/third/open" in said
    assert (place.recorder.up, place.repositories.head(path, "refs/heads/main") != "") == (b"", True)
    assert two.gateway.audited(repo=path, decision="deny")["reason"] == "no-forge-credential"


def test_a_renamed_repository_gets_the_credential_of_its_new_owner(
    place: Place, two: Door, enter: Enter, login: str
) -> None:
    """The old name's credential stays where it was, in discovery and in what follows."""
    path, owners = place.repositories.seeded("octo/renamed"), place.server.owners
    box = enter(["moved-in/renamed", path], login=login, door=two).box
    box.git("clone", address("moved-in/renamed"), "clone").fine()
    oid = box.commit("clone", "file", b"new\n")
    box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    assert place.repositories.head(path) == oid
    shown = {(owner, secret) for _, owner, secret in place.shown()}
    assert shown == {("moved-in", owners["moved-in"]), ("octo", owners["octo"])}


# Printed by a command.


def command(folder: Path, script: str) -> str:
    """Write a program; the reference to what it prints."""
    path = folder / "print-token"
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(stat.S_IRWXU)
    return f"cmd://{path} 'an argument'"


def printing(folder: Path, life: int) -> str:
    """Have a program that prints the secret in a file as JSON, and writes down what it saw of the gateway."""
    return command(
        folder,
        f"echo run >> {folder}/runs; env > {folder}/seen; \n"
        f'printf \'{{"token": "%s", "expires_in": {life}}}\' "$(cat {folder}/token)"\n',
    )


def test_a_command_prints_the_credential(
    place: Place, start_gateway: StartGateway, enter: Enter, login: str, tmp_path: Path
) -> None:
    """It sees nothing of the gateway's, and the token is nowhere but at the forge. Audit, whoami and status name it."""
    secret_file(tmp_path / "token", place.server.secret)
    settings = {TABLE: {"credential": printing(tmp_path, 3600)}}
    door = start_gateway(url=place.recorder.url, settings=settings, environ={"GH_TOKEN": "ghp_unused" + "0" * 30})
    path = place.repositories.seeded()
    visit = enter([path], login=login, door=door)
    visit.box.git("clone", address(path), "clone").fine()
    assert (tmp_path / "runs").read_text() == "run\n"
    seen = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert seen <= {"PATH", "HOME", "LANG", "PWD", "SHLVL", "_", "OLDPWD"}
    (one,) = door.gateway.control("GET", "/v1/forges").json["forges"]
    (credential,) = one["credentials"]
    assert (credential["kind"], credential["repositories"], credential["trouble"]) == ("cmd", ["**"], "")
    line = door.gateway.audited(repo=path, operation="git-upload-pack")
    assert (line["credential"], line["credential_kind"]) == (credential["id"], "cmd")
    assert line["expires"] == credential["expires_at"]
    told = visit.box.run("python3", "-c", WHOAMI, visit.box.gateway_url + "/whoami", visit.lease.line).fine()
    named = {"id": credential["id"], "kind": "cmd", "expires_at": credential["expires_at"]}
    assert json.loads(told)["repositories"][0]["credentials"] == [named]
    replies = "".join(reply.text for reply in door.gateway.replies)
    kept = b"".join(file.read_bytes() for file in (door.gateway.log_file, door.gateway.audit_file))
    for where in (door.front.down, told.encode(), replies.encode(), kept, *_shown(door.gateway.pid)):
        assert traces(place.server.secret, where) == set()


def _shown(pid: int) -> list[bytes]:
    return [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]


WHOAMI = """
import base64, sys, urllib.request
login = base64.b64encode(b"x:" + sys.argv[2].encode()).decode()
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Basic " + login})
print(urllib.request.urlopen(request).read().decode())
"""


def test_a_short_lived_credential_is_renewed_during_a_session(
    place: Place, start_gateway: StartGateway, enter: Enter, login: str, tmp_path: Path
) -> None:
    """Through three lifetimes, while the forge takes each only for its own: the sandbox notices nothing."""
    secret_file(tmp_path / "token", place.server.secret)
    door = start_gateway(url=place.recorder.url, settings={TABLE: {"credential": printing(tmp_path, 2)}})
    path = place.repositories.seeded()
    box = enter([path], login=login, door=door).box
    box.git("clone", address(path), "clone").fine()
    for number in range(3):
        # The program's store has the new token first, as a vault has: then the forge takes no other.
        fresh, ran = random_secret(), len((tmp_path / "runs").read_text())
        secret_file(tmp_path / "token", fresh)
        wait_until(lambda ran=ran: len((tmp_path / "runs").read_text()) >= ran + 8, "it ran twice more")  # type: ignore[misc]
        place.server.rotate(fresh)
        oid = box.commit("clone", f"file{number}", b"new\n")
        box.git("push", "origin", "HEAD:main", cwd="clone").fine()
        box.git("fetch", "origin", cwd="clone").fine()
        assert place.repositories.head(path) == oid


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo ghp_canary >&2; exit 3", "it ended with status 3"),
        ("sleep 300 & exec sleep 300", "it did not end within 10 s"),
        ("cat /dev/zero", "it printed more than 65536 bytes"),
        ("echo one; echo ghp_canary", "the output has more than one line"),
    ],
)
def test_a_failing_command_is_reported_by_git_log_and_status(
    place: Place, start_gateway: StartGateway, enter: Enter, tmp_path: Path, script: str, said: str
) -> None:
    """The gateway starts and serves what it can; git, the log and the status say why, and nothing of its output."""
    door = start_gateway(url=place.recorder.url, settings={TABLE: {"credential": command(tmp_path, script)}})
    path = place.repositories.seeded()
    printed = enter([path], door=door).box.git("ls-remote", address(path)).refused()
    assert f"credgate: the credential of github.com cannot be fetched: {said}" in printed
    assert place.recorder.up == b""
    assert door.gateway.audited(repo=path)["reason"] == "credential-unavailable"
    (one,) = door.gateway.control("GET", "/v1/forges").json["forges"]
    assert said in one["credentials"][0]["trouble"]
    assert said in door.gateway.log()
    assert "ghp_canary" not in door.gateway.log() + json.dumps(one) + printed


# Replaced in the middle of things.


def replace_at_once(place: Place, door: Door, box: Any, *command: str, cwd: str = "") -> tuple[Any, str, str]:
    """Run git, and replace the credential, at the forge and in the file, between its discovery and its POST."""
    before, after = place.server.secret, random_secret()
    hold = door.front.hold("down", 1)
    running = box.begin("git", *command, cwd=cwd)
    assert hold.reached.wait(30)
    place.server.rotate(after)
    door.gateway.write_credential(after)
    hold.release()
    return box.finish(running), before, after


def test_a_file_that_is_replaced_between_discovery_and_fetch(
    place: Place, start_gateway: StartGateway, enter: Enter, login: str
) -> None:
    """The refused request is asked again with what the file holds now; git notices nothing."""
    path = place.repositories.seeded()
    door = start_gateway(url=place.recorder.url, secret=place.server.secret)
    box = enter([path], login=login, door=door).box
    ran, before, after = replace_at_once(place, door, box, "clone", address(path), "clone")
    ran.fine()
    shown = [secret for method, _, secret in place.shown() if method == "POST"]
    assert shown[-1] == after
    assert set(shown) <= {before, after}
    assert shown.count(before) <= 1


def test_a_file_that_is_replaced_between_discovery_and_push(
    place: Place, start_gateway: StartGateway, enter: Enter, login: str
) -> None:
    """A push is not sent twice: either the new one was there in time, or git is told to push again, and may."""
    path = place.repositories.seeded()
    before_head = place.repositories.head(path)
    door = start_gateway(url=place.recorder.url, secret=place.server.secret)
    box = enter([path], login=login, door=door).box
    box.git("clone", address(path), "clone").fine()
    oid = box.commit("clone", "file", b"new\n")
    place.recorder.clear()
    ran, _, after = replace_at_once(place, door, box, "push", "origin", "HEAD:main", cwd="clone")
    posts = [secret for method, _, secret in place.shown() if method == "POST"]
    if ran.code != 0:
        assert "It was renewed meanwhile: push again" in ran.refused()
        assert place.repositories.head(path) == before_head
        assert after not in posts
        assert door.gateway.audited(repo=path, reason="credential-renewed")["upstream_status"] == 401
        box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    assert place.repositories.head(path) == oid
