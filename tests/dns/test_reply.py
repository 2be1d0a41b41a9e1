"""Replies: read by dnspython and dnslib, and within their size."""

from __future__ import annotations

import ipaddress

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.dns import query, reply
from credgate.dns.codes import ExtendedError, Rcode
from credgate.dns.query import Query
from credgate.dns.reply import Content, Extended, ReplyRecord
from tests.fakes import dnswire as w


def asked(name: str = "Git.Example.com", qtype: int = 1, *, edns: bytes | None = None, flags: int = 0x0100) -> Query:
    """Return a decoded query."""
    decoded = query.decode(w.question(name, qtype, edns=edns, flags=flags))
    assert isinstance(decoded, Query)
    return decoded


def addresses(count: int) -> tuple[ReplyRecord, ...]:
    """Return that many A records."""
    return tuple(ReplyRecord(1, 60, ipaddress.IPv4Address(0x01010100 + number).packed) for number in range(count))


BLOCKED = Extended(ExtendedError.BLOCKED, "credgate: no")


def test_reply_repeats_question_and_has_records() -> None:
    """Id, RD, CD and the question's own case come back; RA is said; nothing else is set."""
    built = reply.build(asked(flags=0x0110), Content(records=addresses(2)))
    assert built[:2] == b"\x12\x34"
    assert w.flags(built) == {"QR", "RD", "RA", "CD"}
    assert str(w.read(built).question[0].name) == "Git.Example.com."
    assert w.answers(built) == [("Git.Example.com.", "A", "1.1.1.0"), ("Git.Example.com.", "A", "1.1.1.1")]


def test_record_with_explicit_owner() -> None:
    """Shown aliases: the second record's owner is not the asked name."""
    records = (ReplyRecord(5, 60, w.name("b.example")), ReplyRecord(1, 60, b"\1\1\1\1", owner=(b"b", b"example")))
    assert w.answers(reply.build(asked("a.example"), Content(records=records))) == [
        ("a.example.", "CNAME", "b.example."),
        ("b.example.", "A", "1.1.1.1"),
    ]


def test_negative_answer_has_soa_for_caching() -> None:
    """RFC 2308: without an SOA every repeat of a refused name would be asked again."""
    built = w.read(reply.build(asked(), Content(Rcode.NXDOMAIN, negative_ttl=30)))
    assert (built.rcode(), built.authority[0].ttl, built.authority[0][0].minimum) == (3, 30, 30)
    other = w.read(reply.build(asked(), Content(negative_ttl=7)))
    assert (other.rcode(), other.authority[0].ttl, other.authority[0][0].minimum) == (0, 7, 7)


def test_extended_error_is_sent_only_with_edns() -> None:
    """RFC 8914: it travels in OPT, and OPT answers OPT."""
    content = Content(Rcode.NXDOMAIN, negative_ttl=30, extended=BLOCKED)
    assert w.read(reply.build(asked(), content)).opt is None
    with_edns = reply.build(asked(edns=w.opt(flags=0x8000)), content)
    assert w.extended_error(with_edns) == (15, "credgate: no")
    assert w.read(with_edns).payload == 1232
    assert w.read(with_edns).ednsflags == 0x8000


def test_unsupported_edns_version_gets_badvers() -> None:
    """RFC 6891 section 6.1.3: the code's upper bits are in OPT, the version in it is ours."""
    built = reply.build(asked(edns=w.opt(version=1)), Content(Rcode.BADVERS))
    assert (w.rcode(built), w.read(built).edns) == ("BADVERS", 0)


def test_truncation_is_at_record_boundary() -> None:
    """RFC 2181 section 9: TC, whole records only, OPT kept; a record cut in half is what the stock server sent."""
    built = reply.build(asked(edns=w.opt(512)), Content(records=addresses(200)), 512)
    assert len(built) <= 512
    assert "TC" in w.flags(built)
    assert 0 < len(w.answers(built)) < 200
    assert w.read(built).opt is not None
    whole = reply.build(asked(edns=w.opt(512)), Content(records=addresses(200)))
    assert len(w.answers(whole)) == 200
    assert "TC" not in w.flags(whole)


def test_extended_error_is_dropped_before_a_record() -> None:
    """Its text is removed first, then the whole option."""
    extended = Extended(ExtendedError.STALE_ANSWER, "x" * 100)
    question = asked(edns=w.opt(512))
    size = len(reply.build(question, Content(records=addresses(5))))
    full = reply.build(question, Content(records=addresses(5), extended=extended), size + 106)
    short = reply.build(question, Content(records=addresses(5), extended=extended), size + 105)
    bare = reply.build(question, Content(records=addresses(5), extended=extended), size + 5)
    assert [w.extended_error(one) for one in (full, short, bare)] == [(3, "x" * 100), (3, ""), None]
    assert {len(w.answers(one)) for one in (full, short, bare)} == {5}
    assert all("TC" not in w.flags(one) for one in (full, short, bare))


def test_truncated_reply_is_no_larger_than_the_query() -> None:
    """A forged source must gain nothing from the rate limit's answer."""
    for message in (w.question("a.example"), w.question("a.example", edns=w.opt())):
        decoded = query.decode(message)
        assert isinstance(decoded, Query)
        built = reply.truncated(decoded)
        assert len(built) <= len(message)
        assert w.flags(built) == {"QR", "TC", "RD", "RA"}


LABEL = st.text("abcXYZ019-", min_size=1, max_size=20)


@given(
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
    st.integers(0, 40),
    st.sampled_from([Rcode.NOERROR, Rcode.NXDOMAIN, Rcode.SERVFAIL, Rcode.REFUSED]),
    st.sampled_from([None, BLOCKED]),
    st.sampled_from([None, w.opt(512), w.opt(1232), w.opt(4096)]),
    st.sampled_from([0, 30, 5]),
)
def test_dnspython_and_dnslib_read_every_reply(
    name: str, count: int, rcode: Rcode, extended: Extended | None, edns: bytes | None, negative: int
) -> None:
    """Two readers, dnspython and dnslib, agree with what was meant, and no reply is larger than the query allows."""
    question = asked(name, edns=edns)
    built = reply.build(question, Content(rcode, addresses(count), negative, extended), question.limit())
    assert len(built) <= question.limit()
    theirs, other = w.read(built), dnslib.DNSRecord.parse(built)
    assert theirs.rcode() == rcode == other.header.rcode
    assert len(w.answers(built)) == len(other.rr)
    assert (len(other.rr) < count) == ("TC" in w.flags(built))
    assert bool(theirs.authority) == bool(negative) == bool(other.auth)
    assert (theirs.opt is not None) == (edns is not None)


@pytest.mark.parametrize("name", ["a" * 63, ".".join(["a" * 63] * 3 + ["b" * 61])])
def test_refusal_of_longest_name_fits_512_octets(name: str) -> None:
    """The refusal of a 255-octet name still fits 512 with its SOA."""
    built = reply.build(asked(name), Content(Rcode.NXDOMAIN, negative_ttl=30, extended=BLOCKED), 512)
    assert w.rcode(built) == "NXDOMAIN"
    assert w.read(built).authority
