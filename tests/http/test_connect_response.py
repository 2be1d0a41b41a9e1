"""CONNECT: only a 200 opens the tunnel, in any cut; every other response is refused in credgate's own words."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import TunnelError
from credgate.http.connect_response import MAX_HEAD, ConnectResponseReader, connect_request

OPEN = [
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nVia: 1.1 proxy\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200\r\n\r\n",
]


def opens(*pieces: bytes) -> bool:
    """Feed the pieces; whether the last one opened the tunnel and none before it did."""
    reader = ConnectResponseReader()
    found = [reader.receive(piece) for piece in pieces]
    return found == [False] * (len(found) - 1) + [True]


def said(data: bytes) -> str:
    """Return why it is refused."""
    with pytest.raises(TunnelError) as raised:
        ConnectResponseReader().receive(data)
    return str(raised.value)


def test_request_has_host_port_and_no_credential() -> None:
    """A proxy needs no more."""
    asked = connect_request("git.example.com:443")
    lines = asked.split(b"\r\n")
    assert lines[:2] == [b"CONNECT git.example.com:443 HTTP/1.1", b"Host: git.example.com:443"]
    assert lines[2].startswith(b"User-Agent: credgate/")
    assert lines[3:] == [b"", b""]


@pytest.mark.parametrize("answer", OPEN)
def test_a_200_opens_the_tunnel(answer: bytes) -> None:
    """In one piece and byte by byte."""
    assert opens(answer)
    assert opens(*(answer[at : at + 1] for at in range(len(answer))))


@pytest.mark.parametrize("answer", OPEN)
def test_byte_after_the_response_is_refused(answer: bytes) -> None:
    """It would be taken for the forge's first byte."""
    assert said(answer + b"H") == "the proxy sent data after its response"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            "the proxy requires authentication, which credgate does not support",
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n<secret>", "the proxy answered 403"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", "the proxy answered 302"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "the proxy answered 100"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "the proxy answered 204"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "the proxy's response is not HTTP"),
        (b"HTTP/2 200\r\n\r\n", "the proxy's response is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n", "the proxy's response is not HTTP"),
        (b"HTTP/1.1 200 OK\nA: b\r\n\r\n", "the proxy's response is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n", "the proxy's response is not HTTP"),
        (b"x" * (MAX_HEAD + 1), "the proxy's response is too long"),
    ],
)
def test_every_other_response_is_refused(answer: bytes, text: str) -> None:
    """Without repeating a byte of it."""
    assert said(answer) == text


def test_response_without_an_end_is_bounded() -> None:
    """A proxy that never finishes costs a bounded number of bytes."""
    reader = ConnectResponseReader()
    assert not reader.receive(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000)
    with pytest.raises(TunnelError):
        reader.receive(b"a: b\r\n" * 500)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_open_wait_or_are_refused(data: bytes, at: int) -> None:
    """In one piece or two."""
    for pieces in ((data,), (data[:at], data[at:])):
        reader = ConnectResponseReader()
        try:
            found = [reader.receive(piece) for piece in pieces if piece]
        except TunnelError:
            continue
        assert found in ([False] * len(found), [False] * (len(found) - 1) + [True])
        assert not any(found) or data.endswith(b"\r\n\r\n")


@given(st.sampled_from(OPEN), st.lists(st.integers(1, 40), max_size=5))
def test_tunnel_opens_in_any_cut(answer: bytes, cuts: list[int]) -> None:
    """TCP may cut anywhere."""
    places = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    assert opens(*(answer[start:end] for start, end in pairwise(places)))
