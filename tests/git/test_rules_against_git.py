"""Push rules between real git and a real repository: what moves, what the client prints, its exit status.

Nothing of the gateway but its cores is in between (``tests/fakes/gatekeeper.py``), so what fails here is a decision or
a byte of ours. Every refusal stands beside a push that passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.kept import Place, make_place

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["sha1"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Make the repositories and the two programs."""
    return make_place(tmp_path, request.param)


AGENT = {"push": [{"refs": "refs/heads/agent/*", "allow": ["create", "update", "delete"]}]}
BOTH = ["main:refs/heads/agent/new", "main:refs/heads/main"]


@pytest.mark.parametrize("place", ["sha1", "sha256"], indirect=True)
def test_defaults_allow_new_branches_and_tags_and_fast_forwards(place: Place) -> None:
    """Both hashes."""
    status, text = place.push("main", "main:refs/heads/x/y", "main:refs/tags/v1")
    assert status == 0, text
    assert set(place.refs()) == {"refs/heads/agent/old", "refs/heads/main", "refs/heads/x/y", "refs/tags/v1"}
    assert place.refs()["refs/heads/main"] == place.git("rev-parse", "main")


@pytest.mark.parametrize("place", ["sha1", "sha256"], indirect=True)
def test_refused_ref_refuses_the_whole_push(place: Place) -> None:
    """Nothing moves; git shows the reason, and that the other was not attempted."""
    before = place.refs()
    status, text = place.push(*BOTH, grant=AGENT)
    assert (status, place.refs()) == (1, before)
    assert " ! [remote rejected] main -> main (credgate: no rule of this session matches this ref; it may push " in text
    assert "(credgate: not attempted: another ref in this push was refused)" in text
    assert "remote: credgate: refs/heads/main: update refused by push (push-ref)" in text
    assert "remote: credgate: this session may push refs/heads/agent/* (create, update, delete)" in text
    assert "up-to-date" not in text
    assert place.push(BOTH[0], grant=AGENT)[0] == 0
    assert "refs/heads/agent/new" in place.refs()


def test_partial_forwards_the_other_refs(place: Place) -> None:
    """In one report: one created, one refused."""
    before = place.refs()
    status, text = place.push(*BOTH, grant={**AGENT, "partial": True})
    assert status == 1
    assert " * [new branch]      main -> agent/new" in text
    assert " ! [remote rejected] main -> main (credgate: no rule of this session matches this ref" in text
    assert place.refs() == {**before, "refs/heads/agent/new": place.git("rev-parse", "main")}


def test_partial_does_not_apply_to_atomic(place: Place) -> None:
    """As git promises its user."""
    before = place.refs()
    status, text = place.push("--atomic", *BOTH, grant={**AGENT, "partial": True})
    assert (status, place.refs()) == (1, before)
    assert text.count("[remote rejected]") == 2
    assert place.push("--atomic", BOTH[0], "main:refs/heads/agent/y", grant=AGENT)[0] == 0


def test_partial_push_of_deletions_has_no_pack(place: Place) -> None:
    """The forge would wait for commands instead."""
    status, text = place.push(":refs/heads/agent/old", "main:refs/heads/main", grant={**AGENT, "partial": True})
    assert status == 1
    assert " - [deleted]         agent/old" in text
    assert set(place.refs()) == {"refs/heads/main"}


@pytest.mark.parametrize(
    ("ref", "reason"),
    [
        (":refs/heads/main", "no rule of this session matches this ref"),
        ("main:refs/for/main", "no rule of this session matches this ref"),
        ("main:refs/tags/v1", "no rule of this session matches this ref"),
        ("main:refs/heads/agent/x/y", "no rule of this session matches this ref"),
    ],
)
def test_pushes_that_are_not_granted_change_nothing(place: Place, ref: str, reason: str) -> None:
    """A foreign branch's deletion, a review, a tag, another prefix; the own branch can be deleted."""
    before = place.refs()
    status, text = place.push(ref, grant=AGENT)
    assert (status, place.refs()) == (1, before)
    assert f"credgate: {reason}" in text
    assert place.push(":refs/heads/agent/old", grant=AGENT)[0] == 0
    assert "refs/heads/agent/old" not in place.refs()


def test_namespace_must_be_named(place: Place) -> None:
    """A double star over all refs does not match reviews; their name does."""
    wide = {"push": [{"refs": "refs/**", "allow": ["create"]}]}
    status, text = place.push("main:refs/for/main", grant=wide)
    assert status == 1
    assert "(credgate: refs/for/ must be granted by name; this session may push refs/** (create))" in text
    named = {"push": [{"refs": "refs/for/*", "allow": ["create"]}]}
    assert place.push("main:refs/for/main", grant=named)[0] == 0


def test_sessions_push_under_their_own_name_only(place: Place) -> None:
    """The public id replaces ``{session}``."""
    own = {"push": [{"refs": "refs/heads/agent/{session}/*", "allow": ["create"]}]}
    status, text = place.push("main:refs/heads/agent/s-fedcba9876543210/x", grant=own)
    assert status == 1
    assert "it may push refs/heads/agent/s-0123456789abcdef/* (create))" in text
    assert place.push("main:refs/heads/agent/s-0123456789abcdef/x", grant=own)[0] == 0


def test_update_that_is_not_a_fast_forward_is_refused(place: Place) -> None:
    """By the inspection; with force granted there is none."""
    refspec = "+main:refs/heads/agent/old"
    before = place.refs()
    status, text = place.push(refspec, grant=AGENT, GATEKEEPER_FOUND="false")
    assert (status, place.refs()) == (1, before)
    assert "(credgate: not a fast-forward, and push[0] refs/heads/agent/* does not allow force: rebase, or" in text
    force = {"push": [{"refs": "refs/heads/agent/*", "allow": ["force"]}]}
    assert place.push(refspec, grant=force, GATEKEEPER_FOUND="false")[0] == 0


def test_policy_applies_to_any_grant(place: Place) -> None:
    """Main is the operator's."""
    grant = {"push": [{"refs": "refs/**", "allow": ["create", "update", "force", "delete"]}]}
    policy = {"push": [{"refs": "refs/heads/main", "allow": []}]}
    status, text = place.push("main", grant=grant, policy=policy)
    assert status == 1
    assert "(credgate: policy.push[0] refs/heads/main does not allow update; this session may push refs/** (" in text
    assert place.push("main:refs/heads/other", grant=grant, policy=policy)[0] == 0


def test_push_options_arrive_only_if_granted(place: Place) -> None:
    """Without a grant they are not offered; with one, each is judged."""
    hook = place.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho "$GIT_PUSH_OPTION_COUNT $GIT_PUSH_OPTION_0" >seen\n')
    hook.chmod(0o755)
    status, text = place.push("-o", "repo.private=false", "main")
    assert (status, text.splitlines()[0]) == (128, "fatal: the receiving end does not support push options")
    granted = {"push_options": ["ci.*"]}
    status, text = place.push("-o", "ci.skip", "-o", "repo.private=false", "main", grant=granted)
    assert status == 1
    assert (
        "(credgate: push option repo.private=false is not allowed by push_options; this session may send ci.*)" in text
    )
    assert not (place.bare / "seen").exists()
    assert place.push("-o", "ci.skip", "main", grant=granted)[0] == 0
    assert (place.bare / "seen").read_text() == "1 ci.skip\n"


def test_signed_pushes_are_not_offered(place: Place) -> None:
    """Git stops by itself, or continues unsigned."""
    status, text = place.push("--signed=yes", "main")
    assert status == 128
    assert "the receiving end does not support --signed push" in text
    assert place.push("--signed=if-asked", "main")[0] == 0


def test_push_from_a_shallow_clone_is_forwarded(place: Place) -> None:
    """Its shallow lines are encoded before the commands."""
    place.git("clone", "-q", "--depth=1", f"file://{place.home / 'work'}", "shallow", where=".")
    place.git("commit", "-q", "--allow-empty", "-m", "third", where="shallow")
    status, text = place.push("main:refs/heads/agent/new", grant=AGENT, where="shallow")
    assert (status, "refs/heads/agent/new" in place.refs()) == (1, False)
    assert "shallow update not allowed" in text
    place.git("config", "receive.shallowUpdate", "true", where="bare.git")
    assert place.push("main:refs/heads/agent/new", grant=AGENT, where="shallow")[0] == 0


def test_two_thousand_tags_are_allowed_and_one_more_is_refused(place: Place) -> None:
    """The report spans several bands."""
    tags = [f"main:refs/tags/t{number}" for number in range(2000)]
    status, text = place.push("-q", *tags, grant={"max_refs": 1999})
    assert (status, text.count("[remote rejected]"), len(place.refs())) == (1, 2000, 2)
    assert "(credgate: more than the 1999 refs that are allowed in one push: push fewer at a time)" in text
    assert place.push("-q", *tags)[0] == 0
    assert len(place.refs()) == 2002


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_clone_through_the_rewriter_is_complete(place: Place, version: str) -> None:
    """Every protocol version: the same refs and commits."""
    words = ["-c", f"protocol.version={version}"]
    remote = f"file://{place.bare}"
    plain = place.git(*words, "ls-remote", remote)
    assert place.git(*words, "ls-remote", place.through("upload-pack"), remote) == plain
    place.git(*words, "clone", "-q", "-b", "main", place.through("upload-pack"), remote, "copy", where=".")
    assert place.git("rev-parse", "HEAD", where="copy") == place.refs()["refs/heads/main"]


def test_packfile_uris_are_neither_offered_nor_used(place: Place) -> None:
    """A forge that has them and a client that wants them: it clones from the forge alone."""
    oid = place.git("hash-object", "-w", "--stdin", where="bare.git")
    place.git(
        "config", "uploadpack.blobPackfileUri", f"{oid} {'0' * 40} https://elsewhere.example/x.pack", where="bare.git"
    )
    remote = f"file://{place.bare}"
    words = ["-c", "fetch.uriProtocols=https", "-c", "protocol.version=2"]
    offered = place.run(*words, "ls-remote", remote, GIT_TRACE_PACKET="1")[1]
    assert "packfile-uris" in offered
    relayed = place.run(*words, "ls-remote", place.through("upload-pack"), remote, GIT_TRACE_PACKET="1")[1]
    assert "upload-pack< command=ls-refs" in relayed
    assert not [line for line in relayed.splitlines() if "packfile-uris" in line and "ls-remote<" in line]
    place.git(*words, "clone", "-q", "-b", "main", place.through("upload-pack"), remote, "copy", where=".")
