"""What curl and treq say to the control API on a real socket, with the real registry behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.logger import globalLogPublisher

from tests.fakes.control_gateway import treq_on

if TYPE_CHECKING:
    from tests.fakes.control_gateway import Gateway

JSON = ("-H", "Content-Type: application/json")
CREATE = '{"container_ip": "10.0.0.7", "container_id": "box", "repos": ["octo/hello"]}'


@pytest_twisted.ensureDeferred
async def test_a_host_script_creates_uses_and_destroys_a_session_with_curl(gateway: Gateway) -> None:
    """The ancestor's socket was reachable by nobody; this is its shell functions' whole conversation."""
    status, fields, body = await gateway.curl("http://localhost/health")
    assert (status, body, fields["content-type"]) == (200, b'{"status": "healthy"}\n', "application/json")
    status, fields, body = await gateway.curl("-d", CREATE, *JSON, "http://localhost/session/create")
    assert (status, fields["cache-control"]) == (201, "no-store")
    made = json.loads(body)
    session = gateway.registry.authenticate(made["token"], made["secret"], "10.0.0.7")
    assert session is not None
    assert gateway.registry.authenticate(made["token"], made["secret"], "10.0.0.8") is None
    status, _, body = await gateway.curl("-X", "DELETE", f"http://localhost/session/{made['token']}")
    assert (status, body) == (200, b'{"status": "destroyed"}\n')
    assert gateway.registry.authenticate(made["token"], made["secret"], "10.0.0.7") is None
    assert (await gateway.curl("-X", "DELETE", f"http://localhost/session/{made['token']}"))[0] == 404


@pytest_twisted.ensureDeferred
async def test_treq_lists_shows_and_ends_sessions_by_id(gateway: Gateway) -> None:
    """The client that the command line is built on."""
    client = treq_on(gateway)
    made = await client.post("http://localhost/v1/sessions", json={"repos": ["octo/*"]})
    assert made.code == 201
    session_id = (await made.json())["id"]
    listed = await (await client.get("http://localhost/v1/sessions")).json()
    assert [session["id"] for session in listed["sessions"]] == [session_id]
    shown = await client.get(f"http://localhost/v1/sessions/{session_id}")
    assert await shown.json() == listed["sessions"][0]
    ended = await client.delete(f"http://localhost/v1/sessions/{session_id}")
    assert (ended.code, await ended.json()) == (200, {"status": "destroyed"})
    assert (await (await client.get("http://localhost/v1/sessions")).json()) == {"sessions": []}


@pytest_twisted.ensureDeferred
async def test_a_full_registry_is_503(gateway: Gateway) -> None:
    """With the real limit and the real error."""
    statuses = [(await gateway.curl("-d", "{}", *JSON, "http://localhost/v1/sessions"))[0] for _ in range(4)]
    assert statuses == [201, 201, 201, 503]


@pytest_twisted.ensureDeferred
async def test_readiness_follows_the_checks(gateway: Gateway) -> None:
    """An orchestrator asks with curl -f."""
    assert (await gateway.curl("http://localhost/v1/ready"))[0] == 200
    gateway.ready["git"] = False
    status, _, body = await gateway.curl("http://localhost/v1/ready")
    assert (status, json.loads(body)) == (503, {"status": "not ready", "checks": {"git": False}})


@pytest.mark.parametrize("size", [70_000, 500_000, 5_000_000])
@pytest.mark.parametrize("framing", [(), ("-H", "Transfer-Encoding: chunked")])
@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
@pytest_twisted.ensureDeferred
async def test_a_body_that_is_too_large_is_413_and_not_a_reset(
    gateway: Gateway, size: int, framing: tuple[str, ...], expect: str
) -> None:
    """The client may still be writing; it must find the answer, not a broken pipe."""
    arguments = ["-H", expect, *framing, *JSON, "--data-binary", "@-", "http://localhost/v1/sessions"]
    status, fields, body = await gateway.curl(*arguments, stdin=b" " * size)
    assert (status, fields["connection"]) == (413, "close")
    assert json.loads(body) == {"error": "the body is larger than 65536 bytes"}


@pytest_twisted.ensureDeferred
async def test_treq_finds_the_413_as_well(gateway: Gateway) -> None:
    """Twisted's client reads no answer before it has written its request."""
    response = await treq_on(gateway).post("http://localhost/v1/sessions", data=b" " * 200_000)
    assert (response.code, await response.json()) == (413, {"error": "the body is larger than 65536 bytes"})


# Logs.


@pytest_twisted.ensureDeferred
async def test_no_token_or_secret_is_ever_logged(gateway: Gateway) -> None:
    """Neither as created, nor in the URL of a DELETE, nor in a wrong one, by any observer's formatting."""
    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    made = json.loads((await gateway.curl("-d", CREATE, *JSON, "http://localhost/session/create"))[2])
    for path in (f"/session/{made['token']}", f"/session/{made['token']}/x", f"/v1/sessions/{made['token']}"):
        await gateway.curl("-X", "DELETE", f"http://localhost{path}")
        await gateway.curl(f"http://localhost{path}?{made['secret']}")
    globalLogPublisher.removeObserver(events.append)
    told = repr(events) + repr(gateway.audit.events)
    assert made["token"] not in told
    assert made["secret"] not in told
    assert "box" in told  # the audit line was written
