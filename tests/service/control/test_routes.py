"""The routes: keys, status codes and texts that scripts rely on."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from credgate import __version__
from credgate.audit.event import Happening
from credgate.errors import ConfigError, StoreError
from credgate.service import turns
from credgate.service.control.routes import READY_TIMEOUT
from credgate.sessions import tokens
from tests.fakes.control import OWN_UID, Desk, answers

IP = {"container_ip": "10.0.0.7"}


# What the ancestor had.


def test_index_and_health_answer_as_the_ancestor_s_did() -> None:
    """Host scripts poll them; the keys are the contract."""
    desk = Desk()
    assert desk.call("GET", "/").json == {"service": "credgate", "version": __version__}
    assert desk.call("GET", "/health").json == {"status": "healthy"}


def test_create_answers_the_ancestor_s_four_keys() -> None:
    """Its shell function reads them with jq."""
    desk = Desk()
    payload = {**IP, "container_id": "sandbox-1", "repos": ["octo/hello"]}
    answer = desk.call("POST", "/session/create", payload, Content_Type="application/json")
    assert answer.status == 201
    assert list(answer.json) == ["token", "secret", "ttl_inactivity_hours", "ttl_absolute_days"]
    assert (answer.json["ttl_inactivity_hours"], answer.json["ttl_absolute_days"]) == (24, 7)
    (session,) = desk.registry.sessions.values()
    assert session.token_digest == tokens.digest(answer.json["token"])
    assert session.secret_digest == tokens.digest(answer.json["secret"])
    assert (session.label, str(session.bound_to), session.grants[0].repo) == ("sandbox-1", "10.0.0.7/32", "octo/hello")


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({}, "container_ip is required"),
        ({"container_ip": "gateway"}, "container_ip must be a valid IP address"),
        ({"container_ip": 167772167}, "container_ip must be a valid IP address"),
        ({**IP, "container_id": "a/b"}, "container_id must be alphanumeric with optional _.- separators"),
        ({**IP, "repos": {}}, "repos must be a list"),
        ({**IP, "repos": ""}, "repos must be a list"),
        ({**IP, "repos": [1]}, "Each repo must be in owner/repo format"),
        ({**IP, "repos": ["hello"]}, "Invalid repo format: hello"),
        ([], "The body must be a JSON object"),
        ("text", "The body must be a JSON object"),
        ({**IP, "repo": []}, "Unknown key: repo (known: container_ip, container_id, repos)"),
        ({**IP, "repos": [[[[[[[[]]]]]]]]}, "the body is nested deeper than 8 levels"),
    ],
)
def test_a_wrong_create_is_400_with_what_is_wrong(payload: object, text: str) -> None:
    """The ancestor's texts word for word, where it had one; it answered 500 to the rest."""
    desk = Desk()
    answer = desk.call("POST", "/session/create", payload)
    assert (answer.status, answer.error, desk.registry.sessions) == (400, text, {})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"null", b"[]", b'{"container_ip": "10.0.0.7", "container_ip": "10.0.0.8"}']
)
def test_what_is_no_json_object_is_400(body: bytes) -> None:
    """Malformed input is never our fault."""
    (answer,) = Desk().ask(b"POST /session/create HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    assert answer.status == 400
    assert answer.error


@pytest.mark.parametrize("path", ["/session/create", "/v1/sessions"])
@pytest.mark.parametrize(
    "media_type",
    ["application/jsonp", "text/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
def test_body_of_another_media_type_is_answered_415(path: str, media_type: str) -> None:
    """Curl -d sends a form by default; the text says what to add."""
    answer = Desk().call("POST", path, IP, Content_Type=media_type)
    assert (answer.status, answer.error) == (415, "send the body with Content-Type: application/json")


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8", "application/json ;"])
def test_every_spelling_of_the_json_media_type_is_accepted(media_type: str) -> None:
    """Media types are case-insensitive and may have parameters (RFC 9110 section 8.3.1)."""
    assert Desk().call("POST", "/v1/sessions", IP, Content_Type=media_type).status == 201


def test_destroy_by_token_ends_the_session_and_says_so_once() -> None:
    """The second time there is none."""
    desk = Desk()
    token = desk.call("POST", "/session/create", IP).json["token"]
    first, second = desk.call("DELETE", f"/session/{token}"), desk.call("DELETE", f"/session/{token}")
    assert (first.status, first.json) == (200, {"status": "destroyed"})
    assert (second.status, second.error) == (404, "Session not found")


@pytest.mark.parametrize("token", ["x", "T" * 42, "T" * 44, "~" * 43, "create"])
def test_what_cannot_be_a_token_is_404_without_a_question(token: str) -> None:
    """No malformed text reaches the registry."""
    desk = Desk()
    assert desk.call("DELETE", f"/session/{token}").status == 404
    assert desk.registry.revoked == []


def test_beyond_the_limit_create_is_503_with_the_ancestor_s_text() -> None:
    """Scripts look for it."""
    desk = Desk()
    statuses = [desk.call("POST", "/session/create", IP).status for _ in range(3)]
    answer = desk.call("POST", "/session/create", IP)
    assert statuses == [201, 201, 201]
    assert (answer.status, answer.error) == (503, "Maximum session limit (3) exceeded")


# What is new.


def test_v1_create_answers_the_secrets_and_all_that_a_listing_shows() -> None:
    """One call is enough to set up a sandbox and to know how to end it."""
    desk = Desk()
    payload = {
        "bind": "10.1.0.0/16",
        "label": "box",
        "idle_ttl": "90m",
        "absolute_ttl": "36h",
        "dns": ["Example.com."],
        "repos": [
            "octo/hello",
            {"repo": "group/sub/repo", "forge": "git.example", "access": "read"},
            {"repo": "octo/*", "push": [{"refs": "refs/heads/agent/*", "allow": ["update", "create"]}]},
        ],
    }
    answer = desk.call("POST", "/v1/sessions", payload)
    (session,) = desk.registry.sessions.values()
    assert (answer.status, answer.json["id"]) == (201, session.id)
    assert tokens.digest(answer.json["token"]) == session.token_digest
    assert {key: value for key, value in answer.json.items() if key not in ("id", "token", "secret")} == {
        "ttl_inactivity_hours": 1.5,
        "ttl_absolute_days": 1.5,
        "label": "box",
        "bind": "10.1.0.0/16",
        "repos": [
            {"repo": "octo/hello", "forge": "github.com", "access": "write"},
            {"repo": "group/sub/repo", "forge": "git.example", "access": "read"},
            {
                "repo": "octo/*",
                "forge": "github.com",
                "access": "write",
                "push": [{"refs": "refs/heads/agent/*", "allow": ["create", "update"]}],
            },
        ],
        "dns": ["example.com"],
        "created_at": "2023-11-14T22:13:11Z",
        "used_at": "2023-11-14T22:13:20Z",
        "expires_at": "2023-11-14T23:43:20Z",
        "idle_ttl": 5400,
        "absolute_ttl": 129600,
    }


def test_sessions_are_listed_oldest_first_and_without_their_secrets() -> None:
    """A listing may go into a ticket."""
    desk = Desk()
    made = [desk.call("POST", "/v1/sessions", {"label": label}).json for label in ("one", "two")]
    listed = desk.call("GET", "/v1/sessions")
    assert [entry["label"] for entry in listed.json["sessions"]] == ["one", "two"]
    for session in made:
        assert session["token"].encode() not in listed.body
        assert session["secret"].encode() not in listed.body
        assert tokens.digest(session["token"]).hex().encode() not in listed.body


def test_a_long_list_of_sessions_is_written_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One session a turn here; in the order of a list that is written at once."""
    desk = Desk()
    for label in ("one", "two", "three"):
        desk.call("POST", "/v1/sessions", {"label": label})
    at_once = desk.call("GET", "/v1/sessions").json
    paused: list[float] = []

    def pause(_reactor: object, seconds: float, _call: object) -> Deferred[None]:
        paused.append(seconds)
        return succeed(None)

    monkeypatch.setattr(turns, "SLICE", 0.0)
    monkeypatch.setattr(turns, "deferLater", pause)
    assert desk.call("GET", "/v1/sessions").json == at_once
    assert [entry["label"] for entry in at_once["sessions"]] == ["one", "two", "three"]
    assert paused == [0, 0, 0]


def test_a_session_is_shown_and_ended_by_its_public_id() -> None:
    """So that no token needs to be kept on the host."""
    desk = Desk()
    made = desk.call("POST", "/v1/sessions", {}).json
    path = f"/v1/sessions/{made['id']}"
    shown = desk.call("GET", path)
    assert shown.json == desk.call("GET", "/v1/sessions").json["sessions"][0]
    assert shown.json.items() <= made.items()
    assert desk.call("DELETE", path).json == {"status": "destroyed"}
    assert [desk.call(method, path).status for method in ("GET", "DELETE")] == [404, 404]


@pytest.mark.parametrize("session_id", ["x", "s-0", "s-" + "A" * 16, "T" * 43])
def test_what_cannot_be_an_id_is_404_without_a_question(session_id: str) -> None:
    """A token put there by mistake goes nowhere."""
    desk = Desk()
    for method in ("GET", "DELETE"):
        assert desk.call(method, f"/v1/sessions/{session_id}").error == "Session not found"
    assert desk.registry.revoked == []


def test_v1_knows_the_ancestor_s_keys_and_refuses_unknown_ones() -> None:
    """A misspelt limit must not be a missing one."""
    desk = Desk()
    assert desk.call("POST", "/v1/sessions", {**IP, "container_id": "x"}).status == 201
    assert desk.call("POST", "/v1/sessions", {"idle-ttl": "1h"}).error.startswith("Unknown key: idle-ttl")


def test_new_session_is_audited_with_its_creator_before_the_answer() -> None:
    """No client may have the secrets of a session without an audit line."""
    desk = Desk()
    made = desk.call("POST", "/v1/sessions", {}).json
    assert desk.granted(Happening.SESSION_CREATED) == [(made["id"], f"uid:{OWN_UID}")]


# Ready.


def test_ready_is_200_when_every_check_holds() -> None:
    """An orchestrator reads the status, a person the checks."""
    answer = Desk(readiness=lambda: succeed({"git": True, "store": True})).call("GET", "/v1/ready")
    assert (answer.status, answer.json) == (200, {"status": "ready", "checks": {"git": True, "store": True}})


@pytest.mark.parametrize("checks", [{"git": True, "store": False}, {"git": True, "store": "yes"}])
def test_ready_is_503_unless_every_check_is_true(checks: dict[str, Any]) -> None:
    """Could not tell is not ready."""
    answer = Desk(readiness=lambda: succeed(checks)).call("GET", "/v1/ready")
    assert (answer.status, answer.json) == (503, {"status": "not ready", "checks": checks})


def test_ready_names_the_failure_when_nothing_was_checked() -> None:
    """An empty list of checks would name no failure."""
    answer = Desk(readiness=lambda: succeed({})).call("GET", "/v1/ready")
    assert (answer.status, answer.json) == (503, {"status": "not ready", "checks": {"readiness": False}})


def test_ready_says_draining_while_the_gateway_is_being_stopped() -> None:
    """Whoever restarts it must tell that from a part that broke."""
    checks = {"serving": False, "git": False}
    answer = Desk(readiness=lambda: succeed(checks)).call("GET", "/v1/ready")
    assert (answer.status, answer.json) == (503, {"status": "draining", "checks": checks})


def test_ready_is_503_when_the_checks_fail(logged: list[dict[str, Any]]) -> None:
    """A broken check is no traceback for whoever polls."""

    def broken() -> Deferred[dict[str, bool]]:
        raise ZeroDivisionError

    answer = Desk(readiness=broken).call("GET", "/v1/ready")
    assert (answer.status, answer.json) == (503, {"status": "not ready", "checks": {"readiness": False}})
    assert [event["type"] for event in logged] == ["ZeroDivisionError"]


def test_ready_is_503_when_the_checks_hang() -> None:
    """A check that never ends is one that fails."""
    desk = Desk(readiness=Deferred)
    channel, wire = desk.connect()
    channel.dataReceived(b"GET /v1/ready HTTP/1.1\r\nHost: x\r\n\r\n")
    assert wire.value() == b""
    desk.clock.advance(READY_TIMEOUT)
    (answer,) = answers(wire.value())
    assert (answer.status, answer.json["checks"]) == (503, {"readiness": False})


def test_a_client_that_leaves_ends_the_checks_it_asked_for(logged: list[dict[str, Any]]) -> None:
    """Nothing waits for nobody, and nothing is logged of it."""
    waiting: Deferred[dict[str, bool]] = Deferred()
    desk = Desk(readiness=lambda: waiting)
    channel, _ = desk.connect()
    channel.dataReceived(b"GET /v1/ready HTTP/1.1\r\nHost: x\r\n\r\n")
    channel.connectionLost(Failure(ConnectionLost()))
    assert (waiting.called, desk.clock.getDelayedCalls(), logged) == (True, [], [])


# Every answer.


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/", "GET, HEAD"),
        ("PUT", "/health", "GET, HEAD"),
        ("DELETE", "/v1/ready", "GET, HEAD"),
        ("GET", "/session/create", "DELETE, POST"),
        ("GET", "/session/" + "T" * 43, "DELETE"),
        ("PATCH", "/v1/sessions", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/sessions/s-1", "DELETE, GET, HEAD"),
        ("TRACE", "/health", "GET, HEAD"),
        ("CONNECT", "/health", "GET, HEAD"),
        ("PROPFIND", "/health", "GET, HEAD"),
    ],
)
def test_a_method_that_a_route_lacks_is_405_and_says_which_it_has(method: str, path: str, allow: str) -> None:
    """In JSON, where the framework would answer in HTML."""
    answer = Desk().call(method, path)
    assert (answer.status, answer.error, answer.fields["allow"]) == (405, "Method not allowed", allow)


@pytest.mark.parametrize("path", ["/", "/health", "/v1/ready", "/v1/sessions", "/nowhere"])
def test_head_is_get_without_the_body(path: str) -> None:
    """Some health checks ask that way."""
    got, head = Desk().call("GET", path), Desk().call("HEAD", path)
    assert (head.status, head.body) == (got.status, b"")
    assert head.fields["content-length"] == str(len(got.body))


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/v1/sessions"), ("GET", "/x"), ("PUT", "/")])
def test_every_answer_is_json_of_known_length_that_nobody_keeps(method: str, path: str) -> None:
    """Created secrets least of all."""
    answer = Desk().call(method, path, {})
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["cache-control"] == "no-store"
    assert answer.fields["server"] == "credgate"
    assert answer.body.endswith(b"\n")


# Trouble.


def test_a_store_that_cannot_be_written_is_503() -> None:
    """Nothing was promised, so nothing is answered as done."""
    desk = Desk()
    made = desk.call("POST", "/v1/sessions", {}).json
    desk.registry.fails = StoreError("/var/lib/credgate/sessions.db: disk full")
    answers_ = [
        desk.call("POST", "/v1/sessions", {}),
        desk.call("POST", "/session/create", IP),
        desk.call("DELETE", f"/v1/sessions/{made['id']}"),
        desk.call("DELETE", f"/session/{made['token']}"),
    ]
    assert [answer.status for answer in answers_] == [503] * 4
    assert {answer.error for answer in answers_} == {"The session store cannot be written"}


def test_our_own_mistake_is_500_without_its_text(logged: list[dict[str, Any]]) -> None:
    """The text of an exception may quote what was sent; its kind and place are enough to find it."""
    desk = Desk()
    desk.registry.fails = KeyError("T" * 43)
    answer = desk.call("POST", "/v1/sessions", {})
    assert (answer.status, answer.error) == (500, "Internal server error")
    (event,) = logged
    assert event["kind"] == "KeyError"
    assert "control.py" in event["where"]
    assert "TTT" not in repr(event)


def test_a_client_that_leaves_before_its_answer_leaves_no_session_behind() -> None:
    """Nobody knows its secrets: it would only count against the limit."""
    desk = Desk()
    desk.registry.hold = Deferred()
    channel, wire = desk.connect()
    channel.dataReceived(b"POST /v1/sessions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    channel.connectionLost(Failure(ConnectionLost()))
    assert desk.granted(Happening.SESSION_CREATED) == []
    desk.registry.hold.callback(None)
    ((session, _peer),) = desk.granted(Happening.SESSION_CREATED)
    assert (desk.registry.revoked, desk.registry.sessions, wire.value()) == ([session], {}, b"")


def test_a_client_that_leaves_while_the_store_fails_leaves_no_failure_behind() -> None:
    """An unhandled one would be a traceback in the log."""
    desk = Desk()
    desk.registry.hold = Deferred()
    channel, _ = desk.connect()
    channel.dataReceived(b"POST /v1/sessions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    channel.connectionLost(Failure(ConnectionLost()))
    desk.registry.fails = StoreError("disk full")
    desk.registry.hold.callback(None)
    assert desk.registry.sessions == {}


@pytest.mark.parametrize(
    ("outcome", "status", "body"),
    [
        ({"status": "reloaded"}, 200, {"status": "reloaded"}),
        (ConfigError("not TOML", file="credgate.toml", line=3), 422, {"error": "credgate.toml:3: not TOML"}),
    ],
)
def test_a_reload_is_told_what_became_of_it(outcome: Any, status: int, body: object) -> None:
    """422 says file and line, and that nothing changed is the reloader's promise."""

    async def reload() -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    desk = Desk()
    assert desk.call("POST", "/v1/reload").status == 404
    desk.reload = reload
    answer = desk.call("POST", "/v1/reload")
    assert (answer.status, answer.json) == (status, body)
