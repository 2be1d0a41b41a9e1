"""Helpers for the tables of hostile messages: one attack, and the requests around it.

Every request built here has ``AUTHORIZATION`` as one line. An attack on a running gateway replaces it by a live
session's, so that only the named fault can be the reason of the refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

AUTHORIZATION = b"Authorization: Basic YTpiOmM="
HOST = b"Host: gateway:8080"
GET = b"GET /git/octo/hello.git/info/refs?service=git-upload-pack HTTP/1.1"
POST = b"POST /git/octo/hello.git/git-upload-pack HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = b"GET /git/octo/secret.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: gateway:8080\r\n\r\n"
"""A request of its own: what an attacker hides behind or inside another."""


@frozen
class Hostile:
    """One attack: the bytes, and the status, reason code and a part of the text of the refusal."""

    name: str
    data: bytes
    status: int
    reason: Reason
    text: str


def head(line: bytes, *fields: bytes, host: bytes = HOST) -> bytes:
    """Return a head of ``line`` and ``fields``, with Host first and AUTHORIZATION second."""
    return b"\r\n".join((line, host, AUTHORIZATION, *fields)) + b"\r\n\r\n"


def target(path: bytes) -> bytes:
    """Return a GET of ``path``."""
    return head(b"GET " + path + b" HTTP/1.1")


def chunked(body: bytes) -> bytes:
    """Return a POST with the chunked body ``body``, unchanged."""
    return head(POST, CHUNKED) + body


def table(
    text: str, status: int, cases: Mapping[str, bytes], reason: Reason = Reason.MALFORMED_REQUEST
) -> tuple[Hostile, ...]:
    """Return the attacks of ``cases``, which are refused with the same text."""
    return tuple(Hostile(name, data, status, reason, text) for name, data in cases.items())
