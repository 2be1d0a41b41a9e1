"""Hostile heads and framing: each is answered with JSON, once, and the connection ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.control import HEALTH, Desk, answers, post


def test_a_well_formed_request_is_served_in_one_piece_or_byte_by_byte_and_again_on_the_same_connection() -> None:
    """The positive control of the table below."""
    channel, wire = Desk().connect()
    channel.dataReceived(HEALTH)
    for byte in HEALTH:
        channel.dataReceived(bytes([byte]))
    assert [answer.json for answer in answers(wire.value())] == [{"status": "healthy"}] * 2


MALFORMED = {
    "no words": b"nonsense\r\n\r\n",
    "no version": b"GET /health\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
    "space in target": b"GET /he alth HTTP/1.1\r\n\r\n",
    "method is no token": b"G\x01T / HTTP/1.1\r\n\r\n",
    "field without colon": b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    "first field without colon": b"GET / HTTP/1.1\r\nHost\r\nA: b\r\n\r\n",
    "empty name": b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "NUL in value": b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    "bare LF in value": b"GET / HTTP/1.1\r\nA: b\nTransfer-Encoding: chunked\r\n\r\n",
    "length is no number": post(b"", b"Content-Length: two"),
    "length with sign": post(b"", b"Content-Length: +2"),
    "length negative": post(b"", b"Content-Length: -2"),
    "length with zeros": post(b"{}", b"Content-Length: 002"),
    "length list": post(b"{}", b"Content-Length: 2, 2"),
    "two lengths": post(b"{}", b"Content-Length: 2", b"Content-Length: 2"),
    "length of 5000 digits": post(b"", b"Content-Length: " + b"9" * 5000),
    "length and chunks": post(b"0\r\n\r\n", b"Content-Length: 2", b"Transfer-Encoding: chunked"),
    "unknown coding": post(b"", b"Transfer-Encoding: gzip, chunked"),
    "bad chunk size": post(b"zz\r\n", b"Transfer-Encoding: chunked"),
    "chunk without end": post(b"2\r\n{}XX0\r\n\r\n", b"Transfer-Encoding: chunked"),
    "too many fields": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 501 + b"\r\n",
    "head too large": b"GET / HTTP/1.1\r\n" + (b"A: " + b"b" * 9000 + b"\r\n") * 3 + b"\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_answered_400_in_json_once(request_bytes: bytes, logged: list[dict[str, Any]]) -> None:
    """Twisted answers some with an empty 400, and falls over others with a traceback in the log."""
    desk = Desk()
    (answer,) = desk.ask(request_bytes + HEALTH)
    assert (answer.status, answer.fields["connection"]) == (400, "close")
    assert answer.error.endswith("malformed")
    assert (desk.registry.sessions, logged) == ({}, [])


@pytest.mark.parametrize("request_bytes", [b"GET /" + b"a" * 20000, b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n"])
def test_a_line_too_long_is_answered_431(request_bytes: bytes) -> None:
    """Twisted closes without a word."""
    (answer,) = Desk().ask(request_bytes)
    assert (answer.status, answer.error) == (431, "the request head is too large")


ODD_TARGETS = [
    b"http://localhost/health",
    b"localhost:80",
    b"*",
    b"health",
    b"/health?",
    b"/health?x=1",
    b"/health#x",
    b"/health/",
    b"//health",
    b"/health//",
    b"/./health",
    b"/v1/../health",
    b"/%68ealth",
    b"/health%00",
    b"/health%2f",
    b"/v1%2fready",
    b"/\\health",
    b"/health;x",
    b"/HEALTH",
    b"/health\x80",
    b"/\xa0\xb0",
    b"/v1",
    b"/v1/",
    b"/v1/sessions/",
    b"/v1/sessions//x",
    b"/v1/sessions/../ready",
    b"/session/",
    b"/session/create/",
    b"/favicon.ico",
    b"/" + b"a" * 300,
    b"/<script>",
]


@pytest.mark.parametrize("target", ODD_TARGETS)
@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE", b"OPTIONS"])
def test_an_odd_target_is_404_in_json_and_never_a_redirect(method: bytes, target: bytes) -> None:
    """Klein would redirect, decode, or answer in HTML."""
    (answer,) = Desk().ask(b"%s %s HTTP/1.1\r\nHost: x\r\n\r\n" % (method, target))
    assert (answer.status, answer.fields["content-type"]) == (404, "application/json")
    assert answer.error in ("Not found", "Session not found")


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"Host: \xff\xfe\r\n",
        b"Host: a..b\r\n",
        b"Host: [::\r\n",
        b"Host: x:y:z\r\n",
        b"Host: " + b"a" * 300 + b"\r\n",
    ],
)
def test_a_host_of_whatever_kind_changes_nothing(host: bytes) -> None:
    """Klein would decode it, and fail in HTML."""
    (answer,) = Desk().ask(b"GET /health HTTP/1.1\r\n" + host + b"\r\n")
    assert answer.status == 200


@pytest.mark.parametrize("method", [b"get", b"Get", b"GET1", b"FOO-BAR", b"!#$", b"A" * 17])
def test_a_method_that_is_no_word_is_400(method: bytes) -> None:
    """Klein would serve "get" as GET."""
    (answer,) = Desk().ask(method + b" /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status, answer.error) == (400, "the method is malformed")


@given(
    st.lists(
        st.sampled_from(
            [
                b"GET ",
                b"POST ",
                b"/health",
                b" HTTP/1.1\r\n",
                b"Host: x\r\n",
                b"\r\n",
                b"Content-Length: 3\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"3\r\nabc\r\n",
                b"0\r\n\r\n",
                b"\0",
                b"\n",
                b" ",
                b"\xff",
                b"{}",
            ]
        )
        | st.binary(max_size=8),
        max_size=14,
    ).map(b"".join)
)
def test_any_bytes_are_answered_with_json_or_not_yet(data: bytes) -> None:
    """No input reaches an exception, an HTML page or a redirect."""
    for answer in Desk().ask(data):
        assert answer.fields["content-type"] == "application/json"
        assert answer.json
        assert answer.status in (200, 400, 404, 405, 413, 415, 431)
