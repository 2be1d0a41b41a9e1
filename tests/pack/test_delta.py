"""Applied deltas equal git's result, and malformed deltas are refused."""

from __future__ import annotations

import pytest
from dulwich.pack import apply_delta, create_delta
from hypothesis import given
from hypothesis import strategies as st

from credgate.pack import delta
from credgate.pack.objects import PackError
from tests.fakes import packs

BASE = bytes(range(256)) * 300


def apply(base: bytes, instructions: bytes) -> bytes:
    """Apply without slices."""
    return packs.finish(delta.apply(base, instructions))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_deltas_of_dulwich_yield_their_target(base: bytes, result: bytes) -> None:
    """An independent implementation writes the deltas."""
    assert apply(base, b"".join(create_delta(base, result))) == result
    assert apply(base, packs.delta(base, result)) == result


@pytest.mark.parametrize(
    ("instructions", "result"),
    [
        (b"\x80", BASE[:65536]),
        (b"\x91\x03\x05", BASE[3:8]),
        (b"\xb3\x01\x02\x00\x01", BASE[513:769]),
        (b"\x94\x01\x07", BASE[65536:65543]),
        (b"\xc4\x01\x01", None),
        (b"\x90\x02\x03abc\x91\x05\x01", BASE[:2] + b"abc" + BASE[5:6]),
        (b"", b""),
    ],
)
def test_every_form_of_an_instruction(instructions: bytes, result: bytes | None) -> None:
    """Omitted offset and size bytes are zero; a size of zero is 65536."""
    size = 65536 if result is None else len(result)  # None: a size of 65536 in its third byte, beyond the base
    whole = packs.number(len(BASE)) + packs.number(size) + instructions
    if result is None:
        with pytest.raises(PackError):
            apply(BASE, whole)
    else:
        assert apply(BASE, whole) == result


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"", "truncated header"),
        (b"\x05", "truncated header"),
        (b"\xff" * 9 + b"\x01", "size out of range"),
        (b"\x04\x01\x01x", "base size mismatch"),
        (b"\x05\x01\x00", "invalid instruction"),
        (b"\x05\x03\x03xx", "invalid instruction"),
        (b"\x05\x02\x01x", "result size mismatch"),
        (b"\x05\x01\x02xx", "result size mismatch"),
        (b"\x05\x01\x01x\x01x\x01x\x01x", "result size mismatch"),
        (b"\x05\x03\x91\x03", "truncated instruction"),
        (b"\x05\x03\x91\x03\x03", "copy beyond the end of the base"),
        (b"\x05\x03\x80", "copy beyond the end of the base"),
    ],
)
def test_malformed_delta_is_refused(broken: bytes, why: str) -> None:
    """For the base ``hello``: wrong sizes, truncated or reserved instructions, copies beyond its end."""
    with pytest.raises(PackError, match=why):
        apply(b"hello", broken)
    assert apply(b"hello", b"\x05\x03\x91\x02\x03") == b"llo"


@given(st.binary(max_size=40))
def test_arbitrary_bytes_yield_dulwich_s_result_or_pack_error(data: bytes) -> None:
    """The sender controls the delta: no other exception, and no other result than git's."""
    try:
        result = apply(b"hello", b"\x05" + data)
    except PackError:
        return
    assert result == b"".join(apply_delta(b"hello", b"\x05" + data))


def test_sizes_are_known_before_the_delta_is_applied() -> None:
    """A delta of ten bytes may produce a gigabyte."""
    assert delta.sizes(packs.number(5) + packs.number(1 << 30) + b"\x80") == (5, 1 << 30, 6)
