"""``GET /whoami``: what an agent may know about itself, and nothing else."""

from __future__ import annotations

import json

from credgate.sessions.model import Grant, PushRule
from credgate.sessions.whoami import whoami
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


def test_it_tells_what_may_be_done_and_until_when() -> None:
    """Times are wall-clock times, counted from now: the lease clock means nothing to a sandbox."""
    told = whoami(SESSION, now=2010.0, wall=1_800_000_000.0)
    assert told == {
        "session": SESSION.id,
        "repositories": [
            {"repo": "Octo/Hello", "forge": "github.com", "access": "write"},
            {"repo": "octo/*", "forge": "lab", "access": "read"},
            {
                "repo": "x/y",
                "forge": "lab",
                "access": "write",
                "push": [{"refs": "refs/heads/agent/*", "allow": ["create", "update"]}],
            },
            {"repo": "x/z", "forge": "lab", "access": "write", "push": []},
        ],
        "dns": ["pypi.org"],
        "expires_at": "2027-01-15T09:06:30Z",
        "idle_expires_at": "2027-01-15T08:01:30Z",
    }


def test_it_is_json_without_secrets() -> None:
    """Neither token nor secret, nor what they hash to, nor how the operator calls the sandbox."""
    text = json.dumps(whoami(SESSION, now=2010.0, wall=1_800_000_000.0))
    for hidden in (SESSION.token_digest.hex(), SESSION.secret_digest.hex(), SESSION.label, "token-1", "secret-1"):
        assert hidden not in text
