"""``POST /v1/explain``: the answer that git would get, before anybody pushes."""

from __future__ import annotations

from typing import Any

import pytest

from credgate.config.schema import PushPolicy
from credgate.sessions.model import PushRule
from tests.fakes.control import Desk

AGENT = {"repo": "octo/hello", "push": [{"refs": "refs/heads/{label}/{session}/*", "allow": ["create", "update"]}]}
DEFAULT = {"grant": "octo/hello", "repo": "octo/hello", "verb": "create", "ref": "refs/heads/x"}
ALLOWED = {"decision": "allow", "reason": "allowed", "rule": "default.push[0] refs/heads/**", "text": "", "needs": []}


def ask(desk: Desk, **question: Any) -> Any:
    """Ask what will be answered 200."""
    answer = desk.call("POST", "/v1/explain", question)
    assert answer.status == 200, answer.body
    return answer.json


def made(desk: Desk, *repos: Any, **more: Any) -> str:
    """Make a session; return its id."""
    answer = desk.call("POST", "/v1/sessions", {"repos": list(repos), **more})
    assert answer.status == 201, answer.body
    return str(answer.json["id"])


def test_a_grant_is_judged_without_a_session() -> None:
    """Before an operator gives it out."""
    assert ask(Desk(), **DEFAULT) == ALLOWED
    assert ask(Desk(), **{**DEFAULT, "verb": "update"}) == {**ALLOWED, "needs": ["fast-forward"]}
    refused = ask(Desk(), **{**DEFAULT, "verb": "delete"})
    assert (refused["decision"], refused["reason"]) == ("deny", "push-verb")
    assert refused["rule"] == "default.push[0] refs/heads/**"
    assert "does not allow delete; this session may push refs/heads/** (create, update)" in refused["text"]


def test_a_session_is_judged_with_its_own_id_and_label() -> None:
    """Another session's branch is another's."""
    desk = Desk()
    mine, other = made(desk, AGENT, label="box"), made(desk, AGENT, label="box")
    question = {"session": mine, "repo": "octo/hello", "verb": "create"}
    assert ask(desk, **question, ref=f"refs/heads/box/{mine}/x")["reason"] == "allowed"
    assert ask(desk, **question, ref=f"refs/heads/box/{other}/x")["reason"] == "push-ref"
    assert ask(desk, **question, ref=f"refs/heads/x/{mine}/x")["reason"] == "push-ref"


def test_what_is_not_granted_at_all_is_said_as_git_is_told() -> None:
    """Scope comes before rules."""
    desk = Desk()
    session = made(desk, {"repo": "octo/read", "access": "read"})
    fetch = {"session": session, "repo": "octo/read", "verb": "fetch"}
    assert ask(desk, **fetch)["decision"] == "allow"
    assert ask(desk, **{**fetch, "repo": "octo/other"})["reason"] == "outside-session"
    assert ask(desk, **{**fetch, "verb": "create", "ref": "refs/heads/x"})["reason"] == "read-only"


def test_the_policy_in_force_is_asked() -> None:
    """After a reload, the new one."""
    desk = Desk()
    assert ask(desk, **DEFAULT)["decision"] == "allow"
    desk.policy = PushPolicy(push=(PushRule("refs/heads/x", frozenset()),))
    refused = ask(desk, **DEFAULT)
    assert (refused["reason"], refused["rule"]) == ("push-verb", "policy.push[0] refs/heads/x")
    assert ask(desk, **{**DEFAULT, "ref": "refs/heads/y"})["decision"] == "allow"


def test_a_forge_without_a_credential_takes_no_push() -> None:
    """As the gateway would find; it still serves reads."""
    desk = Desk(without={"github.com"})
    session = made(desk, "octo/hello")
    question = {"session": session, "repo": "octo/hello"}
    assert ask(desk, **DEFAULT)["reason"] == "no-forge-credential"
    assert ask(desk, **question, verb="create", ref="refs/heads/x")["reason"] == "no-forge-credential"
    assert ask(desk, **question, verb="fetch")["reason"] == "allowed"


@pytest.mark.parametrize(
    ("question", "status", "text"),
    [
        ({**DEFAULT, "grant": None, "session": "s-0123456789abcdef"}, 404, "Session not found"),
        ({**DEFAULT, "grant": None}, 400, "Exactly one of session and grant is required"),
        ({**DEFAULT, "verb": "push"}, 400, "verb must be one of fetch, create, update, force, delete"),
        ({**DEFAULT, "grant": {"repo": "a/b", "x": 1}}, 400, "Unknown key: x (known: "),
        ({**DEFAULT, "repository": "a/b"}, 400, "Unknown key: repository (known: session, grant, label, "),
        ([], 400, "The body must be a JSON object"),
    ],
)
def test_a_question_that_is_not_understood_is_refused(question: Any, status: int, text: str) -> None:
    """An answer to another question would be believed."""
    answer = Desk().call("POST", "/v1/explain", question)
    assert answer.status == status
    assert answer.error.startswith(text)


def test_it_is_json_and_a_post_only() -> None:
    """The rules of every route."""
    answer = Desk().call("POST", "/v1/explain", DEFAULT, Content_Type="text/plain")
    assert (answer.status, answer.error) == (415, "send the body with Content-Type: application/json")
    answer = Desk().call("GET", "/v1/explain")
    assert (answer.status, answer.fields["allow"]) == (405, "POST")


def test_asking_changes_nothing() -> None:
    """It uses and creates no session, and writes no audit line."""
    desk = Desk()
    session = made(desk, "octo/hello")
    before, events = dict(desk.registry.sessions), len(desk.audit.events)
    ask(desk, session=session, repo="octo/hello", verb="fetch")
    assert (desk.registry.sessions, len(desk.audit.events)) == (before, events)
