"""Pushes by git to a forge that does not support ``filter``, but whose API finds merge bases.

The forge is the usual one without ``uploadpack.allowFilter``, configured as kind ``bitbucket``. Its API is a fake that
asks git in the same repositories (``tests.fakes.compare_api`` says what that does not prove).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import define

from tests.fakes.api import Reply, Silence
from tests.fakes.canary import traces
from tests.fakes.compare_api import CompareApi
from tests.fakes.pushing import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

UPDATES = [{"refs": "refs/heads/**", "allow": ["create", "update"]}]
REF = "refs/heads/agent"
UNKNOWN = "could not tell whether this is a fast-forward (this forge cannot send history without files)"


@define(eq=False)
class Lab:
    """The forge's API, and a gateway that is configured with its address."""

    api: CompareApi
    door: Door

    def asked(self) -> set[str]:
        """Return the repositories that the API was asked about."""
        return {"/".join(path.split("/")[2:4]) for path in self.api.paths("GET")}


@pytest.fixture
def lab(forge: Forge, start_gateway: StartGateway) -> Iterator[Lab]:
    """Start both."""
    api = CompareApi(forge.repositories, forge.secret)
    settings = {'forges."github.com"': {"kind": "bitbucket", "api_url": api.url}, "limits": {"inquiry_timeout": "2s"}}
    yield Lab(api, start_gateway(settings=settings))
    api.close()


def sit(lab: Lab, enter: Enter, repos: Repositories, **grant: object) -> Desk:
    """Start a session with two repositories, of which one has three commits on main."""
    path, other = repos.seeded(files=[{"README": b"%d\n" % number} for number in range(3)]), repos.seeded()
    grants = [{"repo": one, "push": UPDATES, **grant} for one in (path, other)]
    visit = enter(grants, login="bearer", door=lab.door)
    desk = Desk(visit.box, visit.lease, lab.door.gateway, repos, path)
    desk.behind("config", "uploadpack.allowFilter", "false")
    return desk


@pytest.fixture
def desk(lab: Lab, enter: Enter, repos: Repositories) -> Desk:
    """Prepare a new commit on main, and an agent's branch that is two commits older."""
    desk = sit(lab, enter, repos)
    desk.local("branch", "new", desk.commit("main"))
    desk.give({REF: "main~1"})
    return desk


def test_fast_forward_is_proved_by_the_api(desk: Desk, lab: Lab, forge: Forge) -> None:
    """One request about this repository. The sandbox never sees the forge's credential."""
    before, old, main, new = desk.refs(), *(desk.local("rev-parse", name) for name in ("main~1", "main", "new"))
    ran = desk.push("origin", f"+new:{REF}")
    ran.fine()
    assert desk.refs() == before | {REF: new}
    assert lab.api.paths("GET") == [f"/repositories/{desk.path}/merge-base/{old}..{main}"]
    assert lab.asked() == {desk.path}
    assert lab.api.asked[0].headers["authorization"] == f"Bearer {forge.secret}"
    assert traces(forge.secret, lab.door.front.down + (ran.out + ran.err).encode()) == set()
    assert traces(desk.lease.secret, repr([one.headers for one in lab.api.asked]).encode()) == set()
    assert desk.gateway.audited(repo=desk.path, decision="allow")
    assert forge.secret not in desk.gateway.log()


def test_force_is_refused(desk: Desk, lab: Lab) -> None:
    """A branch that diverged and an older commit are refused; a merge that contains the old value passes."""
    side = desk.commit("main~1")
    desk.give({REF: side})
    before = desk.refs()
    for spec in ("new", "main~2"):
        said = desk.push("origin", f"+{spec}:{REF}").refused()
        assert "not a fast-forward, and push[0] refs/heads/** does not allow force" in said
        assert desk.gateway.audited(repo=desk.path, decision="deny")["reason"] == "push-force"
    assert desk.refs() == before
    assert lab.asked() == {desk.path}
    merged = desk.commit("new", side)
    desk.push("origin", f"{merged}:{REF}").fine()
    assert desk.refs() == before | {REF: merged}


def test_branch_may_move_to_a_commit_of_the_forge(desk: Desk, lab: Lab) -> None:
    """The pack is empty, so only the API can prove the fast-forward."""
    before, main = desk.refs(), desk.local("rev-parse", "main")
    desk.push("origin", f"+main:{REF}").fine()
    assert desk.refs() == before | {REF: main}
    assert len(lab.api.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [Silence(), Reply(403, {"message": "API rate limit exceeded"}), Reply(200, b'{"hash": "'), Reply(404)],
    ids=["silence", "403", "garbage", "404"],
)
def test_unusable_answer_refuses_the_push(desk: Desk, lab: Lab, fault: Reply | Silence) -> None:
    """Nothing of the answer is shown to the sandbox. The same push passes when the API answers."""
    lab.api.faults = [fault]
    before = desk.refs()
    said = desk.push("origin", f"+new:{REF}").refused()
    assert f"{UNKNOWN}: fetch and rebase, or push to a new branch" in said
    assert "rate limit" not in said
    assert desk.gateway.audited(repo=desk.path, decision="deny")["reason"] == "push-unknown"
    assert desk.refs() == before
    assert len(lab.api.asked) == 1
    if isinstance(fault, Silence):
        fault.over.set()
    desk.push("origin", f"+new:{REF}").fine()


def test_answers_are_not_cached_between_pushes(desk: Desk, lab: Lab) -> None:
    """Each push asks anew."""
    desk.push("origin", f"+main:{REF}").fine()
    desk.give({REF: "main~1"})
    desk.push("origin", f"+main:{REF}").fine()
    assert len(lab.api.asked) == 2


def test_api_is_not_asked_about_protected_paths(lab: Lab, enter: Enter, repos: Repositories) -> None:
    """It knows merge bases, not reliable lists of changed paths."""
    desk = sit(lab, enter, repos, protected_paths=["Makefile"])
    desk.local("branch", "new", desk.commit("main"))
    before = desk.refs()
    said = desk.push("origin", "new:main").refused()
    assert "could not tell whether this changes a protected path: this forge cannot send history without files" in said
    assert desk.refs() == before
    assert lab.api.asked == []
    desk.behind("config", "uploadpack.allowFilter", "true")
    desk.push("origin", "new:main").fine()
    assert lab.api.asked == []
