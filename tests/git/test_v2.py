"""Protocol v2: requests for refs, history and trees to the byte, answers read strictly."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import ResponseError
from credgate.git import v2
from credgate.git.pktline import encode
from credgate.git.v2 import (
    MAX_CAPABILITIES,
    FetchResponseReader,
    fetch_request,
    offers_filter,
    read_capabilities,
    refs_request,
)
from credgate.pack.objects import SHA1, SHA256
from credgate.pack.walk import PackWalk
from credgate.values import Reason
from tests.fakes import packs

BODY = packs.commit(b"\xaa" * 20)
PACK = packs.pack([packs.entry(packs.COMMIT, BODY)])
FLUSH, DELIMITER = b"0000", b"0001"


def banded(data: bytes = PACK, piece: int = 30, between: bytes = b"") -> bytes:
    """Return a pack in band 1, in pieces, with ``between`` before each."""
    pieces = (data[at : at + piece] for at in range(0, len(data), piece))
    return encode(b"packfile\n") + b"".join(between + encode(b"\x01" + one) for one in pieces)


def read(data: bytes, piece: int = 1 << 20, max_bytes: int = 1 << 20) -> tuple[FetchResponseReader, PackWalk]:
    """Read a whole answer in pieces."""
    walk = PackWalk(SHA1)
    reader = FetchResponseReader(walk, max_bytes)
    for at in range(0, len(data), piece):
        reader.receive(data[at : at + piece])
        while reader.step():
            pass
    return reader, walk


def test_request_for_history_has_gits_form() -> None:
    """Packet by packet."""
    result = fetch_request(SHA1, [b"\xbb" * 20, b"\xaa" * 20], [b"\xcc" * 20])
    lines = [
        b"no-progress",
        b"ofs-delta",
        b"filter tree:0",
        b"want " + b"aa" * 20,
        b"want " + b"bb" * 20,
        b"have " + b"cc" * 20,
        b"done",
    ]
    head = encode(b"command=fetch") + encode(b"object-format=sha1") + DELIMITER
    assert result == head + b"".join(map(encode, lines)) + FLUSH


def test_request_for_trees_of_one_commit() -> None:
    """Another filter, a depth, the longer hash."""
    result = fetch_request(SHA256, [b"\xbb" * 32], filter_spec=b"blob:none", deepen=1)
    lines = [b"no-progress", b"ofs-delta", b"filter blob:none", b"deepen 1", b"want " + b"bb" * 32, b"done"]
    head = encode(b"command=fetch") + encode(b"object-format=sha256") + DELIMITER
    assert result == head + b"".join(map(encode, lines)) + FLUSH
    assert b"filter" not in fetch_request(SHA1, [b"\xbb" * 20], filter_spec=b"")


@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        ([b"version 2\n", b"ls-refs=unborn\n", b"fetch=shallow wait-for-done filter\n"], True),
        ([b"fetch=filter"], True),
        ([b"fetch=shallow\n", b"server-option\n"], False),
        ([b"fetch\n"], False),
        ([b"fetch=nofilter filters\n", b"fetch=filter\n"], False),
        ([b"filter"], False),
        ([], False),
    ],
)
def test_filter_is_read_from_the_advertisement(lines: list[bytes], *, offered: bool) -> None:
    """Without it the answer would be the whole repository."""
    assert offers_filter(lines) == offered


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    "answer",
    [
        banded() + FLUSH,
        banded(piece=60000) + FLUSH,
        banded(between=encode(b"\x02Counting objects\r") + encode(b"\x01")) + FLUSH,
        encode(b"acknowledgments\n") + encode(b"NAK\n") + encode(b"ready\n") + DELIMITER + banded() + FLUSH,
        encode(b"acknowledgments") + encode(b"ACK " + b"a" * 40) + DELIMITER + banded() + FLUSH,
        encode(b"shallow-info\n") + encode(b"shallow " + b"a" * 64 + b"\n") + DELIMITER + banded() + FLUSH,
    ],
)
def test_pack_of_an_answer_is_walked(answer: bytes, piece: int) -> None:
    """In one packet or many, with progress and keep-alives, after other sections."""
    reader, walk = read(answer, piece)
    reader.end()
    assert (reader.done, walk.done) == (True, True)
    assert walk.graph.has(packs.oid(packs.COMMIT, BODY))


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"<html>", "invalid packet length"),
        (encode(b"packfile\n") + FLUSH, "truncated pack"),
        (banded(PACK[:-1]) + FLUSH, "truncated pack"),
        (banded(PACK + b"x"), "trailing data after the pack"),
        (banded(b"PUCK" + PACK[4:]), "not a version 2 pack"),
        (banded() + FLUSH + FLUSH, "data after its end"),
        (banded() + FLUSH + encode(b"x"), "data after its end"),
        (banded() + DELIMITER, "special packet"),
        (banded() + b"0002", "special packet"),
        (FLUSH, "special packet"),
        (DELIMITER, "special packet"),
        (encode(b"acknowledgments\n") + encode(b"NAK\n") + FLUSH, "special packet"),
        (encode(b"acknowledgments\n") + encode(b"shallow " + b"a" * 40), "unexpected line"),
        (encode(b"shallow-info\n") + encode(b"NAK\n"), "unexpected line"),
        (encode(b"packfile-uris\n"), "not asked for"),
        (encode(b"wanted-refs\n"), "not asked for"),
        (encode(b"packfile\n") + encode(b"\x04x"), "side-band"),
    ],
)
def test_malformed_answer_is_refused(answer: bytes, why: str, piece: int) -> None:
    """Never taken for an empty history: a forced push could look like a fast-forward."""
    with pytest.raises(ResponseError, match=why) as caught:
        read(answer, piece)
    assert (caught.value.reason, caught.value.status) == (Reason.FORGE_MALFORMED, 502)


@pytest.mark.parametrize(
    "answer",
    [
        encode(b"ERR upload-pack: not our ref \x1b[31m" + b"a" * 300),
        banded() + encode(b"ERR upload-pack: not our ref \xff" + b"a" * 300),
        encode(b"packfile\n") + encode(b"\x03upload-pack: not our ref \n" + b"a" * 300),
    ],
)
def test_refusal_of_the_forge_is_one_bounded_line(answer: bytes) -> None:
    """Without bytes that control a terminal."""
    with pytest.raises(ResponseError, match=r"^the forge refused: upload-pack: not our ref [ -~]+$") as caught:
        read(answer)
    assert caught.value.reason == Reason.FORGE_REFUSED
    assert len(str(caught.value)) < 230


def test_cut_or_long_answer_is_refused() -> None:
    """Progress counts too."""
    answer = banded() + FLUSH
    for cut in range(len(answer)):
        reader, _ = read(answer[:cut])
        assert not reader.done
        with pytest.raises(ResponseError, match="cut") as caught:
            reader.end()
        assert caught.value.reason == Reason.FORGE_CUT
    with pytest.raises(ResponseError, match="too long"):
        read(answer, max_bytes=len(answer) - 1)
    assert read(answer, max_bytes=len(answer))[0].done


def test_large_answer_is_read_in_steps() -> None:
    """A small packet may decompress to much."""
    walk = PackWalk(SHA1)
    reader = FetchResponseReader(walk)
    reader.receive(banded(packs.pack([packs.entry(packs.BLOB, bytes(8 << 20))]), 60000) + FLUSH)
    steps = 0
    while reader.step():
        steps += 1
    assert (reader.done, steps > 30) == (True, True)


@given(
    st.binary(max_size=80) | st.lists(st.binary(min_size=1, max_size=20).map(encode) | st.just(DELIMITER)).map(b"".join)
)
def test_any_bytes_are_read_or_raise_response_error(data: bytes) -> None:
    """In one piece and byte by byte; a malformed answer is never done."""
    for start in (b"", encode(b"packfile\n")):
        for piece in (1, 1 << 20):
            try:
                reader, _ = read(start + data, piece)
            except ResponseError:
                continue
            assert not reader.done


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
def test_any_bytes_of_refs_are_read_or_raise_response_error(body: bytes) -> None:
    """Whatever a forge sends."""
    for read in (read_refs, read_capabilities):
        with contextlib.suppress(ResponseError):
            read(body)
