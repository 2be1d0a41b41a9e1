"""``POST /v1/forges/<name>/check``: a verdict for each credential, and what is no question."""

from __future__ import annotations

from typing import Any

import jsonschema

from credgate.errors import InvalidValueError
from tests.fakes.control import Desk
from tests.fakes.schemas import schema

TOLD = {"repositories": ["**"], "kind": "file", "state": "accepted", "text": "github.com answered its API's request"}
CHECK = "/v1/forges/github.com/check"


def desk(asked: list[tuple[str, str]]) -> Desk:
    """Answer for any forge, and note the question."""

    async def check(forge: str, repo: str) -> list[dict[str, Any]]:
        asked.append((forge, repo))
        if repo == "no name":
            raise InvalidValueError("repo: no repository's name on github.com; OWNER/REPO is meant")
        return [TOLD]

    return Desk(check=check)


def test_a_verdict_is_answered_for_each_credential() -> None:
    """In general, or for a repository."""
    asked: list[tuple[str, str]] = []
    answer = desk(asked).call("POST", CHECK, {})
    assert (answer.status, answer.json) == (200, {"forge": "github.com", "checks": [TOLD]})
    jsonschema.validate(answer.json, schema("check"))
    assert desk(asked).call("POST", CHECK, {"repo": "octo/hello"}).status == 200
    assert asked == [("github.com", ""), ("github.com", "octo/hello")]


def test_what_is_no_question_asks_nobody() -> None:
    """An unknown forge, a name that is none, another key, another method."""
    asked: list[tuple[str, str]] = []
    assert desk(asked).call("POST", "/v1/forges/elsewhere/check", {}).error == "No such forge"
    assert desk(asked).call("POST", CHECK, {"url": "https://elsewhere.example"}).status == 400
    assert desk(asked).call("POST", CHECK).status == 400
    assert desk(asked).call("GET", CHECK).status == 405
    assert Desk().call("POST", CHECK, {}).status == 404
    assert asked == []
    assert desk(asked).call("POST", CHECK, {"repo": "no name"}).error.startswith("repo: no repository's name")
