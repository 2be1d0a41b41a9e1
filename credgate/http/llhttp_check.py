"""A second opinion: llhttp reads each head that our own expressions accepted, and must read the same.

Smuggling lives where two readers of the same bytes differ (RFC 9112 section 11.2). Our grammar is narrow enough that
none should; this module finds out on every message instead of believing it. llhttp is given the head alone, in a
parser of its own, so nothing of it (its body states, its keep-alive, its leniencies) outlives the comparison.

Decides nothing: it says what llhttp read, None if it refused.
"""

from __future__ import annotations

import httptools

from credgate.http.grammar import normal

Lines = list[tuple[bytes, bytes]]


class _Opinion:
    """What llhttp calls back."""

    __slots__ = ("heads", "lines", "target")

    def __init__(self) -> None:
        self.heads = 0
        self.lines: Lines = []
        self.target = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines += ((name, value),)

    def on_headers_complete(self) -> None:
        self.heads += 1


def request(head: bytes) -> tuple[int, bytes, bytes, Lines] | None:
    """Return (number of heads, method, target, field lines as ``fields.split`` gives them), or None."""
    opinion = _Opinion()
    parser = httptools.HttpRequestParser(opinion)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return opinion.heads, parser.get_method(), opinion.target, normal(opinion.lines)


def response(head: bytes) -> tuple[int, int, Lines] | None:
    """Return (number of heads, status, field lines as ``fields.split`` gives them), or None."""
    opinion = _Opinion()
    parser = httptools.HttpResponseParser(opinion)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return opinion.heads, parser.get_status_code(), normal(opinion.lines)
