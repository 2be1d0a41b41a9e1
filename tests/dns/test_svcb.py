"""Service records: read, guarded, written."""

from __future__ import annotations

import struct
from typing import Any

import dns.rdata
import dnslib
import pytest
from dns.rdtypes.IN.HTTPS import HTTPS
from hypothesis import given
from hypothesis import strategies as st

from credgate.dns import svcb
from credgate.dns.domain_names import WireError
from credgate.dns.svcb import Service
from tests.fakes import dnswire as w


def param(key: int, value: bytes) -> bytes:
    """Write a parameter."""
    return struct.pack("!HH", key, len(value)) + value


ALPN = param(1, b"\x02h2")
V4 = param(4, b"\1\1\1\1" + b"\x0a\0\0\1")
V6 = param(6, bytes.fromhex("20014860486000000000000000008888") + bytes(15) + b"\1")
RECORD = b"\0\1\0" + ALPN + V4 + V6


def public(packed: bytes) -> bool:
    """Keep these two."""
    return packed in (b"\1\1\1\1", bytes.fromhex("20014860486000000000000000008888"))


def test_service_record_round_trip() -> None:
    """Positive control; dnspython reads what is written."""
    assert svcb.read(RECORD).wire() == RECORD
    assert svcb.read(b"\0\1\0") == Service(1, (), ())
    assert svcb.read(b"\0\0" + w.name("Cdn.Example")) == Service(0, (b"cdn", b"example"), ())


def test_address_hints_are_filtered() -> None:
    """A hint is an address the client may connect to unasked."""
    kept = svcb.guard(svcb.read(RECORD), public)
    assert kept is not None
    assert kept.wire() == b"\0\1\0" + ALPN + param(4, b"\1\1\1\1") + param(6, V6[4:20])
    dns.rdata.from_wire("IN", "HTTPS", kept.wire(), 0, len(kept.wire()))


def test_parameter_without_hints_is_removed_with_records_that_need_it() -> None:
    """``mandatory`` says that the record is of no use without it (RFC 9460 section 8)."""
    only = b"\0\1\0" + ALPN + param(4, b"\x0a\0\0\1")
    kept = svcb.guard(svcb.read(only), public)
    assert kept is not None
    assert kept.wire() == b"\0\1\0" + ALPN
    needed = b"\0\1\0" + param(0, b"\0\1\0\4") + ALPN + param(4, b"\x0a\0\0\1")
    assert svcb.guard(svcb.read(needed), public) is None
    fine = b"\0\1\0" + param(0, b"\0\1") + ALPN
    assert svcb.guard(svcb.read(fine), public) == svcb.read(fine)


ECH = param(5, bytes.fromhex("0045fe0d0041") + b"x" * 65)
PORT = param(3, b"\x01\xbb")
LAST = param(65280, b"private")


def without(params: dict[Any, Any]) -> dict[Any, Any]:
    """Return the parameters without ``ech``."""
    return {key: value for key, value in params.items() if key != 5}


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ([ECH], []),
        ([ALPN, ECH], [ALPN]),
        ([ALPN, PORT, ECH, LAST], [ALPN, PORT, LAST]),
        ([param(0, b"\0\1"), ALPN, ECH], [param(0, b"\0\1"), ALPN]),
        ([param(0, b"\0\1\0\3"), ALPN, PORT, ECH, LAST], [param(0, b"\0\1\0\3"), ALPN, PORT, LAST]),
        ([param(5, b"")], []),
        ([param(0, b"\0\5"), ECH], None),
        ([param(0, b"\0\1\0\5"), ALPN, ECH], None),
        ([ALPN, LAST], [ALPN, LAST]),
    ],
)
def test_ech_is_removed(params: list[bytes], kept: list[bytes] | None) -> None:
    """The other parameters stay to the octet; a record that cannot do without ``ech`` goes (RFC 9460 section 8)."""
    guarded = svcb.guard(svcb.read(b"\0\1\0" + b"".join(params)), public)
    assert (guarded and guarded.wire()) == (None if kept is None else b"\0\1\0" + b"".join(kept))


def test_alias_record_is_unchanged() -> None:
    """The positive control: priority 0."""
    alias = b"\0\0" + w.name("cdn.example")
    guarded = svcb.guard(svcb.read(alias), public)
    assert guarded is not None
    assert guarded.wire() == alias


@given(
    st.dictionaries(st.sampled_from([5, 65280, 65281]), st.binary(min_size=1, max_size=12)),
    st.sets(st.sampled_from([1, 3, 5]), max_size=3),
)
def test_other_parsers_see_everything_but_ech(values: dict[int, bytes], needed: set[int]) -> None:
    """Judged by dnslib and dnspython, before and after."""
    values = {1: b"\2h2", 3: b"\1\xbb", **values}
    if 5 in values:
        configurations = b"\xfe\x0d\0\0" + values[5]  # dnspython takes no shorter list
        values[5] = len(configurations).to_bytes(2) + configurations
    needed = needed & set(values)
    if needed:
        values[0] = b"".join(key.to_bytes(2) for key in sorted(needed))
    record = b"\0\1" + w.name("svc.example") + b"".join(param(key, values[key]) for key in sorted(values))
    guarded = svcb.guard(svcb.read(record), public)
    if 5 in needed:
        assert guarded is None
        return
    assert guarded is not None
    wire = guarded.wire()
    before, after = (dnslib.HTTPS.parse(dnslib.DNSBuffer(octets), len(octets)) for octets in (record, wire))
    assert (after.priority, after.target) == (before.priority, before.target)
    assert dict(after.params) == without(dict(before.params))
    theirs, ours = (dns.rdata.from_wire("IN", "HTTPS", octets, 0, len(octets)) for octets in (record, wire))
    assert isinstance(theirs, HTTPS)
    assert isinstance(ours, HTTPS)
    shown = {key: value and value.to_text() for key, value in theirs.params.items()}
    assert {key: value and value.to_text() for key, value in ours.params.items()} == without(shown)
    assert (ours.priority, ours.target) == (theirs.priority, theirs.target)


def test_parameter_without_value_is_kept() -> None:
    """``no-default-alpn`` has none."""
    record = b"\0\1\0" + ALPN + param(2, b"")
    assert svcb.guard(svcb.read(record), public) == svcb.read(record)


@pytest.mark.parametrize(
    "rdata",
    [b"", b"\0", b"\0\1", b"\0\1\0\0", b"\0\1\0\0\1\0", b"\0\1\0\0\1\0\5abc", b"\0\1\0" + V4 + ALPN,
     b"\0\1\0" + ALPN * 2,
     b"\0\1\xc0\x0c", b"\0\1\x03ab"],
)  # fmt: skip
def test_malformed_service_record_is_refused(rdata: bytes) -> None:
    """Keys out of order, twice, cut; names compressed or cut."""
    with pytest.raises(WireError):
        svcb.read(rdata)


@pytest.mark.parametrize("hint", [param(4, b""), param(4, b"\1\1\1"), param(6, b"\1\1\1\1")])
def test_hint_with_wrong_length_is_refused(hint: bytes) -> None:
    """A hint that cannot be checked is not forwarded."""
    with pytest.raises(WireError):
        svcb.guard(svcb.read(b"\0\1\0" + hint), public)


@given(st.binary(max_size=60))
def test_any_input_raises_only_wire_error(rdata: bytes) -> None:
    """A service, or ``WireError``."""
    try:
        service = svcb.read(rdata)
    except WireError:
        return
    assert svcb.read(service.wire()) == service
