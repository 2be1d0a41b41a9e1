"""``GET /whoami``: what an agent may know about its session, and nothing else."""

from __future__ import annotations

import json
import re

import pytest
from attrs import evolve

from credgate.config.schema import PushPolicy
from credgate.git.whoami import whoami
from credgate.sessions.model import Grant, PushRule
from credgate.values import Access
from tests.fakes.sessions import session

SESSION = session(
    grants=(
        Grant("Octo/Hello", "github.com", normal="octo/hello"),
        Grant("octo/*", "lab", Access.READ),
        Grant("x/y", "lab", push=(PushRule("refs/heads/agent/*", frozenset({"update", "create"})),)),
        Grant("x/z", "lab", push=()),
    ),
    dns=("pypi.org",),
    label="the operator's own name",
    created=1000.0,
    used=2000.0,
    idle_ttl=100.0,
    absolute_ttl=5000.0,
)

DEFAULT = [
    {"refs": "refs/heads/**", "allow": ["create", "update"]},
    {"refs": "refs/tags/**", "allow": ["create"]},
]


def test_page_has_grants_and_ends() -> None:
    """Times are wall-clock times, counted from now."""
    told = whoami(SESSION, now=2010.0, wall=1_800_000_000.0, policy=PushPolicy())
    assert told == {
        "session": SESSION.id,
        "repositories": [
            {"repo": "Octo/Hello", "forge": "github.com", "access": "write", "push": DEFAULT},
            {"repo": "octo/*", "forge": "lab", "access": "read"},
            {
                "repo": "x/y",
                "forge": "lab",
                "access": "write",
                "push": [{"refs": "refs/heads/agent/*", "allow": ["create", "update"]}],
            },
            {"repo": "x/z", "forge": "lab", "access": "write", "push": []},
        ],
        "policy": {},
        "dns": ["pypi.org"],
        "expires_at": "2027-01-15T09:06:30Z",
        "idle_expires_at": "2027-01-15T08:01:30Z",
    }


def test_placeholders_are_substituted() -> None:
    """An agent reads the name of the branch that it may push."""
    rules = (PushRule("refs/heads/{label}/{session}/*", frozenset({"force"})),)
    asks = evolve(SESSION, label="box", grants=(Grant("a/b", "lab", push=rules),))
    policy = PushPolicy(push=(PushRule("refs/heads/{session}", frozenset()),))
    told = whoami(asks, now=2010.0, wall=1_800_000_000.0, policy=policy)
    assert told["repositories"] == [
        {
            "repo": "a/b",
            "forge": "lab",
            "access": "write",
            "push": [{"refs": f"refs/heads/box/{SESSION.id}/*", "allow": ["force"]}],
        }
    ]
    assert told["policy"] == {"push": [{"refs": f"refs/heads/{SESSION.id}", "allow": []}]}


def test_limits_of_the_policy_are_shown_if_set() -> None:
    """As a refusal would show them."""
    policy = PushPolicy(max_push_bytes=5, protected_paths=(".github/**",), push_options=(), require_old_oid=True)
    told = whoami(SESSION, now=2010.0, wall=1_800_000_000.0, policy=policy)
    assert told["policy"] == {
        "max_push_bytes": 5,
        "push_options": [],
        "protected_paths": [".github/**"],
        "require_old_oid": True,
    }


def test_page_is_json_without_secrets() -> None:
    """Neither token nor secret, nor their digests, nor the operator's label."""
    text = json.dumps(whoami(SESSION, now=2010.0, wall=1_800_000_000.0, policy=PushPolicy()))
    for hidden in (SESSION.token_digest.hex(), SESSION.secret_digest.hex(), SESSION.label, "token-1", "secret-1"):
        assert hidden not in text


def test_credentials_of_a_grant_are_listed() -> None:
    """Ids, kinds and ends, from the caller."""
    asked: list[tuple[Grant, object]] = []

    def named(grant: Grant, one: object) -> list[dict[str, object]]:
        asked.append((grant, one))
        return [{"id": "5f1d0c9be772", "kind": "cmd"}] if grant.forge == "lab" else []

    told = whoami(SESSION, now=2010.0, wall=1_800_000_000.0, policy=PushPolicy(), named=named)
    entries = told["repositories"]
    assert isinstance(entries, list)
    assert [entry["credentials"] for entry in entries] == [[], *[[{"id": "5f1d0c9be772", "kind": "cmd"}]] * 3]
    assert asked == [(grant, SESSION) for grant in SESSION.grants]


def test_no_pattern_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling the patterns of hundreds of grants would block the reactor."""
    rules = tuple(PushRule(f"refs/heads/{{session}}/{at:04x}-not-seen-before/*", frozenset()) for at in range(50))
    many = evolve(SESSION, grants=(Grant("x/y", "lab", push=rules),))
    monkeypatch.setattr(re, "compile", pytest.fail)
    told = whoami(many, now=2010.0, wall=1_800_000_000.0, policy=PushPolicy(push=rules))
    (repository,) = told["repositories"]  # type: ignore[misc]  # a list, as JSON has it
    assert repository["push"][0]["refs"] == f"refs/heads/{SESSION.id}/0000-not-seen-before/*"
    assert told["policy"]["push"] == repository["push"]  # type: ignore[index]  # the same
