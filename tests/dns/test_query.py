"""Parsing of queries: well-formed, malformed, and those without a reply."""

from __future__ import annotations

import dns.message
import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.dns import query
from credgate.dns.codes import Rcode
from credgate.dns.query import Edns, Query, QueryFault
from tests.fakes import dnswire as w

PLAIN = w.question("git.example.com")
WITH_OPT = w.question("git.example.com", edns=w.opt())


def test_query_without_edns() -> None:
    """The positive control of everything below."""
    asked = query.decode(w.question("Git.Example.com", 28, ident=7))
    assert isinstance(asked, Query)
    assert (asked.id, asked.flags, asked.qtype, asked.qclass, asked.edns) == (7, 0x0100, 28, 1, None)
    assert asked.name == (b"git", b"example", b"com")
    assert asked.question == w.name("Git.Example.com") + b"\0\x1c\0\x01"
    assert asked.limit() == 512


@pytest.mark.parametrize(
    ("payload", "limit"), [(0, 512), (511, 512), (512, 512), (1000, 1000), (1232, 1232), (65535, 1232)]
)
def test_udp_reply_limit_of_client(payload: int, limit: int) -> None:
    """At least 512 (RFC 6891 section 6.2.3), at most 1232."""
    asked = query.decode(w.question("a.b", edns=w.opt(payload, flags=0x8000)))
    assert isinstance(asked, Query)
    assert asked.edns == Edns(0, payload, 0x8000)
    assert asked.limit() == limit


@pytest.mark.parametrize(
    "options",
    [b"", w.option(10, b"12345678"), w.option(8, b"\0\x01\x18\0\x0a\0\0"), w.option(12, bytes(100)), w.option(15, b"")],
)
def test_edns_options_are_ignored(options: bytes) -> None:
    """Cookies, client subnet, padding: accepted in form, and of no effect."""
    asked = query.decode(w.question("a.b", edns=w.opt(options=options)))
    assert isinstance(asked, Query)


FORMERR = {
    "two octets": b"\x12\x34",
    "a header cut": w.header()[:11],
    "no question": w.header(counts=(0, 0, 0, 0)),
    "no question, cookie only": w.header(counts=(0, 0, 0, 1)) + w.opt(options=w.option(10, bytes(8))),
    "two questions": w.header(counts=(2, 0, 0, 0)) + (w.name("a.b") + b"\0\x01\0\x01") * 2,
    "a second question is announced": w.header(counts=(2, 0, 0, 0)) + w.name("a.b") + b"\0\x01\0\x01",
    "an answer is announced": w.header(counts=(1, 1, 0, 0)) + w.name("a.b") + b"\0\x01\0\x01",
    "an answer": w.header(counts=(1, 1, 0, 0)) + w.name("a.b") + b"\0\x01\0\x01" + w.record(w.ASKED, 1, b"abcd"),
    "authority": w.header(counts=(1, 0, 1, 0)) + w.name("a.b") + b"\0\x01\0\x01" + w.soa_record(),
    "an additional record is announced": w.header(counts=(1, 0, 0, 1)) + w.name("a.b") + b"\0\x01\0\x01",
    "an additional record that is no OPT": w.question("a.b", edns=w.record(b"\0", 1, b"abcd")),
    "TSIG": w.question("a.b", edns=w.record(b"\0", 250, b"x" * 20, rclass=255)),
    "two OPT": w.header(counts=(1, 0, 0, 2)) + w.name("a.b") + b"\0\x01\0\x01" + w.opt() * 2,
    "a second OPT behind the count": WITH_OPT + w.opt(),
    "an OPT with a name": w.question("a.b", edns=b"\x01a" + w.opt()),
    "an OPT cut": WITH_OPT[:-1],
    "an OPT whose length lies": w.question("a.b", edns=w.opt()[:-1] + b"\x04"),
    "an option cut": w.question("a.b", edns=w.opt(options=b"\0\x0a\0")),
    "an option whose length lies": w.question("a.b", edns=w.opt(options=b"\0\x0a\0\x05abc")),
    "trailing octets": PLAIN + b"\0",
    "trailing octets behind OPT": WITH_OPT + b"\0",
    "the question cut": PLAIN[:-1],
    "the name cut": PLAIN[:15],
    "a pointer in the question": w.question(b"\x01a\xc0\x0c"),
    "a pointer alone": w.question(b"\xc0\x0c"),
    "label type 0x40": w.question(b"\x41" + b"a" * 65 + b"\0"),
    "label type 0x80": w.question(b"\x81" + b"a" * 129 + b"\0"),
    "a label of 64": w.question(b"\x40" + b"a" * 64 + b"\0"),
    "a name of 257": w.question((b"\x3f" + b"a" * 63) * 4 + b"\0"),
    "longer than any query": w.question("a.b", edns=w.opt(options=w.option(12, bytes(600)))),
}


@pytest.mark.parametrize("message", FORMERR.values(), ids=FORMERR.keys())
def test_malformed_query_gets_formerr(message: bytes) -> None:
    """FORMERR where an id can be read: a client learns at once instead of by its timeout."""
    fault = query.decode(message)
    assert isinstance(fault, QueryFault)
    assert fault.rcode is Rcode.FORMERR
    assert fault.reply[:2] == message[:2]
    reply = w.read(fault.reply)
    assert (w.rcode(fault.reply), reply.question, len(fault.reply)) == ("FORMERR", [], 12)
    assert "QR" in w.flags(fault.reply)


@pytest.mark.parametrize("opcode", [1, 2, 3, 4, 5, 6, 15])
def test_other_opcodes_get_notimp(opcode: int) -> None:
    """STATUS, NOTIFY, UPDATE: NOTIMP with QR=1; without it a client would never take it for its answer."""
    fault = query.decode(w.question("a.b", flags=opcode << 11))
    assert isinstance(fault, QueryFault)
    assert fault.rcode is Rcode.NOTIMP
    assert int.from_bytes(fault.reply[2:4]) & 0xF80F == 0x8000 | opcode << 11 | 4


@pytest.mark.parametrize(
    "message", [b"", b"\x12", w.question("a.b", flags=0x8180), b"\x12\x34\x80", w.header(flags=0x8400)]
)
def test_response_and_message_without_id_get_no_reply(message: bytes) -> None:
    """A reply to a response could be a loop; a message without an id cannot be answered."""
    assert query.decode(message) is None


def test_query_limit_is_512_octets() -> None:
    """The limit itself is a query."""
    padded = w.question("a.b", edns=w.opt(options=w.option(12, bytes(512 - len(w.question("a.b", edns=w.opt())) - 4))))
    assert len(padded) == query.MAX_QUERY
    assert isinstance(query.decode(padded), Query)


@given(st.binary(max_size=600))
def test_no_input_raises(message: bytes) -> None:
    """The result is a query, a fault or ``None``."""
    assert isinstance(query.decode(message), Query | QueryFault | None)


@given(st.data())
def test_changed_query_is_parsed_as_by_dnspython_and_dnslib(data: st.DataObject) -> None:
    """What credgate accepts, dnspython and dnslib parse to the same question."""
    message = bytearray(data.draw(st.sampled_from([PLAIN, WITH_OPT])))
    for _ in range(data.draw(st.integers(0, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    asked = query.decode(bytes(message))
    if isinstance(asked, Query):
        theirs = dns.message.from_wire(bytes(message)).question[0]
        assert tuple(label.lower() for label in theirs.name.labels[:-1]) == asked.name
        assert int(theirs.rdtype) == asked.qtype
        if all(0x21 <= octet <= 0x7E for label in asked.name for octet in label):  # dnslib reads no other labels
            assert dnslib.DNSRecord.parse(bytes(message)).q.qtype == asked.qtype


@given(st.integers(0, len(WITH_OPT) - 1))
def test_every_truncation_of_a_query_is_malformed(end: int) -> None:
    """A truncated query is never accepted."""
    assert not isinstance(query.decode(WITH_OPT[:end]), Query)
