"""The second opinion: what llhttp reads is told as it read it, and a refusal is None."""

from __future__ import annotations

from credgate.http import llhttp_check


def test_a_request_is_told_as_llhttp_reads_it() -> None:
    """The form is the one of ``fields.split``, so that comparing is one comparison."""
    assert llhttp_check.request(
        b"POST /a?b HTTP/1.1\r\nHost: x\r\nA:  b \r\nC:\r\nTransfer-Encoding: chunked\r\n\r\n"
    ) == (
        1,
        b"POST",
        b"/a?b",
        [(b"host", b"x"), (b"a", b"b"), (b"c", b""), (b"transfer-encoding", b"chunked")],
    )


def test_an_unfinished_a_second_and_a_refused_request_are_told_apart() -> None:
    """Each must differ from one whole head."""
    assert llhttp_check.request(b"GET / HTTP/1.1\r\nA: b\r\n") == (0, b"GET", b"/", [])
    doubled = llhttp_check.request(b"GET / HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
    assert doubled is not None
    assert doubled[0] == 2
    assert llhttp_check.request(b"GET / HTTP/1.1\r\nA : b\r\n\r\n") is None
    assert llhttp_check.request(b"CONNECT a:1 HTTP/1.1\r\n\r\n") is None


def test_a_response_is_told_as_llhttp_reads_it() -> None:
    """The same on the forge's side."""
    assert llhttp_check.response(b"HTTP/1.1 404 No\r\nA: \xe9 \r\nContent-Length: 5\r\n\r\n") == (
        1,
        404,
        [(b"a", b"\xe9"), (b"content-length", b"5")],
    )
    assert llhttp_check.response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n") is None
    assert llhttp_check.response(b"HTTP/1.1 101 OK\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n") is None
