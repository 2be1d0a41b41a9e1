"""Clients other than git: each clones and pushes, and shows the reason of a refusal.

Sandboxes hold IDEs, libraries and tools that bring their own git. None was asked for its opinion when git's protocol
was judged, so each shows here that the judged protocol is still one: the same clone, the same push, the same refusal
with our reason in its own mouth, through a real gateway to the real forge.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from attrs import define

from tests.fakes.clients import Client, Dulwich, GoGit, JGit, Libgit2
from tests.fakes.needs import demand
from tests.fakes.repositories import git

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Door, Enter, Forge, Visit
    from tests.fakes.repositories import Repositories

OWN = [{"refs": "refs/heads/agent/**", "allow": ["create", "update"]}]
MINE = "refs/heads/agent/x"
REASON = "credgate: no rule of this session matches this ref; it may push refs/heads/agent/** (create, update)"


@pytest.fixture(scope="session")
def gogit(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Visit], Client]:
    """Compile go-git's command once."""
    command = GoGit.build(tmp_path_factory.mktemp("go"))
    return lambda visit: GoGit(visit.box, visit.lease, command)


@pytest.fixture(params=[Dulwich, Libgit2, JGit, GoGit])
def make(request: pytest.FixtureRequest) -> Callable[[Visit], Client]:
    """Each client; what is not installed is named."""
    kind = request.param
    demand(*kind.needs)
    if kind is GoGit:
        return request.getfixturevalue("gogit")  # type: ignore[no-any-return]  # pytest does not say what
    return lambda visit: kind(visit.box, visit.lease)  # type: ignore[no-any-return]  # nor what a parameter is


@define
class Seat:
    """One client in one session, its clone of one repository, and that repository seen from behind."""

    client: Client
    visit: Visit
    repos: Repositories
    path: str
    url: str

    def commit(self, number: int) -> str:
        """Commit in the clone, by git itself."""
        return self.visit.box.commit("clone", "file", b"%d\n" % number * 1000)

    def refs(self) -> dict[str, str]:
        """Return what the forge has."""
        words = ("for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split(" ") for line in git("-C", self.repos.folder(self.path), *words).decode().splitlines())


@pytest.fixture
def seat(make: Callable[[Visit], Client], repos: Repositories, enter: Enter, door: Door) -> Seat:
    """Clone by the client, in a session that may push branches of its own."""
    path = repos.seeded()
    visit = enter([{"repo": path, "push": OWN}])
    seat = Seat(make(visit), visit, repos, path, f"{door.front.url}/git/{path}.git")
    seat.client.clone(seat.url, "clone")
    return seat


def test_clones_and_pushes(seat: Seat) -> None:
    """What was cloned is what is there; a branch is made and moved on."""
    box = seat.visit.box
    assert box.git("rev-parse", "HEAD", cwd="clone").fine() == seat.repos.head(seat.path)
    assert (box.home / "clone/README").read_bytes() == b"two\n"
    before = seat.refs()
    for number in range(2):
        new = seat.commit(number)
        assert seat.client.push("clone", f"refs/heads/main:{MINE}") == ""
        assert seat.refs() == before | {MINE: new}


def test_client_shows_the_refusal(seat: Seat, forge: Forge) -> None:
    """The reason is shown, nothing moves and the forge is not asked; beside it the same commit goes where it may."""
    before, new = seat.refs(), seat.commit(1)
    forge.plain.clear()
    said = seat.client.push("clone", "refs/heads/main:refs/heads/main")
    assert REASON in said
    assert seat.refs() == before
    assert b"POST " not in forge.plain.up
    assert seat.client.push("clone", f"refs/heads/main:{MINE}") == ""
    assert seat.refs() == before | {MINE: new}


@pytest.mark.parametrize("make", [JGit], indirect=True)
def test_jgit_compresses_what_it_pushes(seat: Seat, door: Door, forge: Forge) -> None:
    """JGit's push bodies are gzip'ed: judged decoded, and the forge is sent no coding but what was judged."""
    seat.commit(1)
    for recorder in (door.front, forge.plain):
        recorder.clear()
    assert seat.client.push("clone", f"refs/heads/main:{MINE}") == ""
    assert re.search(
        rb"POST /git/\S+/git-receive-pack HTTP/1.1\r\n(?:[^\r\n]+\r\n)*Content-Encoding: gzip\r\n", door.front.up
    )
    assert b"git-receive-pack HTTP/1.1" in forge.plain.up
    assert b"content-encoding" not in forge.plain.up.lower()
