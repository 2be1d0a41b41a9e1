"""Service records: read, guarded, written."""

from __future__ import annotations

import struct

import dns.rdata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.dns import svcb
from credgate.dns.names import WireError
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


def test_a_record_survives_reading_and_writing() -> None:
    """Positive control; dnspython reads what is written."""
    assert svcb.read(RECORD).wire() == RECORD
    assert svcb.read(b"\0\1\0") == Service(1, (), ())
    assert svcb.read(b"\0\0" + w.name("Cdn.Example")) == Service(0, (b"cdn", b"example"), ())


def test_hints_are_filtered_like_addresses() -> None:
    """A hint is an address the client may connect to unasked."""
    kept = svcb.guard(svcb.read(RECORD), public)
    assert kept is not None
    assert kept.wire() == b"\0\1\0" + ALPN + param(4, b"\1\1\1\1") + param(6, V6[4:20])
    dns.rdata.from_wire("IN", "HTTPS", kept.wire(), 0, len(kept.wire()))


def test_a_parameter_without_hints_left_goes_and_takes_what_needs_it_along() -> None:
    """``mandatory`` says that the record is of no use without it (RFC 9460 section 8)."""
    only = b"\0\1\0" + ALPN + param(4, b"\x0a\0\0\1")
    kept = svcb.guard(svcb.read(only), public)
    assert kept is not None
    assert kept.wire() == b"\0\1\0" + ALPN
    needed = b"\0\1\0" + param(0, b"\0\1\0\4") + ALPN + param(4, b"\x0a\0\0\1")
    assert svcb.guard(svcb.read(needed), public) is None
    fine = b"\0\1\0" + param(0, b"\0\1") + ALPN
    assert svcb.guard(svcb.read(fine), public) == svcb.read(fine)


def test_a_parameter_without_value_stays() -> None:
    """``no-default-alpn`` has none."""
    record = b"\0\1\0" + ALPN + param(2, b"")
    assert svcb.guard(svcb.read(record), public) == svcb.read(record)


@pytest.mark.parametrize(
    "rdata",
    [b"", b"\0", b"\0\1", b"\0\1\0\0", b"\0\1\0\0\1\0", b"\0\1\0\0\1\0\5abc", b"\0\1\0" + V4 + ALPN,
     b"\0\1\0" + ALPN * 2,
     b"\0\1\xc0\x0c", b"\0\1\x03ab"],
)  # fmt: skip
def test_what_is_malformed_is_refused(rdata: bytes) -> None:
    """Keys out of order, twice, cut; names compressed or cut."""
    with pytest.raises(WireError):
        svcb.read(rdata)


@pytest.mark.parametrize("hint", [param(4, b""), param(4, b"\1\1\1"), param(6, b"\1\1\1\1")])
def test_a_hint_of_a_wrong_length_is_refused(hint: bytes) -> None:
    """What cannot be judged is not passed on."""
    with pytest.raises(WireError):
        svcb.guard(svcb.read(b"\0\1\0" + hint), public)


@given(st.binary(max_size=60))
def test_no_octets_make_it_raise_anything_else(rdata: bytes) -> None:
    """A service, or ``WireError``."""
    try:
        service = svcb.read(rdata)
    except WireError:
        return
    assert svcb.read(service.wire()) == service
