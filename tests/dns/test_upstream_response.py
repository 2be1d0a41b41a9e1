"""The question that goes upstream, and what passes for its answer."""

from __future__ import annotations

import ipaddress
import struct
import time
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.dns import domain_names, upstream_response
from credgate.dns.domain_names import WireError
from credgate.dns.upstream_response import CaseMismatchError, MismatchError, Resource, Response, SentQuestion
from tests.fakes import dnswire as w

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = (b"git", b"example", b"com")


def flip(octets: int) -> bytes:
    """Stand in for entropy: every other letter is upper case."""
    return bytes(n & 1 for n in range(octets))


def ask(qtype: int = 1, entropy: Callable[[int], bytes] = flip) -> SentQuestion:
    """Ask for NAME."""
    return upstream_response.ask(NAME, qtype, entropy)


A = w.record(w.ASKED, 1, b"\1\2\3\4", ttl=60)


def test_upstream_query_has_no_octet_of_the_client() -> None:
    """Random id and letter case, RD, one question, no options: no channel out but the name itself."""
    asked = ask(28)
    message = dns.message.from_wire(asked.message)
    assert message.id == 0x0001
    assert asked.message[2:12] == b"\x01\x00\0\1\0\0\0\0\0\0"
    assert message.question[0].name.labels == (b"GiT", b"ExAmPlE", b"CoM", b"")
    assert message.question[0].rdtype == dns.rdatatype.AAAA
    assert message.edns == -1


@given(st.binary(min_size=40, max_size=40))
def test_letter_case_is_random(coins: bytes) -> None:
    """0x20: whatever the coins, it is the same name to any server."""
    asked = upstream_response.ask((b"a-1z", b"\xc1", b"com"), 1, lambda octets: coins[:octets])
    name, _ = domain_names.read(asked.message, 12)
    assert domain_names.fold(name) == (b"a-1z", b"\xc1", b"com")


def test_an_answer() -> None:
    """The positive control of everything below: the answer section, an SOA's time, the rest forgotten."""
    asked = ask()
    message = w.response(
        asked.message, (A,), (w.soa_record(ttl=20, minimum=30),), (w.record(w.name("evil.example"), 1, b"\6\6\6\6"),)
    )
    assert upstream_response.read(message, asked) == Response(
        0, answers=(Resource(NAME, 1, 60, b"\1\2\3\4"),), negative_ttl=20
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: b"\xff" + m[1:], MismatchError),
        (lambda m: m[:2] + b"\x01\x80" + m[4:], MismatchError),
        (lambda m: m[:2] + b"\x91\x80" + m[4:], MismatchError),
        (lambda m: m[:4] + b"\0\0" + m[6:], MismatchError),
        (lambda m: m[:4] + b"\0\2" + m[6:], MismatchError),
        (lambda m: m.replace(b"ExAmPlE", b"ExAmPlF"), MismatchError),
        (lambda m: m.replace(b"CoM\0\0\1", b"CoM\0\0\x1c"), MismatchError),
        (lambda m: m[:11], MismatchError),
        (lambda m: b"", MismatchError),
        (lambda m: m.replace(b"ExAmPlE", b"example"), CaseMismatchError),
    ],
)
def test_mismatching_response_is_ignored(change: Callable[[bytes], bytes], error: type[Exception]) -> None:
    """Another id, question, type, class or letter case: the right answer may still come."""
    asked = ask()
    with pytest.raises(error) as caught:
        upstream_response.read(change(w.response(asked.message, (A,))), asked)
    assert type(caught.value) is error


def test_truncated_response_is_not_parsed() -> None:
    """What is left of it may be cut anywhere; TCP has it whole."""
    asked = ask()
    cut = w.response(asked.message, (A,), flags=0x8380)[:-2]
    assert upstream_response.read(cut, asked) == Response(0, truncated=True)


BROKEN = {
    "a record cut": lambda m: m[:-1],
    "a record's head cut": lambda m: m[:-8],
    "trailing octets": lambda m: m + b"\0",
    "more records announced": lambda m: m[:6] + b"\0\2" + m[8:],
    "fewer records announced": lambda m: m[:6] + b"\0\0" + m[8:],
    "too many records": lambda m: m[:6] + b"\0\x41" + m[8:] + A * 64,
    "too large": lambda m: m[:10] + b"\0\1" + m[12:] + w.record(b"\0", 16, b"\xff" * 9000),
    "an address of three": lambda m: m[: -len(A)] + w.record(w.ASKED, 1, b"\1\2\3"),
    "a pointer to itself": lambda m: m[: -len(A)] + w.record((0xC000 | (len(m) - len(A))).to_bytes(2), 1, b"\1\2\3\4"),
    "an alias to a forward pointer": lambda m: m[: -len(A)] + w.record(w.ASKED, 5, b"\xc0\xff"),
    "an alias cut": lambda m: m[: -len(A)] + w.record(w.ASKED, 5, b""),
    "an alias longer than its record": lambda m: m[: -len(A)] + w.record(w.ASKED, 5, b"\3abc\0x"),
    "an exchange without name": lambda m: m[: -len(A)] + w.record(w.ASKED, 15, b"\0\1"),
    "a text that lies": lambda m: m[: -len(A)] + w.record(w.ASKED, 16, b"\5abc"),
    "an empty text": lambda m: m[: -len(A)] + w.record(w.ASKED, 16, b""),
    "an SOA cut": lambda m: m[: -len(A)] + w.record(b"\0", 6, b"\0\0" + bytes(19)),
    "a CAA cut": lambda m: m[: -len(A)] + w.record(w.ASKED, 257, b"\0\7issue"),
    "a service cut": lambda m: m[: -len(A)] + w.record(w.ASKED, 65, b"\0"),
}


ASKED_TYPES = {
    "an exchange without name": 15,
    "a text that lies": 16,
    "an empty text": 16,
    "a CAA cut": 257,
    "a service cut": 65,
}


@pytest.mark.parametrize("what", BROKEN.keys())
def test_malformed_response_is_refused(what: str) -> None:
    """Lies in counts and lengths: nothing of such a message is used, and it is the server's failure."""
    asked, change = ask(ASKED_TYPES.get(what, 1)), BROKEN[what]
    with pytest.raises(WireError) as caught:
        upstream_response.read(change(w.response(asked.message, (A,))), asked)
    assert not isinstance(caught.value, MismatchError)


@pytest.mark.parametrize(
    ("qtype", "rdata", "expected"),
    [
        (28, bytes(16), (bytes(16), ())),
        (5, w.ASKED, (w.name("git.example.com"), NAME)),
        (12, b"\1x" + w.ASKED, (w.name("x.git.example.com"), (b"x", *NAME))),
        (15, b"\0\5" + b"\2mx" + w.ASKED, (b"\0\5" + w.name("mx.git.example.com"), (b"mx", *NAME))),
        (33, bytes(6) + w.name("SRV.example"), (bytes(6) + w.name("SRV.example"), (b"srv", b"example"))),
        (16, b"\3abc\0", (b"\3abc\0", ())),
        (257, b"\0\5issueca", (b"\0\5issueca", ())),
        (65, b"\0\1\0", (b"\0\1\0", ())),
        (64, b"\0\1" + w.name("Svc.example"), (b"\0\1" + w.name("Svc.example"), (b"svc", b"example"))),
    ],
)
def test_record_data_of_each_type(qtype: int, rdata: bytes, expected: tuple[bytes, domain_names.Name]) -> None:
    """Names come out whole: a pointer means nothing in another message."""

    def fixed(octets: int) -> bytes:
        return bytes(octets)

    asked = upstream_response.ask(NAME, qtype, fixed)
    found = upstream_response.read(w.response(asked.message, (w.record(w.ASKED, qtype, rdata),)), asked).answers
    got = (found[0].rdata.lower(), found[0].target)
    assert got == (expected[0].lower(), expected[1])


def test_records_of_other_types_and_classes_are_dropped() -> None:
    """A CHAOS record, an RRSIG, an NS: none of them was asked for."""
    asked = ask()
    others = (
        w.record(w.ASKED, 1, b"\1\1\1\1", rclass=3),
        w.record(w.ASKED, 46, b"x" * 30),
        w.record(w.ASKED, 28, bytes(16)),
    )
    assert upstream_response.read(w.response(asked.message, (*others, A)), asked).answers == (
        Resource(NAME, 1, 60, b"\1\2\3\4"),
    )


def test_record_limit_is_64() -> None:
    """The limit itself is read; a CAA record's tag may end its record."""
    asked = ask()
    many = tuple(w.record(w.ASKED, 1, bytes([1, 1, 1, number])) for number in range(64))
    assert len(upstream_response.read(w.response(asked.message, many), asked).answers) == 64
    other = ask(257)
    whole = w.record(w.ASKED, 257, b"\0\5issue")
    assert upstream_response.read(w.response(other.message, (whole,)), other).answers[0].rdata == b"\0\5issue"
    with pytest.raises(WireError, match="CAA"):
        upstream_response.read(w.response(other.message, (w.record(w.ASKED, 257, b"\0\6issue"), A)), other)


def test_ttl_with_top_bit_is_zero() -> None:
    """RFC 2181 section 8: or it would be 68 years."""
    asked = ask()
    found = upstream_response.read(
        w.response(asked.message, (w.record(w.ASKED, 1, b"\1\2\3\4", ttl=0x80000001),)), asked
    )
    assert found.answers[0].ttl == 0


@given(st.binary(max_size=100))
def test_any_input_raises_only_wire_error(tail: bytes) -> None:
    """Whatever stands behind a right header and question: a response, or ``WireError``."""
    asked = ask()
    message = asked.message[:2] + b"\x81\x80\0\1" + tail[:6].ljust(6, b"\0") + asked.question + tail[6:]
    try:
        upstream_response.read(message, asked)
    except WireError:
        return


@given(st.data())
def test_changed_response_is_parsed_as_by_dnspython(data: st.DataObject) -> None:
    """What both accept holds the same addresses."""
    asked = ask()
    cname = w.record(w.ASKED, 5, w.name("b.example"))
    message = bytearray(w.response(asked.message, (cname, w.record(w.name("b.example"), 1, b"\1\2\3\4"), A)))
    for _ in range(data.draw(st.integers(0, 2))):
        message[data.draw(st.integers(len(asked.message), len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        ours = upstream_response.read(bytes(message), asked)
    except WireError:
        return
    try:
        theirs = dns.message.from_wire(bytes(message), one_rr_per_rrset=True)
    except dns.exception.DNSException:
        return  # it judges records that nobody asked for; ours walks over them
    addresses = [r[0].to_text() for r in theirs.answer if r.rdtype == 1 and r.rdclass == 1]
    assert [".".join(map(str, one.rdata)) for one in ours.answers if one.rtype == 1] == addresses


HOSTS = st.lists(st.text("abcz019", min_size=1, max_size=9), min_size=1, max_size=4).map(".".join)


@given(
    HOSTS,
    st.lists(HOSTS, max_size=4),
    st.lists(st.integers(1, 2**32 - 1), min_size=1, max_size=20),
    st.integers(0, 2**31 - 1),
)
def test_response_of_dnslib_is_parsed(asked_name: str, aliases: list[str], addresses: list[int], ttl: int) -> None:
    """An independent writer, with its compression: the same aliases, addresses and times come out."""
    asked = upstream_response.ask(tuple(asked_name.encode().split(b".")), 1, bytes)
    written = dnslib.DNSRecord.parse(asked.message).reply(ra=1, aa=0)
    owner = asked_name
    for alias in aliases:
        written.add_answer(dnslib.RR(owner, dnslib.QTYPE.CNAME, rdata=dnslib.CNAME(alias), ttl=ttl))
        owner = alias
    for number in addresses:
        rdata = dnslib.A(str(ipaddress.IPv4Address(number)))
        written.add_answer(dnslib.RR(owner, dnslib.QTYPE.A, rdata=rdata, ttl=ttl))
    written.add_auth(dnslib.RR("example", dnslib.QTYPE.SOA, rdata=dnslib.SOA("a.example", "b.example"), ttl=ttl))
    found = upstream_response.read(written.pack(), asked)
    assert [b".".join(one.target).decode() for one in found.answers if one.rtype == 5] == aliases
    assert [int.from_bytes(one.rdata) for one in found.answers if one.rtype == 1] == addresses
    assert {one.ttl for one in found.answers} == {ttl}
    assert found.negative_ttl == 0


def test_64_kilobytes_of_chained_pointers_cost_milliseconds() -> None:
    """One such message held a server for 14 seconds; here the size alone refuses it, and 8 KiB are cheap."""
    asked = ask()
    for size, most in ((65000, 0.02), (8000, 0.05)):
        chain = b"".join((0xC000 | min(12 + at, 0x3FFF)).to_bytes(2) for at in range(0, size, 2))
        message = w.response(asked.message)[:6] + struct.pack("!3H", 64, 0, 0) + asked.question + chain
        cost = [most]
        for _ in range(5):  # the garbage of other tests may be collected in the midst of one
            before = time.process_time()
            with pytest.raises(WireError):
                upstream_response.read(message, asked)
            cost.append(time.process_time() - before)
        assert min(cost) < most
