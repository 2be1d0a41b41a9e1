"""Push options: read in any cut, malformed ones refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import RequestError
from credgate.git.pktline import FLUSH, encode
from credgate.git.push_list import MAX_OPTION, MAX_OPTIONS, OptionsReader, encode_options
from credgate.values import Reason

PACK = b"PACK\x00\x00\x00\x02"


def read(data: bytes) -> OptionsReader:
    """Read a whole body."""
    reader = OptionsReader()
    reader.receive(data)
    reader.end()
    return reader


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("tail", [b"", PACK, FLUSH])
def test_list_is_read_in_any_cut_and_stops_at_its_end(size: int, tail: bytes) -> None:
    """Not a byte of the pack is taken."""
    wire = encode(b"ci.skip") + encode(b"topic=caf\xc3\xa9\n") + FLUSH
    reader, taken = OptionsReader(), 0
    whole = wire + tail
    for at in range(0, len(whole), size):
        piece = whole[at : at + size]
        taken += reader.receive(piece)
    assert (taken, reader.options, reader.done) == (len(wire), [b"ci.skip", b"topic=caf\xc3\xa9"], True)


def test_reading_begins_at_an_offset() -> None:
    """After the command list in the same piece."""
    reader = OptionsReader()
    assert reader.receive(b"....." + encode(b"x") + FLUSH + PACK, 5) == 5 + 5 + 4
    assert reader.options == [b"x"]


def test_empty_list_is_read() -> None:
    """Git sends one whenever the capability was chosen."""
    assert read(FLUSH).options == []


@pytest.mark.parametrize(
    "wire",
    [
        b"0001", b"0002", b"0003", b"0004", b"zzzz", encode(b"\n") + FLUSH, encode(b"a\x00b") + FLUSH,
        encode(b"a\nb") + FLUSH, encode(b"\x1b") + FLUSH, encode(b"\xff") + FLUSH,
        encode(b"x" * (MAX_OPTION + 1)) + FLUSH, encode(b"x") * (MAX_OPTIONS + 1) + FLUSH, encode(b"x"), b"00",
    ],
)  # fmt: skip
def test_malformed_option_is_refused(wire: bytes) -> None:
    """It would reach the forge's hooks; options at the limits pass."""
    assert len(read((encode(b"x") * (MAX_OPTIONS - 1)) + encode(b"y" * MAX_OPTION) + FLUSH).options) == MAX_OPTIONS
    with pytest.raises(RequestError) as caught:
        read(wire)
    assert (caught.value.reason, caught.value.status) == (Reason.MALFORMED_PUSH, 400)


@given(st.lists(st.text("abc=.\xe9", min_size=1).map(str.encode), max_size=5), st.integers(1, 9))
def test_encoded_options_are_read_again(options: list[bytes], size: int) -> None:
    """The forge is sent what was judged."""
    wire = encode_options(options)
    reader = OptionsReader()
    for at in range(0, len(wire), size):
        reader.receive(wire[at : at + size])
    assert reader.options == options


@given(st.binary(max_size=60))
def test_any_bytes_are_options_or_refused(data: bytes) -> None:
    """RequestError or options, nothing else."""
    with contextlib.suppress(RequestError):
        read(data)
