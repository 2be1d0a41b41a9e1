"""The second parse by llhttp: it returns what llhttp read, None if llhttp refused the head."""

from __future__ import annotations

from credgate.http import llhttp_check
from credgate.http.grammar import normal


def test_request_is_returned_as_llhttp_reads_it() -> None:
    """Method, target and the lines, which after ``normal`` are those of ``grammar.split``."""
    read = llhttp_check.request(b"POST /a?b HTTP/1.1\r\nHost: x\r\nA:  b \r\nC:\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert read is not None
    assert read[:3] == (1, b"POST", b"/a?b")
    assert normal(read[3]) == [(b"host", b"x"), (b"a", b"b"), (b"c", b""), (b"transfer-encoding", b"chunked")]


def test_incomplete_double_and_refused_requests_differ_from_one_head() -> None:
    """The number of heads is 0 or 2, or the result is None."""
    assert llhttp_check.request(b"GET / HTTP/1.1\r\nA: b\r\n") == (0, b"GET", b"/", [])
    doubled = llhttp_check.request(b"GET / HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
    assert doubled is not None
    assert doubled[0] == 2
    assert llhttp_check.request(b"GET / HTTP/1.1\r\nA : b\r\n\r\n") is None
    assert llhttp_check.request(b"CONNECT a:1 HTTP/1.1\r\n\r\n") is None


def test_response_is_returned_as_llhttp_reads_it() -> None:
    """Status and lines; llhttp refuses two lengths and a switch of protocols."""
    read = llhttp_check.response(b"HTTP/1.1 404 No\r\nA: \xe9 \r\nContent-Length: 5\r\n\r\n")
    assert read is not None
    assert read[:2] == (1, 404)
    assert normal(read[2]) == [(b"a", b"\xe9"), (b"content-length", b"5")]
    assert llhttp_check.response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n") is None
    assert llhttp_check.response(b"HTTP/1.1 101 OK\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n") is None
