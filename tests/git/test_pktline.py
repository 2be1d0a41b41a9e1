"""Packets: in any cut, with data after them, and against dulwich."""

from __future__ import annotations

from io import BytesIO

import pytest
from dulwich.protocol import Protocol, pkt_line
from hypothesis import given
from hypothesis import strategies as st

from credgate.git.pktline import (
    DELIMITER,
    FLUSH,
    MAX_PAYLOAD,
    RESPONSE_END,
    Packet,
    PacketError,
    PacketReader,
    Special,
    encode,
    length_of,
)

SPECIALS = {FLUSH: Special.FLUSH, DELIMITER: Special.DELIMITER, RESPONSE_END: Special.RESPONSE_END}
PAYLOADS = st.binary(min_size=1, max_size=70) | st.sampled_from([b"a" * MAX_PAYLOAD, b"0000", b"0001"])


def cut(*pieces: bytes) -> list[Packet]:
    """Read all packets of a stream that comes in ``pieces``."""
    reader, packets = PacketReader(), []
    for piece in pieces:
        offset = 0
        while offset < len(piece):
            packet, offset = reader.next(piece, offset)
            if packet is not None:
                packets.append(packet)
    assert not reader.inside
    return packets


def one_by_one(data: bytes) -> list[bytes]:
    """Cut ``data`` into single bytes."""
    return [data[at : at + 1] for at in range(len(data))]


@given(st.lists(PAYLOADS | st.sampled_from(list(SPECIALS)), max_size=6))
def test_encoded_packets_are_read_in_any_cut(parts: list[bytes]) -> None:
    """A packet may come in any pieces."""
    wire = b"".join(part if part in SPECIALS else encode(part) for part in parts)
    expected = [SPECIALS.get(part, part) for part in parts]
    assert cut(wire) == expected
    assert cut(wire[:3], wire[3:]) == expected
    if len(wire) < 1000:
        assert cut(*one_by_one(wire)) == expected


@given(PAYLOADS)
def test_dulwich_agrees_on_every_packet(payload: bytes) -> None:
    """An independent implementation."""
    assert encode(payload) == pkt_line(payload)
    assert Protocol(BytesIO(encode(payload)).read, lambda _: None).read_pkt_line() == payload


@pytest.mark.parametrize("size", [0, MAX_PAYLOAD + 1])
def test_empty_and_long_payloads_cannot_be_encoded(size: int) -> None:
    """Git would refuse them."""
    with pytest.raises(ValueError, match="a packet holds 1 to 65516 bytes"):
        encode(b"a" * size)


@pytest.mark.parametrize(
    "digits",
    [b"0003", b"0004", b"fff1", b"ffff", b"FFF1", b"+005", b"-005", b" 005", b"005 ", b"0x05", b"0_05", b"00g5",
     b"\x00\x00\x00\x05", b"00\n5", b"PACK", b"\xff005"],
)  # fmt: skip
def test_invalid_length_is_refused(digits: bytes) -> None:
    """Python's int() accepts half of these; servers differ on the others."""
    with pytest.raises(PacketError):
        length_of(digits)
    with pytest.raises(PacketError):
        PacketReader().next(digits + b"a" * 70000, 0)


@pytest.mark.parametrize(
    ("digits", "expected"),
    [(b"0005", 5), (b"000a", 10), (b"000A", 10), (b"fff0", 65520), (b"FFF0", 65520), (b"0000", Special.FLUSH),
     (b"0001", Special.DELIMITER), (b"0002", Special.RESPONSE_END)],
)  # fmt: skip
def test_valid_lengths_are_read(digits: bytes, expected: int | Special) -> None:
    """Git writes lower case and reads both."""
    assert length_of(digits) == expected


def test_data_after_a_packet_is_left_to_the_caller() -> None:
    """The pack of a push follows its list without a gap."""
    assert PacketReader().next(b"xx0006ab0000PACK", 2) == (b"ab", 8)
    assert PacketReader().next(b"0000PACK", 0) == (Special.FLUSH, 4)


def test_unfinished_packet_is_visible() -> None:
    """A body that ends there was cut."""
    reader = PacketReader()
    assert reader.next(b"0006a", 0) == (None, 5)
    assert reader.inside
    assert reader.next(b"b", 0) == (b"ab", 1)
    assert not reader.inside


@given(st.binary(max_size=64))
def test_any_bytes_are_packets_or_refused(data: bytes) -> None:
    """Packets or PacketError, and no more is held than came."""
    reader, offset = PacketReader(), 0
    try:
        while offset < len(data):
            _, offset = reader.next(data, offset)
    except PacketError:
        return
    assert offset == len(data)
