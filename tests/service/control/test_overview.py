"""One look at the gateway: counts and names, and nothing that is secret."""

from __future__ import annotations

import json

import jsonschema
import pytest
from attrs import evolve

from credgate import __version__
from credgate.audit.chain import Head, Link
from credgate.audit.event import Happening
from credgate.config.schema import PushPolicy
from credgate.loading.load import config_hash, policy_hash
from credgate.service.control.overview import Overview
from credgate.sessions.lease_clock import LeaseReading
from tests.fakes.control import NOW, Desk, config
from tests.fakes.schemas import schema


def overview(seq: int = 12) -> Overview:
    """Return one of a gateway that has run for a quarter of an hour."""
    return Overview(
        started=LeaseReading("boot", NOW.boot - 900.0, NOW.wall - 900.0),
        clock=lambda: NOW,
        config=config,
        places=lambda: {"git": "127.0.0.1:8080", "dns": "", "control": "/run/credgate/control.sock"},
        sessions=lambda: 2,
        connections=lambda: 3,
        transfers=lambda: 1,
        has_credential=lambda name: name == "github.com",
        dns=lambda: {"refused": 4},
        resolvers=lambda: [("192.0.2.53", 53)],
        head=lambda: Head(Link(seq, "ab" * 32)),
    )


def test_status_has_every_documented_key() -> None:
    """Scripts read them."""
    settings = config()
    told = overview()()
    assert told == {
        "version": __version__,
        "started_at": "2023-11-14T21:58:20.000Z",
        "uptime": 900.0,
        "now": "2023-11-14T22:13:20.000Z",
        "configuration": config_hash(settings),
        "policy": policy_hash(settings.policy),
        "listeners": {"git": "127.0.0.1:8080", "dns": "", "control": "/run/credgate/control.sock"},
        "audit": "stderr",
        "audit_head": f"12:{'ab' * 32}",
        "sessions": {"live": 2, "max": 3},
        "connections": 3,
        "transfers": 1,
        "default_forge": "github.com",
        "forges": [
            {"name": "github.com", "kind": "github", "url": "https://github.com", "credential": True},
            {"name": "git.example", "kind": "generic", "url": "https://git.example", "credential": False},
        ],
        "dns": {"counters": {"refused": 4}, "upstream": ["192.0.2.53#53"]},
    }
    jsonschema.validate(json.loads(json.dumps(told)), schema("status"))


def test_audit_head_is_empty_before_the_first_line() -> None:
    """Nothing that ``audit verify --head`` could look for."""
    told = overview(0)()
    assert told["audit_head"] == ""
    jsonschema.validate(json.loads(json.dumps(told)), schema("status"))


def test_policy_hash_changes_with_the_policy_only() -> None:
    """Operators compare it between machines."""
    assert policy_hash(PushPolicy()) == policy_hash(PushPolicy())
    assert policy_hash(evolve(PushPolicy(), max_refs=1)) != policy_hash(PushPolicy())


def test_status_is_served() -> None:
    """And is none where there is nothing to tell."""
    assert Desk(status=overview()).call("GET", "/v1/status").json["sessions"] == {"live": 2, "max": 3}
    assert Desk().call("GET", "/v1/status").status == 404


def test_running_transfers_are_listed() -> None:
    """The list may be empty."""
    running = {
        "session": "s-0123456789abcdef",
        "forge": "github.com",
        "repo": "octo/hello",
        "operation": "git-upload-pack",
        "peer": "10.0.0.7",
        "seconds": 1.5,
        "bytes_up": 10,
        "bytes_down": 2000,
    }
    answer = Desk(transfers=lambda: [running]).call("GET", "/v1/transfers")
    assert answer.json == {"transfers": [running]}
    jsonschema.validate(answer.json, schema("transfers"))
    assert Desk().call("GET", "/v1/transfers").json == {"transfers": []}


def made(desk: Desk, **more: str) -> str:
    """Make a session; return its id."""
    session_id: str = desk.call("POST", "/v1/sessions", {"absolute_ttl": "1h", **more}).json["id"]
    return session_id


def test_session_is_extended() -> None:
    """The response is the changed session, and an audit line names the peer."""
    desk = Desk()
    session_id = made(desk)
    answer = desk.call("POST", f"/v1/sessions/{session_id}/extend", {"for": "2h"})
    assert (answer.status, answer.json["id"]) == (200, session_id)
    assert answer.json["absolute_ttl"] > 7200
    assert answer.json == desk.call("GET", f"/v1/sessions/{session_id}").json
    assert desk.granted(Happening.SESSION_EXTENDED) == [(session_id, str(desk.peer))]


@pytest.mark.parametrize(
    ("payload", "status", "text"),
    [
        ({}, 400, "for must be a duration"),
        ({"for": "8d"}, 400, "for: no session lives longer than the configured 604800s"),
        ({"for": "1h", "repos": []}, 400, "Unknown key: repos"),
    ],
)
def test_refused_extension_changes_nothing(payload: object, status: int, text: str) -> None:
    """Extending is no way to widen."""
    desk = Desk()
    session_id = made(desk)
    before = desk.call("GET", f"/v1/sessions/{session_id}").json
    answer = desk.call("POST", f"/v1/sessions/{session_id}/extend", payload)
    assert (answer.status, answer.error[: len(text)]) == (status, text)
    assert desk.call("GET", f"/v1/sessions/{session_id}").json == before
    assert desk.granted(Happening.SESSION_EXTENDED) == []


@pytest.mark.parametrize("session_id", ["s-0000000000000000", "A" * 43])
def test_extending_an_unknown_session_is_answered_404(session_id: str) -> None:
    """A token in place of an id is unknown too."""
    answer = Desk().call("POST", f"/v1/sessions/{session_id}/extend", {"for": "1h"})
    assert (answer.status, answer.error) == (404, "Session not found")
