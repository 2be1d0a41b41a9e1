"""``credgate explain``: a decision, without asking a forge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jsonschema
import pytest
import pytest_twisted

from tests.fakes.cli import asked
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from tests.fakes.control_gateway import Gateway


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["fetch"], 0, ["allow"]),
        (["update", "refs/heads/agent/x"], 0, ["push[0] refs/heads/agent/*", "if it turns out", "fast-forward"]),
        (["update", "refs/heads/main"], 1, ["deny", "push-ref", "git shows", "it may push refs/heads/agent/*"]),
        (["delete", "refs/heads/agent/x"], 1, ["deny", "push-verb"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_session_or_a_grant_is_judged(gateway: Gateway, words: list[str], status: int, said: list[str]) -> None:
    """The exit status is the decision; both say the same."""
    grant = ("octo/hello", "--push", "refs/heads/agent/*")
    made = (await asked("session", "create", "--repo", *grant, "--json")).json
    for who in (("--session", made["id"]), ("--grant", *grant)):
        told = await asked("explain", "octo/hello", *words, *who)
        assert told.status == status
        assert [word for word in said if word not in told.out] == []
        told = await asked("explain", "octo/hello", *words, *who, "--json")
        assert told.status == status
        jsonschema.validate(told.json, schema("explain"))


@pytest_twisted.ensureDeferred
async def test_a_question_that_cannot_be_asked_is_the_gateway_s_to_refuse(gateway: Gateway) -> None:
    """In its own words."""
    told = await asked("explain", "octo/hello", "create", "main", "--grant", "octo/hello")
    assert (told.status, told.line.startswith("Invalid ref: main")) == (1, True)
    told = await asked("explain", "octo/hello", "fetch", "--session", "s-0123456789abcdef")
    assert (told.status, told.line) == (1, "Session not found")
