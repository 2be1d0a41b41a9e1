"""Identity: failed logins get identical answers; no field or address authenticates; no login reaches the forge.

The differences that matter are differences of bytes, so answers are compared whole; and what reaches the forge is
compared to what reaches it from a client that sends nothing out of the ordinary.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.attacks.conftest import REPO
from tests.attacks.rawclient import RawClient, ask, login
from tests.attacks.scripted import Said
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.attacks.conftest import Field, StartField
    from tests.fakes.gateway import Lease

HERE, THERE = "127.0.0.1", "127.0.0.66"
FOREIGN = (
    b"Cookie: session=1", b"Proxy-Authorization: Basic eDp5", b"X-Forwarded-For: 127.0.0.66",
    b"Forwarded: for=127.0.0.66", b"X-Real-IP: 127.0.0.66", b"X-Forwarded-Host: forge.test",
    b"X-Forwarded-Proto: https", b"X-Original-URL: /octo/secret", b"X-Rewrite-URL: /octo/secret",
    b"X-HTTP-Method-Override: DELETE", b"Range: bytes=0-1", b"If-None-Match: *",
    b"If-Modified-Since: Fri, 01 Jan 1980 00:00:00 GMT", b"Via: 1.1 x", b"TE: trailers", b"Trailer: Authorization",
    b"Keep-Alive: timeout=9", b"Origin: http://x", b"Referer: http://x/", b"X-GitHub-Api-Version: 1",
    b"Private-Token: x", b"X-Access-Token: x", b"Sudo: root", b"Content-Location: /x", b"Max-Forwards: 1",
    b"Cache-Control: only-if-cached", b"Git-Protocol: version=2:object-format=sha1", b"Git-Protocol: version=3",
    b"Accept-Encoding: br, deflate", b"Connection: x-api-key", b"Alt-Used: forge.test", b"Early-Data: 1",
    b"Upgrade-Insecure-Requests: 1",
)  # fmt: skip


def _shown(field: Field, line: bytes, *, source: str = HERE) -> tuple[int, bytes]:
    """Status and every byte of the answer to a discovery that shows ``line``."""
    data = field.discovery(REPO).replace(field.authorization, line)
    heard = ask(field.gateway.port, data, answers=1, source=source)
    return heard.answers[0].status, heard.data


def _basic(user_pass: str) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(user_pass.encode("latin-1"))


def _expired(field: Field) -> Lease:
    lease = field.gateway.grant([REPO], absolute_ttl="1s")
    wait_until(lambda: _shown(field, login(lease.line))[0] != 200, "the session expires")
    return lease


def _revoked(field: Field) -> Lease:
    lease = field.gateway.grant([REPO])
    assert _shown(field, login(lease.line))[0] == 200
    field.gateway.revoke(lease)
    return lease


def _wrong_lines(field: Field) -> dict[str, str]:
    """Every way to be wrong, as TOKEN:SECRET."""
    live, other = field.lease, field.gateway.grant([REPO])
    return {
        "unknown": f"{secrets.token_urlsafe(32)}:{secrets.token_urlsafe(32)}",
        "wrong secret": f"{live.token}:{secrets.token_urlsafe(32)}",
        "secret of another": f"{live.token}:{other.secret}",
        "token of another": f"{other.token}:{live.secret}",
        "swapped": f"{live.secret}:{live.token}",
        "the token twice": f"{live.token}:{live.token}",
        "the public id": f"{live.id}:{live.secret}",
        "expired": _expired(field).line,
        "revoked": _revoked(field).line,
        "bound elsewhere": field.gateway.grant([REPO], bind="192.0.2.7").line,
        "one letter less": live.line[:-1],
        "one letter more": live.line + "A",
        "no secret": f"{live.token}:",
        "no colon": live.token + live.secret,
    }


@pytest.mark.parametrize("form", ["basic", "bearer"])
def test_every_failed_login_gets_the_same_bytes(arena: Field, form: str) -> None:
    """Unknown, expired, revoked, wrong, malformed and bound elsewhere cannot be distinguished."""
    wrong = _wrong_lines(arena)
    bearer = form == "bearer"
    lines = {name: b"Authorization: Bearer " + line.encode() if bearer else login(line) for name, line in wrong.items()}
    arena.forge.clear()
    answers = {name: _shown(arena, line) for name, line in lines.items()}
    assert len(set(answers.values())) == 1, answers
    assert {status for status, _ in answers.values()} == {401 if form == "basic" else 403}
    assert arena.forge.heard == b""
    assert _shown(arena, arena.authorization)[0] == 200


BENT: dict[str, Callable[[str], bytes]] = {
    "NUL behind": lambda line: _basic(f"x:{line}\0"),
    "LF behind": lambda line: _basic(f"x:{line}\n"),
    "a colon behind": lambda line: _basic(f"x:{line}:"),
    "a blank behind": lambda line: _basic(f"x:{line} "),
    "CR LF behind": lambda line: _basic(f" x:{line}\r\n"),
    "Latin-1 before": lambda line: _basic(f"x:\xe9{line}"),
    "no user": lambda line: _basic(f"{line}"),
    "no blank": lambda line: _basic(f"x:{line}").replace(b"Basic ", b"Basic"),
    "Digest": lambda line: _basic(f"x:{line}").replace(b"Basic", b"Digest"),
    "two in one": lambda line: _basic(f"x:{line}") + b", Basic eDp5",
    "padding too much": lambda line: _basic(f"x:{line}") + b"=",
    "padding before": lambda line: _basic(f"x:{line}").replace(b"Basic ", b"Basic ="),
    "UTF-16": lambda line: b"Authorization: Basic " + base64.b64encode(f"x:{line}".encode("utf-16")),
    "Bearer twice": lambda line: b"Authorization: Bearer Bearer " + line.encode(),
    "no scheme": lambda line: b"Authorization: " + line.encode(),
    "Bearer in base64": lambda line: b"Authorization: Bearer " + base64.b64encode(line.encode()),
    "empty": lambda line: b"Authorization:",
    "for a proxy": lambda line: b"Proxy-Authorization: Bearer " + line.encode(),
    "another field": lambda line: b"X-Authorization: " + line.encode(),
}


@pytest.mark.parametrize("name", BENT)
def test_malformed_login_is_refused(arena: Field, name: str) -> None:
    """A valid session in a malformed field, which two parsers could read differently."""
    status, data = _shown(arena, BENT[name](arena.lease.line))
    assert status in {400, 401, 403}
    assert b"credgate: " in data
    assert arena.forge.heard == b""
    assert _shown(arena, arena.authorization)[0] == 200


@pytest.mark.parametrize("scheme", [b"Basic", b"basic", b"BASIC"])
def test_a_scheme_is_read_in_any_case(arena: Field, scheme: bytes) -> None:
    """RFC 9110 section 11.1: the control of the test above."""
    assert _shown(arena, arena.authorization.replace(b"Basic", scheme))[0] == 200


def test_a_bound_session_is_unknown_elsewhere_on_every_request(arena: Field) -> None:
    """A stolen session cannot be used at another address, whatever fields the client sends."""
    lease = arena.gateway.grant([REPO], bind=HERE)
    line = login(lease.line)
    assert _shown(arena, line)[0] == 200
    stolen = _shown(arena, line, source=THERE)
    assert stolen[0] == 401
    for name in (b"X-Forwarded-For", b"Forwarded", b"X-Real-IP", b"True-Client-IP", b"Client-IP", b"X-Client-IP"):
        assert _shown(arena, line + b"\r\n" + name + b": 127.0.0.1", source=THERE) == stolen
    assert _shown(arena, line)[0] == 200


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda foreign: foreign.split(b":")[0].decode())
@pytest.mark.parametrize("kind", ["discovery", "fetch"])
def test_what_the_forge_receives_does_not_depend_on_foreign_fields(arena: Field, kind: str, foreign: bytes) -> None:
    """Heads to the forge are built anew: a field that is not on the list changes no byte of them."""

    def sent(*fields: bytes) -> bytes:
        arena.forge.clear()
        data = arena.discovery(REPO, "git-upload-pack", *fields)
        if kind == "fetch":
            data = arena.post("git-upload-pack", b"0000", *fields)
        assert ask(arena.gateway.port, data, answers=1).answers[0].status == 200
        return arena.forge.heard

    plain = sent()
    assert b"Authorization: Basic " in plain
    assert arena.lease.secret.encode() not in plain
    assert sent(foreign) == plain


@pytest.mark.parametrize("host", [b"gateway", b"github.com", b"169.254.169.254", b"[::1]:9", b"forge.test:443"])
def test_host_field_does_not_select_the_forge(arena: Field, host: bytes) -> None:
    """The forge is the configured one; its Host is its own."""
    data = arena.discovery(REPO).replace(b"Host: gateway", b"Host: " + host)
    assert ask(arena.gateway.port, data, answers=1).only.status == 200
    (asked,) = arena.forge.asked
    assert asked.get(b"host") == f"127.0.0.1:{arena.forge.port}".encode()
    assert host not in arena.forge.heard


def test_only_fields_of_git_are_forwarded(arena: Field) -> None:
    """The control of the test above: the few fields that are on the list arrive."""
    crossing = (
        b"User-Agent: git/2.39.5", b"Accept: */*", b"Accept-Language: de, *;q=0.9", b"Pragma: no-cache",
        b"Git-Protocol: version=2",
    )  # fmt: skip
    ask(arena.gateway.port, arena.discovery(REPO, "git-upload-pack", *crossing), answers=1)
    assert all(line in arena.forge.heard for line in crossing)


def test_the_end_of_a_session_ends_its_transfer(start_field: StartField) -> None:
    """A transfer that is older than its session is cut, in the middle and visibly, while another's goes on."""
    field = start_field(gc_interval="1s")
    half = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\nContent-Length: 9\r\n\r\n0000"
    field.forge.script = lambda _: Said([half])
    short = field.gateway.grant([REPO], absolute_ttl="2s")
    data = field.post("git-upload-pack", b"0000")
    with RawClient(field.gateway.port) as doomed, RawClient(field.gateway.port) as other:
        doomed.send(data.replace(field.authorization, login(short.line)))
        other.send(data)
        heard = doomed.hear()
        assert (heard.end, heard.only.whole) == ("reset", False)
        assert other.hear(seconds=0.5).end == "open"
    assert field.gateway.audited(session=short.id, reason="session-ended")["operation"] == "git-upload-pack"


def test_readers_of_a_read_only_session_cannot_write_by_any_endpoint(arena: Field) -> None:
    """Discovery says what it is for in its query; the POST says it in its path: both need write access."""
    lease = arena.gateway.grant([{"repo": REPO, "access": "read"}])
    line = login(lease.line)
    for data in (arena.discovery(REPO, "git-receive-pack"), arena.post("git-receive-pack", b"0000")):
        heard = ask(arena.gateway.port, data.replace(arena.authorization, line), answers=1)
        assert heard.answers[0].status == 403 or heard.answers[0].body == b""
        assert arena.forge.heard == b""
    for data in (arena.discovery(REPO), arena.post("git-upload-pack", b"0000")):
        heard = ask(arena.gateway.port, data.replace(arena.authorization, line), answers=1)
        assert heard.answers[0].status == 200
    assert len(arena.forge.asked) == 2
