"""Dry runs: the same decision as for a real request, and what it still depends on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import Config, ForgeConfig, PushPolicy
from credgate.errors import InvalidValueError
from credgate.forges.registry import driver_for
from credgate.git.explain import NOBODY, ExplainQuestion, explain, parse_question
from credgate.git.push_rules import VERBS, decide, rules_for
from credgate.sessions.model import Grant, PushRule
from credgate.values import Reason, RepoPath

FORGES = (*Config().forges.values(), ForgeConfig(name="git.example", kind="generic", url="https://git.example"))
DRIVERS = {forge.name: driver_for(forge) for forge in FORGES}
PUSH = {"session": "s-1", "repo": "Octo/Hello.git", "verb": "create", "ref": "refs/heads/x"}
AGENT = {"repo": "octo/hello", "push": [{"refs": "refs/heads/{label}/{session}/*", "allow": ["create", "update"]}]}


def parse(**payload: Any) -> ExplainQuestion:
    """Parse with two real drivers."""
    return parse_question(payload, DRIVERS, "github.com")


def answer(policy: PushPolicy | None = None, **payload: Any) -> dict[str, object]:
    """Ask about a grant."""
    return explain(parse(**payload), policy or PushPolicy()).view()


def test_question_is_parsed() -> None:
    """Every key; the repository in normal form, null as absent."""
    assert parse(**PUSH, path=None) == ExplainQuestion(
        RepoPath("github.com", "octo/hello"), "create", b"refs/heads/x", session="s-1"
    )
    asked = parse(grant="a/b", forge="git.example", repo="A/B/C", verb="fetch", label="box")
    assert (asked.repo, asked.verb, asked.label) == (RepoPath("git.example", "A/B/C"), "fetch", "box")
    assert asked.grants == (Grant("a/b", "github.com"),)
    more = parse(**PUSH, path="caf\xe9", option="ci.skip")
    assert (more.path, more.option) == ("caf\xe9".encode(), b"ci.skip")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"session": None}, "Exactly one of session and grant is required"),
        ({"grant": "a/b"}, "Exactly one of session and grant is required"),
        ({"verb": "push"}, "verb must be one of fetch, create, update, force, delete"),
        ({"verb": None}, "verb must be one of fetch, create, update, force, delete"),
        ({"verb": 5}, "verb must be a string"),
        ({"repo": "octo"}, "Invalid repo format: octo"),
        ({"repo": None}, "Invalid repo format: "),
        ({"forge": "x"}, "Unknown forge: x (configured: github.com, git.example)"),
        (
            {"ref": "main"},
            "Invalid ref: main (a full ref name is required, such as refs/heads/<branch> or refs/tags/<tag>)",
        ),
        ({"ref": "refs/heads/\ud800"}, "Invalid ref: refs/heads/\\ud800 (a ref name must be valid UTF-8)"),
        ({"ref": None}, "Invalid ref:  (a full ref name is required, such as refs/heads/<branch> or refs/tags/<tag>)"),
        ({"path": "x" * 256}, "path cannot be compared: a file name has more than 255 bytes"),
        ({"verb": "fetch"}, "ref is not allowed with the verb fetch"),
        ({"refs": "x"}, "Unknown key: refs (known: session, grant, label, repo, forge, verb, ref, path, option)"),
        (
            {"session": None, "grant": AGENT},
            "The ref pattern refs/heads/{label}/{session}/* needs a session with a label",
        ),
    ],
)
def test_malformed_question_is_refused(change: dict[str, Any], text: str) -> None:
    """Its answer would be about something else."""
    with pytest.raises(InvalidValueError) as caught:
        parse(**(PUSH | change))
    assert str(caught.value) == text


def test_question_must_be_an_object() -> None:
    """Other JSON has no keys."""
    with pytest.raises(InvalidValueError, match="The body must be a JSON object"):
        parse_question([], DRIVERS, "github.com")


def test_answer_has_reason_and_rule() -> None:
    """As the audit line and git's refusal have."""
    grant = {"grant": AGENT, "label": "box", "repo": "octo/hello"}
    ref = f"refs/heads/box/{NOBODY}/x"
    assert answer(**grant, verb="create", ref=ref) == {
        "decision": "allow",
        "reason": "allowed",
        "rule": f"push[0] refs/heads/box/{NOBODY}/*",
        "text": "",
        "needs": [],
    }
    assert answer(**grant, verb="delete", ref=ref) == {
        "decision": "deny",
        "reason": "push-verb",
        "rule": f"push[0] refs/heads/box/{NOBODY}/*",
        "text": f"push[0] refs/heads/box/{NOBODY}/* does not allow delete; "
        f"this session may push refs/heads/box/{NOBODY}/* (create, update)",
        "needs": [],
    }


@pytest.mark.parametrize(
    ("verb", "more", "needs"),
    [
        ("create", {}, ["old-oid", "protected-paths"]),
        ("update", {}, ["fast-forward", "old-oid", "protected-paths"]),
        ("update", {"path": "README"}, ["fast-forward", "old-oid"]),
        ("delete", {}, ["old-oid"]),
    ],
)
def test_answer_lists_what_it_depends_on(verb: str, more: dict[str, str], needs: list[str]) -> None:
    """An allowed push may still be refused for its history."""
    grant = {"repo": "a/b", "protected_paths": ["x/**"], "require_old_oid": True}
    rule = {"push": [{"refs": "refs/heads/*", "allow": ["create", "update", "delete"]}]}
    told = answer(grant=grant | rule, repo="a/b", verb=verb, ref="refs/heads/x", **more)
    assert (told["decision"], told["needs"]) == ("allow", needs)


def test_granted_force_needs_no_history() -> None:
    """The gateway does not inspect it either."""
    grant = {"repo": "a/b", "push": [{"refs": "refs/heads/*", "allow": ["force"]}]}
    assert answer(grant=grant, repo="a/b", verb="update", ref="refs/heads/x")["needs"] == []


@pytest.mark.parametrize(
    ("more", "reason", "rule"),
    [
        ({"path": "x/y"}, Reason.PUSH_PATH, "protected_paths"),
        ({"option": "ci.skip"}, Reason.ALLOWED, "default.push[0] refs/heads/**"),
        ({"option": "repo.private=false"}, Reason.PUSH_OPTION, "push_options"),
        ({"path": "x/y", "verb": "delete"}, Reason.PUSH_VERB, "default.push[0] refs/heads/**"),
        ({"repo": "a/c"}, Reason.OUTSIDE_SESSION, "grants"),
    ],
)
def test_paths_and_options_are_judged(more: dict[str, str], reason: Reason, rule: str) -> None:
    """The ref's own decision comes first."""
    grant = {"repo": "a/b", "protected_paths": ["x/**"], "push_options": ["ci.skip"]}
    payload = {"grant": grant, "repo": "a/b", "verb": "create", "ref": "refs/heads/x", **more}
    told = answer(**payload)
    assert (told["reason"], told["rule"]) == (reason, rule)
    assert bool(told["text"]) == (told["decision"] == "deny")


def test_access_is_decided_by_the_grants() -> None:
    """As for a real request."""
    grant = {"grant": {"repo": "a/b", "access": "read"}, "repo": "a/b"}
    assert answer(**grant, verb="fetch")["decision"] == "allow"
    assert answer(**grant, verb="create", ref="refs/heads/x")["reason"] == "read-only"


def test_policy_is_applied() -> None:
    """The grant alone would allow it."""
    policy = PushPolicy(push=(PushRule("refs/heads/main", frozenset()),))
    told = answer(policy, grant="a/b", repo="a/b", verb="create", ref="refs/heads/main")
    assert told["rule"] == "policy.push[0] refs/heads/main"


grants = st.lists(
    st.builds(
        PushRule, st.sampled_from(["refs/heads/a", "refs/heads/*", "refs/**"]), st.frozensets(st.sampled_from(VERBS))
    )
).map(tuple)


@given(grants, st.sampled_from(VERBS), st.sampled_from(["refs/heads/a", "refs/heads/b", "refs/for/x"]))
def test_dry_run_of_a_session_decides_as_the_push(push: tuple[PushRule, ...], verb: str, ref: str) -> None:
    """The caller looks the session up."""
    grant = Grant("octo/hello", "github.com", push=push)
    question = parse(**(PUSH | {"verb": verb, "ref": ref}))
    told = explain(question, PushPolicy(), session="s-1", grants=[grant], label="box")
    assert told.decision == decide(rules_for(grant, PushPolicy(), "s-1", "box"), ref.encode(), verb)


def test_push_without_a_forge_credential_is_refused() -> None:
    """Before any rule, as for a real request; a fetch needs none."""
    question, nobody = parse(grant="a/b", repo="a/b", verb="create", ref="refs/heads/x"), PushPolicy()
    assert explain(question, nobody, has_credential=lambda repo: repo.path == "a/b").decision.allow
    refused = explain(question, nobody, has_credential=lambda _: False).decision
    assert (refused.reason, refused.rule) == (Reason.NO_FORGE_CREDENTIAL, "forge")
    fetch = parse(grant="a/b", repo="a/b", verb="fetch")
    assert explain(fetch, nobody, has_credential=lambda _: False).decision.allow
