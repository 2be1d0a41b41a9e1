"""The format of every response of the control API: JSON with Content-Length, not cacheable.

``send`` uses Twisted's request; ``raw`` serves refusals before there is a request to answer (a malformed head, a
foreign peer, a body that is too large).
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.web.iweb import IRequest

    Headers = Mapping[bytes, bytes]

_FIXED: Headers = {
    b"Server": b"credgate",
    b"Content-Type": b"application/json",
    b"Cache-Control": b"no-store",
}


def encode(answer: object) -> bytes:
    """Return ``answer`` as one line of JSON."""
    # In ASCII (the default of ``json``), so it cannot contain escape sequences for a terminal.
    return json.dumps(answer).encode() + b"\n"


def error(text: str) -> dict[str, str]:
    """Return the body of an error response."""
    return {"error": text}


def send(request: IRequest, status: int, answer: object, extra: Headers | None = None) -> bytes:
    """Set the status and header fields of a response; return the bytes that Klein writes."""
    return send_bytes(request, status, encode(answer), extra)


def send_bytes(request: IRequest, status: int, body: bytes, extra: Headers | None = None) -> bytes:
    """Do the same for an encoded body; ``extra`` has its Content-Type unless it is JSON."""
    request.setResponseCode(status)
    for name, value in {**_FIXED, b"Content-Length": b"%d" % len(body), **(extra or {})}.items():
        request.setHeader(name, value)
    return body


def raw(status: int, answer: object) -> bytes:
    """Return a complete HTTP/1.1 response with head and body, after which the connection ends."""
    body = encode(answer)
    head = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
    fields = {**_FIXED, b"Content-Length": b"%d" % len(body), b"Connection": b"close"}
    return head + b"".join(b"%s: %s\r\n" % field for field in fields.items()) + b"\r\n" + body
