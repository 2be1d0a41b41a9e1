"""What a session may push, and what git shows if it may not: real git with a real server.

Each refusal stands beside the same push allowed. What is refused leaves the forge's refs as they were, ends git with
status 1 and our reason, and is written down ref by ref; what the list alone decides never reaches the forge.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import pushing
from tests.fakes.pushing import Desk, commands
from tests.fakes.repositories import noise

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

OWN = {"refs": "refs/heads/agent/*", "allow": ["create", "update", "force", "delete"]}
TAGS = {"refs": "refs/tags/agent-*", "allow": ["create"]}
MAIN, MINE = "refs/heads/main", "refs/heads/agent/x"
MAY = "it may push refs/heads/agent/* (create, update, force, delete)"


@pytest.fixture
def sit(repos: Repositories, enter: Enter, door: Door) -> Sit:
    """Make a session with a grant for a repository of its own: ``sit(push=[...], partial=True)``."""
    return Sit(repos, enter, door)


class Sit:
    """Makes desks."""

    def __init__(self, repos: Repositories, enter: Enter, door: Door) -> None:
        self.repos, self.enter, self.door = repos, enter, door

    def __call__(self, path: str = "", *, label: str = "", door: Door | None = None, **grant: Any) -> Desk:
        """Make a desk with one more commit on the sandbox's own branch ``new``."""
        path, place = path or self.repos.seeded(), door or self.door
        more = {"label": label} if label else {}
        visit = self.enter([{"repo": path, **grant}], login="bearer", door=place, **more)
        desk = Desk(visit.box, visit.lease, place.gateway, self.repos, path)
        desk.local("branch", "new", desk.commit("main"))
        place.front.clear()
        return desk


def unheard(forge: Forge) -> bool:
    """Whether the forge was sent no push."""
    return b"POST " not in forge.plain.up


def test_the_defaults(sit: Sit, forge: Forge) -> None:
    """Branches are made and move forward, tags are made; nothing is forced or deleted."""
    desk = sit()
    desk.push("origin", "new:main", f"new:{MINE}", "new:refs/tags/v1").fine()
    before = desk.refs()
    assert {before[ref] for ref in (MAIN, MINE, "refs/tags/v1")} == {desk.local("rev-parse", "new")}
    forge.plain.clear()
    for words, reason in (
        ((f":{MINE}",), "default.push[0] refs/heads/** does not allow delete"),
        ((":refs/tags/v1",), "default.push[1] refs/tags/** does not allow delete"),
        (("+main:refs/tags/v1",), "default.push[1] refs/tags/** does not allow update"),
        (("new:refs/notes/x",), "no rule of this session matches this ref"),
        (("new:refs/for/main",), "no rule of this session matches this ref"),
        (("new:refs/replace/" + "1" * 40,), "no rule of this session matches this ref"),
    ):
        assert f"(credgate: {reason}" in desk.push("origin", *words).refused()
    assert unheard(forge)
    assert "not a fast-forward" in desk.push("origin", "+main~1:main").refused()
    assert desk.refs() == before


def test_own_and_foreign_branches(sit: Sit, forge: Forge) -> None:
    """Own branches may be created, forced and deleted; others may not, and git shows where to push."""
    desk = sit(push=[OWN])
    desk.give({"refs/heads/other": "main"})
    before = desk.refs()
    desk.push("origin", f"new:{MINE}").fine()
    desk.push("origin", f"+main~1:{MINE}").fine()
    assert desk.refs() == before | {MINE: desk.local("rev-parse", "main~1")}
    desk.push("origin", f":{MINE}").fine()
    assert desk.refs() == before
    forge.plain.clear()
    for spec in (
        ":refs/heads/other",
        "new:main",
        "new:refs/heads/agent",
        "new:refs/heads/agent/a/b",
        "new:refs/tags/v",
    ):
        ran = desk.push("origin", spec)
        assert (ran.code, MAY in ran.refused()) == (1, True), spec
        assert len(max(ran.err.splitlines(), key=len)) < 300
    assert desk.refs() == before
    assert unheard(forge)
    assert desk.audited("refs/tags/v", decision="deny", reason="push-ref")["refs/tags/v"]["verb"] == "create"


@pytest.mark.parametrize("ref", ["refs/heads/MAIN", "refs/heads/Main"])
def test_a_ref_in_another_case_is_refused(sit: Sit, forge: Forge, ref: str) -> None:
    """A forge on a file system that folds case moves ``main`` for it, and says that it moved the other."""
    desk = sit(push=[{"refs": MAIN, "allow": []}, {"refs": "refs/heads/**", "allow": ["create", "update"]}])
    before, new = desk.refs(), desk.local("rev-parse", "new")
    body = commands((before[MAIN], new, ref)) + desk.pack("new", "^main")
    forge.plain.clear()
    told = desk.post(body)
    assert told.refs[ref].startswith(f"credgate: it differs only in case from a ref of push[0] {MAIN}; it may push ")
    assert "it differs only in case" in desk.push("origin", f"new:{ref}").refused()
    assert desk.audited(ref, decision="deny")[ref]["reason"] == "push-ref"
    assert unheard(forge)
    desk.push("origin", f"new:{ref}s").fine()
    assert desk.refs() == before | {f"{ref}s": new}
    folding_moves_main(desk, body)


def folding_moves_main(desk: Desk, body: bytes) -> None:
    """Positive control: the same push moves ``main`` in a git server that folds case."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("NOT SHOWN that a folding file system moves the other ref: no C compiler")
    library, copy = desk.box.home / "folding.so", desk.box.home / "folding.git"
    source = Path(pushing.__file__).with_name("folding.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"], check=True)
    desk.local("init", "-q", "--bare", copy)
    desk.local("push", "-q", copy, f"main:{MAIN}")  # a loose ref: packed ones are not files
    environ = {**os.environ, "LD_PRELOAD": str(library)}
    command = ["git", "receive-pack", "--stateless-rpc", str(copy)]
    subprocess.run(command, input=body, env=environ, check=True, capture_output=True)
    assert desk.local("ls-remote", copy, MAIN).split()[0] == desk.local("rev-parse", "new")


def test_tags_have_rules_of_their_own(sit: Sit) -> None:
    """They may be created by pattern, and not moved."""
    desk = sit(push=[OWN, TAGS])
    before = desk.refs()
    assert "no rule of this session matches this ref" in desk.push("origin", "new:refs/tags/v1").refused()
    desk.push("origin", "new:refs/tags/agent-1").fine()
    assert "push[1] refs/tags/agent-* does not allow update" in desk.push("origin", "+main:refs/tags/agent-1").refused()
    assert desk.refs() == before | {"refs/tags/agent-1": desk.local("rev-parse", "new")}


def test_refs_with_effects_are_granted_by_name(sit: Sit) -> None:
    """``refs/**`` does not allow refs to which forges attach side effects; their exact name does."""
    wide, named = (
        sit(push=[{"refs": "refs/**", "allow": ["create"]}]),
        sit(push=[{"refs": "refs/for/*", "allow": ["create"]}, {"refs": "refs/notes/commits", "allow": ["create"]}]),
    )
    for ref in ("refs/for/main", "refs/notes/commits"):
        assert "must be granted by name" in wide.push("origin", f"new:{ref}").refused()
        named.push("origin", f"new:{ref}").fine()
        assert (ref in wide.refs(), ref in named.refs()) == (False, True)


def test_refusal_of_whole_push_of_parts_and_atomic(sit: Sit, forge: Forge) -> None:
    """One allowed, one refused ref: neither is pushed; with ``partial`` the allowed one, with ``--atomic`` neither."""
    whole, part = sit(push=[OWN]), sit(push=[OWN], partial=True)
    forge.plain.clear()
    before = whole.refs()
    ran = whole.push("--porcelain", "origin", f"new:{MINE}", "new:main")
    assert ran.code == 1
    assert re.search(rf"^!\trefs/heads/new:{MAIN}\t\[remote rejected\] \(credgate: no rule", ran.out, re.MULTILINE)
    assert re.search(
        rf"^!\trefs/heads/new:{MINE}\t\[remote rejected\] \(credgate: not attempted", ran.out, re.MULTILINE
    )
    assert whole.refs() == before
    assert unheard(forge)
    said = whole.audited(MINE, decision="deny")
    assert {ref: change["reason"] for ref, change in said.items()} == {
        MAIN: "push-ref", MINE: "push-not-attempted",
    }  # fmt: skip
    before, new = part.refs(), part.local("rev-parse", "new")
    assert part.push("--atomic", "origin", f"new:{MINE}", "new:main").code == 1
    assert part.refs() == before
    ran = part.push("origin", f"new:{MINE}", "new:main")
    assert ran.code == 1
    assert "* [new branch]      new -> agent/x" in ran.err
    assert "! [remote rejected] new -> main (credgate: no rule" in ran.err
    assert part.refs() == before | {MINE: new}
    said = part.audited(MINE, decision="allow")
    assert (said[MINE]["forge"], said[MINE]["reason"]) == ("ok", "allowed")
    assert (said[MAIN].get("forge", ""), said[MAIN]["reason"]) == ("", "push-ref")
    assert part.push("origin", f":{MINE}", "new:main").code == 1, "all that is left is a delete: it needs no pack"
    assert part.refs() == before


def test_forge_report_is_in_the_audit_line(sit: Sit) -> None:
    """Its ``ng`` and its ``ok`` are recorded."""
    desk = sit(push=[OWN])
    hook = desk.repos.folder(desk.path) / "hooks" / "update"
    hook.write_text('#!/bin/sh\n[ "$1" = refs/heads/agent/x ]\n')
    hook.chmod(0o755)
    ran = desk.push("origin", f"new:{MINE}", "new:refs/heads/agent/y")
    assert (ran.code, "agent/y (hook declined)" in ran.err) == (1, True)
    said = desk.audited(MINE, decision="allow")
    assert [said[ref]["forge"] for ref in (MINE, "refs/heads/agent/y")] == ["ok", "ng hook declined"]
    new = desk.local("rev-parse", "new")
    assert said[MINE] == {
        "ref": MINE, "old": "0" * 40, "new": new, "verb": "create", "reason": "allowed", "forge": "ok",
    }  # fmt: skip


def test_sessions_are_kept_apart_by_their_names(sit: Sit) -> None:
    """``{session}`` and ``{label}``, on one repository."""
    path = sit.repos.seeded()
    rule = [{"refs": f"refs/heads/{kind}/*", "allow": ["create", "delete"]} for kind in ("{session}", "of/{label}")]
    one, two = (sit(path, label=label, push=rule) for label in ("red", "blue"))
    for mine, theirs in ((one.lease.id, two.lease.id), ("of/red", "of/blue")):
        one.push("origin", f"new:refs/heads/{mine}/x").fine()
        before = one.refs()
        assert (
            f"refs/heads/{one.lease.id}/* (create, delete)"
            in one.push("origin", f"new:refs/heads/{theirs}/x").refused()
        )
        two.push("origin", f":refs/heads/{mine}/x").refused()
        assert one.refs() == before
        assert f"refs/heads/{mine}/x" in before


def test_policy_bounds_every_grant(sit: Sit, start_gateway: StartGateway) -> None:
    """A grant that allows everything does not widen the policy."""
    policy = {
        "push": [{"refs": MAIN, "allow": ["update"]}, {"refs": "refs/heads/agent/*", "allow": ["create"]}],
        "protected_paths": ["Makefile"],
        "push_options": ["ci.*"],
        "max_push_bytes": 100_000,
        "max_refs": 3,
    }
    door = start_gateway(settings={"policy": policy})
    free: dict[str, Any] = {
        "push": [{"refs": "refs/**", "allow": ["create", "update", "force", "delete"]}],
        "push_options": ["*"], "max_push_bytes": 10**9, "max_refs": 1000,
    }  # fmt: skip
    desk = sit(door=door, **free)
    desk.behind("config", "receive.advertisePushOptions", "true")
    before = desk.refs()
    big, bad = desk.commit("main", files={"x": noise(1)}), desk.commit("main", files={"Makefile": b"evil\n"})
    for words, reason in (
        ((":main",), "policy.push[0] refs/heads/main does not allow delete"),
        (("+main~1:main",), "not a fast-forward, and policy.push[0] refs/heads/main does not allow force"),
        ((f"{bad}:refs/heads/other",), "Makefile is protected (Makefile)"),
        ((f"{big}:refs/heads/other",), "the push is larger than the 100000 bytes allowed at a time"),
        (("-o", "repo.private=false", "new:main"), "push option repo.private=false is not allowed by policy.push_opti"),
        ([f"new:refs/heads/{number}" for number in range(4)], "more than the 3 refs that are allowed in one push"),
    ):
        front = words if words[0] == "-o" else ()
        ran = desk.push(*front[:2], "origin", *words[len(front[:2]) :])
        assert ran.code == 1
        assert f"(credgate: {reason}" in ran.refused(), ran
        assert desk.refs() == before
    desk.push("-o", "ci.skip", "origin", "new:main", "new:refs/heads/other", f"new:{MINE}").fine()
    assert "policy.push[1] refs/heads/agent/* does not allow update" in desk.push("origin", f"+main:{MINE}").refused()


def test_a_push_of_too_many_refs_ends_in_a_reason(sit: Sit, forge: Forge) -> None:
    """The first of them are refused by name, none is pushed, and git ends with status 1. As many as allowed land."""
    desk = sit(push=[OWN], max_refs=200)
    before = desk.refs()
    forge.plain.clear()
    refs = [f"new:refs/heads/agent/{number:03}" for number in range(300)]
    ran = desk.push("origin", *refs)
    assert ran.code == 1
    said = "(credgate: more than the 200 refs that are allowed in one push: push fewer at a time)"
    assert ran.err.count("! [remote rejected] new -> agent/") >= 1
    assert ran.err.count(said) == 200
    assert "Everything up-to-date" not in ran.out + ran.err
    assert unheard(forge)
    assert desk.refs() == before
    assert desk.gateway.audited(repo=desk.path, decision="deny")["reason"] == "push-too-many-refs"
    desk.push("origin", *refs[:200]).fine()
    assert len(desk.refs()) == len(before) + 200


def test_the_stated_old_value_is_compared(sit: Sit) -> None:
    """With ``require_old_oid`` the gateway refuses an outdated lease, also for deletes; a current one passes."""
    desk = sit(push=[OWN], require_old_oid=True)
    main, older = desk.local("rev-parse", "main"), desk.local("rev-parse", "main~1")
    desk.give({MINE: main, "refs/heads/agent/y": main})
    desk.push("origin", f"+new:{MINE}", ":refs/heads/agent/y", "new:refs/heads/agent/z").fine()
    assert MINE in desk.refs()
    assert "refs/heads/agent/y" not in desk.refs()
    before = desk.refs()
    text = "credgate: the forge has this ref at another commit than the push expects: fetch, and push again"
    for old, new in ((older, main), (older, "0" * 40), ("0" * 40, main)):
        assert desk.move(old, new, MINE).refs == {MINE: text}
    assert desk.refs() == before
    assert desk.move(before[MINE], main, MINE).refs == {MINE: "ok"}


def test_session_without_push_is_refused_before_packing(sit: Sit, forge: Forge) -> None:
    """Refused at discovery, with the reason; reads still work."""
    desk = sit(push=[])
    said = desk.push("origin", "new:main").refused()
    assert "remote: credgate:" in said
    assert "403" in said
    assert forge.plain.up == b""
    desk.box.git("ls-remote", "origin", cwd="work").fine()


def test_large_push_is_refused_with_a_reason(sit: Sit, forge: Forge) -> None:
    """Read to the end, then answered: one probe, one POST, status 1, the reason, and no false success."""
    desk = sit(push=[OWN])
    desk.local("update-ref", "refs/heads/noise", desk.commit("main", files={"noise": noise(30)}))
    forge.plain.clear()
    sit.door.front.clear()
    ran = desk.push("origin", "noise:main")
    assert ran.code == 1
    assert f"! [remote rejected] noise -> main (credgate: no rule of this session matches this ref; {MAY})" in ran.err
    assert "Everything up-to-date" not in ran.out + ran.err
    posts = re.findall(rb"POST /git/\S+/git-receive-pack HTTP/1.1\r\n((?:[^\r\n]+\r\n)*)", sit.door.front.up)
    assert [b"Content-Length: 4\r\n" in head for head in posts] == [True, False]
    assert len(sit.door.front.up) > 30 * 1024 * 1024
    assert forge.plain.count("up") < 10_000
    desk.push("origin", f"noise:{MINE}").fine()
    assert desk.refs()[MINE] == desk.local("rev-parse", "noise")
