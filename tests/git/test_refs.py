"""Protocol v2: the request for refs to the byte, advertisement and answer read strictly."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import ResponseError
from credgate.git import v2
from credgate.git.pktline import DELIMITER, FLUSH, encode
from credgate.git.v2 import MAX_CAPABILITIES, read_capabilities, refs_request
from credgate.pack.objects import SHA1, SHA256

ONE, TWO, LONG = b"1" * 40, b"2" * 40, b"3" * 64
SERVICE = encode(b"# service=git-upload-pack\n") + FLUSH
V2 = encode(b"version 2\n") + encode(b"agent=x\n") + encode(b"fetch=filter") + FLUSH


def read_refs(body: bytes) -> dict[bytes, bytes]:
    """Read all of an answer at once."""
    return dict(v2.read_refs(body))


# Capabilities.


@pytest.mark.parametrize("before", [b"", SERVICE, SERVICE.removesuffix(FLUSH)])
def test_capabilities_of_version_2_are_its_lines(before: bytes) -> None:
    """With or without the service line, with or without its flush."""
    result = read_capabilities(before + V2)
    assert result == [b"agent=x", b"fetch=filter"]


def test_advertisement_without_capabilities_is_read() -> None:
    """It is version 2."""
    assert read_capabilities(encode(b"version 2\n") + FLUSH) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        FLUSH,
        SERVICE,
        encode(b"version 1\n") + FLUSH,
        SERVICE + encode(ONE + b" HEAD\x00ofs-delta\n") + FLUSH,
        V2.removesuffix(FLUSH),
        encode(b"version 2\n"),
    ],
)
def test_other_versions_are_refused(body: bytes) -> None:
    """An older forge, nothing, or an advertisement that is cut between two lines."""
    with pytest.raises(ResponseError, match="does not speak git's protocol version 2"):
        read_capabilities(body)


# The request.


def test_request_has_a_prefix_for_each_ref() -> None:
    """The caller selects the exact names from the answer."""
    lines = encode(b"ref-prefix refs/heads/a") + encode(b"ref-prefix HEAD")
    head = encode(b"command=ls-refs") + encode(b"object-format=sha256") + DELIMITER
    assert refs_request(SHA256, [b"refs/heads/a", b"HEAD"]) == head + lines + FLUSH
    assert refs_request(SHA1, []) == encode(b"command=ls-refs") + encode(b"object-format=sha1") + DELIMITER + FLUSH


# The answer.


def test_refs_are_read_with_their_ids() -> None:
    """In either hash, with or without attributes; an unborn ref is left out."""
    body = (
        encode(ONE + b" HEAD symref-target:refs/heads/main\n")
        + encode(TWO + b" refs/heads/main")
        + encode(LONG + b" refs/tags/v1 peeled:" + LONG + b"\n")
        + encode(b"unborn HEAD symref-target:refs/heads/none\n")
        + FLUSH
    )
    assert read_refs(body) == {b"HEAD": ONE, b"refs/heads/main": TWO, b"refs/tags/v1": LONG}
    assert read_refs(FLUSH) == {}


def test_number_of_capabilities_is_bounded() -> None:
    """A megabyte of one-byte packets would block the reactor for 200 ms."""
    lines = encode(b"version 2\n") + b"0005x" * (MAX_CAPABILITIES - 2) + FLUSH
    assert len(read_capabilities(lines)) == MAX_CAPABILITIES - 2
    with pytest.raises(ResponseError, match="too many capabilities"):
        read_capabilities(encode(b"version 2\n") + b"0005x" * 200_000 + FLUSH)


@pytest.mark.parametrize("body", [b"", encode(ONE + b" HEAD")])
def test_list_without_its_end_is_refused(body: bytes) -> None:
    """The missing part could hold the requested ref."""
    with pytest.raises(ResponseError, match="list of refs is cut"):
        read_refs(body)


@pytest.mark.parametrize(
    "line",
    [
        b"x" * 40 + b" HEAD",
        ONE,
        ONE + b" ",
        ONE + b"  HEAD",
        ONE[:39] + b" HEAD",
        ONE + b" a\x01b",
        b"\n",
        ONE + b" a\n\n",
    ],
)
def test_malformed_line_is_refused(line: bytes) -> None:
    """It is not skipped."""
    with pytest.raises(ResponseError, match="list of refs cannot be read"):
        read_refs(encode(line) + FLUSH)


def test_data_after_the_flush_is_refused() -> None:
    """Two lists are ambiguous."""
    with pytest.raises(ResponseError, match="cannot be read"):
        read_refs(encode(ONE + b" HEAD") + FLUSH + encode(TWO + b" HEAD") + FLUSH)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (encode(ONE + b" HEAD")[:-1], "the forge's answer is cut"),
        (b"000", "the forge's answer is cut"),
        (b"zzzz", "the forge's answer cannot be read"),
        (DELIMITER + FLUSH, "unexpected special packet"),
        (encode(b"ERR no\n") + FLUSH, "the forge refused to answer"),
    ],
)
def test_malformed_packets_are_refused(body: bytes, text: str) -> None:
    """In both answers."""
    for read in (read_refs, read_capabilities):
        with pytest.raises(ResponseError, match=text):
            read(body)


@given(st.binary(max_size=200) | st.lists(st.sampled_from([FLUSH, V2, SERVICE, b"0005x", b"0004"])).map(b"".join))
def test_any_bytes_are_read_or_raise_response_error(body: bytes) -> None:
    """Whatever a forge sends."""
    for read in (read_refs, read_capabilities):
        with contextlib.suppress(ResponseError):
            read(body)
