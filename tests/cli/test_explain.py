"""``credgate explain``."""

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
    ("words", "status", "expected"),
    [
        (["fetch"], 0, ["allow"]),
        (["update", "refs/heads/agent/x"], 0, ["push[0] refs/heads/agent/*", "depends on", "fast-forward"]),
        (["update", "refs/heads/main"], 1, ["deny", "push-ref", "git shows", "it may push refs/heads/agent/*"]),
        (["delete", "refs/heads/agent/x"], 1, ["deny", "push-verb"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_decision_for_a_session_and_for_a_grant_is_the_same(
    gateway: Gateway, words: list[str], status: int, expected: list[str]
) -> None:
    """The exit status is the decision."""
    grant = ("octo/hello", "--push", "refs/heads/agent/*")
    made = (await asked("session", "create", "--repo", *grant, "--json")).json
    for who in (("--session", made["id"]), ("--grant", *grant)):
        result = await asked("explain", "octo/hello", *words, *who)
        assert result.status == status
        assert [word for word in expected if word not in result.out] == []
        result = await asked("explain", "octo/hello", *words, *who, "--json")
        assert result.status == status
        jsonschema.validate(result.json, schema("explain"))


@pytest_twisted.ensureDeferred
async def test_invalid_question_is_refused_by_the_gateway(gateway: Gateway) -> None:
    """With its message."""
    result = await asked("explain", "octo/hello", "create", "main", "--grant", "octo/hello")
    assert (result.status, result.line.startswith("Invalid ref: main")) == (1, True)
    result = await asked("explain", "octo/hello", "fetch", "--session", "s-0123456789abcdef")
    assert (result.status, result.line) == (1, "Session not found")
