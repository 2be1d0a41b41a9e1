"""Refusals as git reads them: by dulwich, by a small packet reader, and by reference bytes."""

from __future__ import annotations

from io import BytesIO

import pytest
from dulwich.client import ReportStatusParser
from dulwich.errors import GitProtocolError
from dulwich.protocol import Protocol
from hypothesis import given
from hypothesis import strategies as st

from credgate.git.pktline import MAX_PACKET
from credgate.git.refusal import (
    RECEIVE_PACK_RESULT,
    TEXT,
    UPLOAD_PACK_RESULT,
    content_type,
    err,
    report,
    status_report,
    text_body,
)
from credgate.git.route import Kind
from credgate.refusal_text import MAX_REASON, one_line

REFS = st.lists(st.from_regex(rb"refs/heads/[!-}]{1,40}", fullmatch=True), min_size=1, max_size=8, unique=True)
TEXTS = st.text(max_size=300)


def packets(data: bytes) -> list[bytes | None]:
    """Read packets without credgate's code; ``None`` is a flush."""
    found: list[bytes | None] = []
    while data:
        size = int(data[:4], 16)
        assert size == 0 or 4 < size <= min(65520, len(data))
        found.append(data[4:size] if size else None)
        data = data[size or 4 :]
    return found


def bands(data: bytes) -> tuple[bytes, bytes]:
    """Split side-bands into the report (band 1) and the text (band 2); one flush ends them."""
    *found, last = packets(data)
    assert last is None
    assert all(one is not None and one[:1] in {b"\x01", b"\x02"} for one in found)
    return tuple(b"".join(one[1:] for one in found if one and one[:1] == band) for band in (b"\x01", b"\x02"))  # type: ignore[return-value]


def test_reference_push_refusal_to_the_byte() -> None:
    """The 170 bytes that two versions of git show well."""
    body = report(
        [b"refs/heads/main"],
        "only refs/heads/agent/* may be pushed in this session",
        sideband=True,
        lines=["credgate: push to refs/heads/main refused (policy: branches)"],
    )
    expected = (
        b"0042\x02credgate: push to refs/heads/main refused (policy: branches)\n"
        b"0064\x01000eunpack ok\n004dng refs/heads/main only refs/heads/agent/* may be pushed in this session\n0000"
        b"0000"
    )
    assert body == expected
    assert len(body) == 170


def test_reference_fetch_refusal_to_the_byte() -> None:
    """One ERR packet and a flush, for every protocol version."""
    expected = b"0035ERR credgate: repository is outside this session\n0000"
    assert err("repository is outside this session") == expected
    assert err("credgate: repository is outside this session") == expected


def test_report_without_side_band_has_no_text() -> None:
    """Bands that were not requested are "protocol error: bad band"."""
    body = report([b"refs/heads/x", b"refs/tags/y"], "no", sideband=False, lines=["dropped"])
    assert body == b"000eunpack ok\n0017ng refs/heads/x no\n0016ng refs/tags/y no\n0000"


def test_each_ref_may_have_its_own_reason() -> None:
    """The refused ref has its reason, the others were not attempted; an unpack error is reported too."""
    body = status_report(
        [(b"refs/heads/x", "mine"), (b"refs/heads/y", "not attempted")], sideband=False, unpack="too large"
    )
    assert packets(body) == [b"unpack too large\n", b"ng refs/heads/x mine\n", b"ng refs/heads/y not attempted\n", None]


@given(REFS, TEXTS, st.lists(TEXTS, max_size=3))
def test_any_text_makes_a_valid_report(refs: list[bytes], reason: str, lines: list[str]) -> None:
    """One line each, every ref once, text on its own band."""
    inner, text = bands(report(refs, reason, sideband=True, lines=lines))
    found = packets(inner)
    assert found[0] == b"unpack ok\n"
    assert found[-1] is None
    assert [one.split(b" ", 2)[:2] for one in found[1:-1] if one] == [[b"ng", ref] for ref in refs]
    assert text.count(b"\n") == len(lines)
    assert all(line.startswith(b"credgate: ") for line in text.splitlines() if line) or not lines


@given(REFS, TEXTS)
def test_dulwich_reads_the_same_refusal(refs: list[bytes], reason: str) -> None:
    """An independent client finds every ref refused."""
    parser = ReportStatusParser()
    inner, _ = bands(report(refs, "x" + reason, sideband=True))
    for packet in Protocol(BytesIO(inner).read, lambda _: None).read_pkt_seq():
        parser.handle_packet(packet)
    parser.handle_packet(None)
    statuses = dict(parser.check())
    assert set(statuses) == set(refs)
    assert all(status is not None for status in statuses.values())


def test_dulwich_would_notice_an_ok() -> None:
    """The positive control of the test above."""
    parser = ReportStatusParser()
    for packet in (b"unpack ok\n", b"ok refs/heads/x\n", None):
        parser.handle_packet(packet)
    assert dict(parser.check()) == {b"refs/heads/x": None}
    with pytest.raises(GitProtocolError):
        parser.handle_packet(b"more")


@pytest.mark.parametrize("count", [1, 600, 20_000])
def test_long_report_is_split_over_bands(count: int) -> None:
    """20,000 refs, the longest list: every packet in bounds, every ref reported."""
    refs = [b"refs/heads/agent/branch-%d" % at for at in range(count)]
    inner, _ = bands(report(refs, "no", sideband=True))
    assert [one for one in packets(inner) if one] == [b"unpack ok\n", *(b"ng " + ref + b" no\n" for ref in refs)]


def test_bands_are_split_at_65515_bytes() -> None:
    """Git's LARGE_PACKET_MAX: one byte more is a fatal error."""
    body = report([b"refs/heads/%05d" % at for at in range(5000)], "no", sideband=True)
    sizes = [len(one) for one in packets(body) if one]
    assert sizes[:-1] == [65516] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= 65516


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", b"plain"),
        ("a\nb\rc\0d\te", b"a?b?c?d?e"),
        ("\x1b[31mred\x1b[0m", b"?[31mred?[0m"),
        ("a\u202eb\u2028c", b"a?b?c"),
        ("\ud800", b"?"),
        ("caf\xe9", b"caf\xc3\xa9"),
        ("x" * 300, b"x" * MAX_REASON),
        ("x" * (MAX_REASON - 1) + "\xe9", b"x" * (MAX_REASON - 1)),
    ],
)
def test_reason_is_one_bounded_printable_line(text: str, expected: bytes) -> None:
    """No escape sequence, no second line, no cut character."""
    assert one_line(text) == expected


def test_body_of_a_refused_discovery() -> None:
    """Git prints "remote:" before each line; the first names credgate."""
    assert text_body("no such thing", "ask the operator") == b"credgate: no such thing\nask the operator\n"
    assert text_body("credgate: no") == b"credgate: no\n"


def test_content_types_of_responses() -> None:
    """Git hides a text of any other type."""
    assert content_type(Kind.ADVERTISEMENT, "git-receive-pack") == b"application/x-git-receive-pack-advertisement"
    assert content_type(Kind.UPLOAD_PACK, "git-upload-pack") == UPLOAD_PACK_RESULT
    assert content_type(Kind.RECEIVE_PACK, "git-receive-pack") == RECEIVE_PACK_RESULT
    assert TEXT == b"text/plain; charset=utf-8"


def test_ref_without_room_for_its_reason_is_left_out() -> None:
    """A name may be as long as a packet; the others are reported."""
    for size, told in ((MAX_PACKET - 4 - 5 - 2, True), (MAX_PACKET - 4 - 5 - 1, False)):
        report = status_report([(b"x" * size, "no"), (b"refs/heads/a", "no")], sideband=False)
        assert (b"xxx no\n" in report) is told
        assert b"ng refs/heads/a no\n" in report
