"""A forge that writes the credential into every part of an answer: it never reaches the sandbox.

The body of an answer that git asked for is the exception that is not promised (docs/attacks.md): it passes as it is,
and the last test here shows that the canary would have cried.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from tests.attacks.test_hostile_answers import REQUESTS, Request, answered, check_sandbox, refuses
from tests.fakes.canary import traces

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.attacks.conftest import Field

DRESSES: dict[str, Callable[[str], str]] = {
    "plain": lambda secret: secret,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "login": lambda secret: base64.b64encode(f"x-access-token:{secret}".encode()).decode(),
    "hexadecimal": lambda secret: secret.encode().hex(),
    "reversed": lambda secret: secret[::-1],
    "percent": lambda secret: "".join(f"%{byte:02X}" for byte in secret.encode()),
}
FIELDS = dict.fromkeys(
    (
        "Set-Cookie", "Location", "WWW-Authenticate", "Proxy-Authenticate", "Server", "Via", "Date", "ETag", "Age",
        "Content-Language", "Content-Location", "Content-Disposition", "Cache-Control", "Expires", "Pragma", "Vary",
        "Authorization", "Authentication-Info", "X-GitHub-Request-Id", "Link", "Refresh", "Alt-Svc", "Trailer",
        "Strict-Transport-Security", "Access-Control-Allow-Origin", "Keep-Alive", "Git-Protocol", "Retry-After",
    ),
    "{}",
)  # fmt: skip
AGAINST_FRAMING = {
    "Content-Type": "{}",
    "Content-Type ": "text/{}",
    "Content-Type  ": "application/x-git-upload-pack-result; charset={}",
    "Content-Encoding": "{}",
    "Content-Length": "{}",
    "Transfer-Encoding": "{}",
    "Connection": "{}",
    "Upgrade": "{}",
}
"""Fields that credgate reads: the blanks only tell the keys apart."""
PLACES = (
    "http://127.0.0.1:{port}/octo/{s}.git/info/refs?service=git-upload-pack",
    "http://127.0.0.1:{port}/{s}/hello.git/info/refs?service=git-upload-pack",
    "http://127.0.0.1:{port}/octo/{s}/info/refs?service=git-upload-pack",
    "http://{s}@127.0.0.1:{port}/octo/hello.git/info/refs?service=git-upload-pack",
    "http://{s}/octo/hello.git/info/refs?service=git-upload-pack",
    "/octo/hello.git/info/refs?service={s}",
    "/octo/hello.git/info/refs?service=git-upload-pack#{s}",
    "//{s}/octo/hello.git",
)
STATUSES = (400, 401, 403, 404, 405, 407, 410, 413, 418, 422, 429, 451, 500, 502, 503, 504, 599)
TYPES = ("text/plain", "text/html", "application/json", "application/octet-stream", "message/http")
SECOND_NAMES = ("Set-Cookie", "Location", "WWW-Authenticate", "Retry-After")


def whole(line: str, fields: dict[str, str], kind: str, body: str = "0000") -> bytes:
    """Write an answer."""
    lines = [f"HTTP/1.1 {line}"]
    if not any(name.strip() in fields for name in ("Content-Type",)):
        lines.append(f"Content-Type: {kind}")
    if not {"Content-Length", "Transfer-Encoding"} & fields.keys():
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.strip()}: {value}" for name, value in fields.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _chunks(kind: str, extension: str, trailer: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return (head + f"4{extension}\r\n0000\r\n0{extension}\r\n{trailer}\r\n").encode()


def _framed(kind: str, dressed: str, port: int) -> list[bytes]:
    """Where only framing and the head's own parts carry it."""
    token = "".join(piece for piece in dressed if piece.isalnum())
    plain = {"Content-Length": "4"}
    return [
        whole(f"200 {dressed}", {}, kind),
        whole(f"{dressed} OK", {}, kind),
        f"{dressed}/1.1 200 OK\r\n\r\n".encode(),
        dressed.encode() + b"\r\n\r\n",
        whole("200 OK", {token: "x"}, kind),
        whole("200 OK", {f"X-{token}": dressed}, kind),
        f"HTTP/1.1 100 {dressed}\r\nX: {dressed}\r\n\r\n".encode() + whole("200 OK", {}, kind),
        f"HTTP/1.1 103 Early\r\nLink: <{dressed}>\r\n\r\n".encode() + whole("200 OK", {}, kind),
        f"HTTP/1.1 101 {dressed}\r\nUpgrade: {dressed}\r\n\r\n".encode(),
        _chunks(kind, f";{token}={token}", ""),
        _chunks(kind, f';x="{dressed}"', ""),
        _chunks(kind, "", f"X-Sum: {dressed}\r\n"),
        _chunks(kind, "", f"{token}: x\r\n"),
        _chunks(kind, "", f"Set-Cookie: a={dressed}\r\nLocation: /{dressed}\r\n"),
        f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n{dressed}\r\n".encode(),
        whole("204 No Content", plain | {"X": dressed}, kind),
        whole("304 Not Modified", plain | {"ETag": f'"{dressed}"'}, kind),
        whole("206 Partial Content", {"Content-Range": dressed}, kind),
        *(
            whole(f"{status} Moved", {"Location": where.format(port=port, s=dressed)}, kind)
            for where in PLACES
            for status in (301, 302, 303, 307, 308, 300)
        ),
    ]


def _answers(request: Request, dressed: str, port: int) -> list[bytes]:
    kind = request.kind.decode()
    named = [whole("200 OK", {name: form.format(dressed)}, kind) for name, form in (FIELDS | AGAINST_FRAMING).items()]
    troubles = [
        whole(f"{status} {dressed}", dict.fromkeys(SECOND_NAMES, dressed), TYPES[status % len(TYPES)], dressed)
        for status in STATUSES
    ]
    bodies = [whole("200 OK", {}, form, dressed) for form in TYPES]
    return [*named, *troubles, *bodies, *_framed(kind, dressed, port)]


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("kind", REQUESTS)
def test_echoed_credential_never_reaches_the_sandbox(arena: Field, kind: str, dress: str) -> None:
    """A hostile forge puts the credential into every part of an answer."""
    request = REQUESTS[kind]
    leaks = {}
    for data in _answers(request, DRESSES[dress](arena.secret), arena.forge.port):
        arena.forge.clear()
        heard, _ = answered(arena, request, data)
        if found := traces(arena.secret, heard.data) | _folded(arena.secret, heard.data):
            leaks[data] = found
        assert b"HTTP/1.1 500" not in heard.data
    arena.control()
    assert leaks == {}


def _folded(secret: str, heard: bytes) -> set[str]:
    """Find it in one case, too: that is nearly the credential, what is left to guess is a bit a letter."""
    return traces(secret.lower(), heard.lower()) & {"plain", "reversed"}


def test_echoed_credential_is_in_no_file(arena: Field) -> None:
    """Log and audit lines contain only texts of credgate."""
    for kind, request in REQUESTS.items():
        for data in _answers(request, arena.secret, arena.forge.port)[:20:3]:
            answered(arena, request, data)
        arena.gateway.audited(
            operation=f"git-{'receive' if kind == 'push' else 'upload'}-pack" + "-advertisement" * (kind == "discovery")
        )
    files = b"".join(path.read_bytes() for path in (arena.gateway.log_file, arena.gateway.audit_file))
    files += b"".join(path.read_bytes() for path in arena.gateway.store_file.parent.iterdir())
    assert traces(arena.secret, files) | _folded(arena.secret, files) == set()
    assert "Traceback" not in arena.gateway.log()
    arena.control()


def test_echo_in_gits_own_body_is_relayed_and_detected(arena: Field) -> None:
    """A limit, shown: a forge that puts the credential into a pack discloses it."""
    request = REQUESTS["fetch"]
    heard, _ = answered(arena, request, whole("200 OK", {}, request.kind.decode(), arena.secret))
    assert not refuses(heard.only)
    assert traces(arena.secret, heard.data) == {"plain"}
    with pytest.raises(AssertionError):
        check_sandbox(arena, heard)
