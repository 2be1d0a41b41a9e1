"""Second parse: llhttp reads each head that ``grammar`` accepted, and must read the same.

Request smuggling needs two readers that understand the same bytes differently (RFC 9112 section 11.2). The grammar is
so narrow that no two readers should; this module checks that on every message. llhttp is given the head only, in a new
parser, so no state of it (body, keep-alive, leniency) outlives the comparison.

Decides nothing: it returns what llhttp read, None if llhttp refused the head.
"""

from __future__ import annotations

import httptools

Lines = list[tuple[bytes, bytes]]


class _Callbacks:
    """Collects what llhttp reads."""

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
    """Return (number of heads, method, target, field lines as ``grammar.raw_lines`` returns them), or None."""
    read = _Callbacks()
    parser = httptools.HttpRequestParser(read)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return read.heads, parser.get_method(), read.target, read.lines


def response(head: bytes) -> tuple[int, int, Lines] | None:
    """Return (number of heads, status, field lines as ``grammar.raw_lines`` returns them), or None."""
    read = _Callbacks()
    parser = httptools.HttpResponseParser(read)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    return read.heads, parser.get_status_code(), read.lines
