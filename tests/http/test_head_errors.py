"""Errors of refused heads: each fault has its text and status, in any cut of the head."""

from __future__ import annotations

import pytest

from credgate.errors import RequestError, ResponseError
from credgate.http import head_errors
from credgate.values import Reason

LINE = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("head", "text", "status"),
    [
        (b"\r\n", "the request line is not", 400),
        (b"GET /\r\n\r\n", "the request line is not", 400),
        (b"GET / HTTP/1.1.1\r\n\r\n", "the HTTP version is malformed", 400),
        (b"GET / HTTP/3.0\r\n\r\n", "only HTTP/1.1 is served", 505),
        (b"BREW / HTTP/1.1\r\n\r\n", "this method is not served", 501),
        (b"Get / HTTP/1.1\r\n\r\n", "the method is malformed", 400),
        (b"GET x HTTP/1.1\r\n\r\n", "the target is not a path", 400),
        (b"GET /% HTTP/1.1\r\n\r\n", "the target has a byte", 400),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n\r\n", "the target is too long", 414),
        (LINE + b" A: b\r\n\r\n", "a field line is folded", 400),
        (LINE + b"A\r\n\r\n", "has no colon", 400),
        (LINE + b"A : b\r\n\r\n", "followed by whitespace", 400),
        (LINE + b"A_B: c\r\n\r\n", "an underscore", 400),
        (LINE + b"C: d\r\nA(B: c\r\n\r\n", "a field name is malformed", 400),
    ],
)
def test_request_fault_has_its_text_and_status(head: bytes, text: str, status: int) -> None:
    """A client can correct the request by the text; operators count by status and reason."""
    error = head_errors.of_request(head)
    assert text in str(error)
    assert error.status == status


def test_reason_code_follows_the_fault() -> None:
    """Audit lines are counted by reason."""
    assert head_errors.of_request(b"BREW / HTTP/1.1\r\n\r\n").reason is Reason.METHOD_NOT_ALLOWED
    assert head_errors.of_request(b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n\r\n").reason is Reason.HEAD_TOO_LARGE
    assert head_errors.of_request(b"GET x HTTP/1.1\r\n\r\n").reason is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize(
    ("piece", "text"),
    [(b"a\nb", "does not end with CR LF"), (b"a\rb", "does not end with CR LF"), (b"a\0", "not printable ASCII")],
)
def test_invalid_bytes_are_refused_in_any_piece(piece: bytes, text: str) -> None:
    """As soon as they come, before the head is complete; valid bytes pass."""
    head_errors.refuse_request_bytes(b"a\r\nb\r")
    head_errors.refuse_response_bytes(b"a\r\nb\xe9\r")
    for begins in (False, True):
        with pytest.raises(RequestError, match=text):
            head_errors.refuse_request_bytes(piece, begins=begins)
        with pytest.raises(ResponseError, match="a control byte or a line"):
            head_errors.refuse_response_bytes(piece, begins=begins)
    with pytest.raises(RequestError, match=text):
        head_errors.of_request(LINE + piece + b"\r\n\r\n")


def test_line_feed_as_context_is_not_a_fault() -> None:
    """Its CR was in an earlier piece; the next line feed is checked."""
    head_errors.refuse_request_bytes(bytearray(b"\nA: b"), begins=False)
    with pytest.raises(RequestError, match="does not end with CR LF"):
        head_errors.refuse_request_bytes(b"\nA: b", begins=True)
    with pytest.raises(RequestError, match="does not end with CR LF"):
        head_errors.refuse_request_bytes(b"\n\n", begins=False)
    with pytest.raises(RequestError, match="does not end with CR LF"):
        head_errors.refuse_request_bytes(b"\r\r", begins=False)


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (b"HTTP/2 200\r\n\r\n", "status line is malformed"),
        (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", "has no colon"),
        (b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "folded"),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "followed by whitespace"),
        (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", "a field name is malformed"),
    ],
)
def test_response_fault_has_its_text(head: bytes, text: str) -> None:
    """An operator can report it to the forge's administrator."""
    error = head_errors.of_response(head)
    assert text in str(error)
    assert (error.reason, error.status) == (Reason.FORGE_MALFORMED, 502)
