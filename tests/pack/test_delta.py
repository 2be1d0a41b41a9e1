"""Deltas make what git makes of them, or are refused."""

from __future__ import annotations

import pytest
from dulwich.pack import apply_delta, create_delta
from hypothesis import given
from hypothesis import strategies as st

from credgate.pack import delta
from credgate.pack.objects import PackError
from tests.fakes import packs

BASE = bytes(range(256)) * 300


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_it_makes_what_dulwich_meant(base: bytes, result: bytes) -> None:
    """An independent writer's deltas come out as their targets."""
    assert delta.apply(base, b"".join(create_delta(base, result))) == result
    assert delta.apply(base, packs.delta(base, result)) == result


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
    """Offset and size bytes that are left out are zero; a size of zero is 65536."""
    size = 65536 if result is None else len(result)  # None: a size of 65536 in its third byte, beyond the base
    whole = packs.number(len(BASE)) + packs.number(size) + instructions
    if result is None:
        with pytest.raises(PackError):
            delta.apply(BASE, whole)
    else:
        assert delta.apply(BASE, whole) == result


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (b"", "without its sizes"),
        (b"\x05", "without its sizes"),
        (b"\xff" * 9 + b"\x01", "impossible size"),
        (b"\x04\x01\x01x", "another base"),
        (b"\x05\x01\x00", "broken instruction"),
        (b"\x05\x03\x03xx", "broken instruction"),
        (b"\x05\x02\x01x", "more or less"),
        (b"\x05\x01\x02xx", "more or less"),
        (b"\x05\x01\x01x\x01x\x01x\x01x", "more or less"),
        (b"\x05\x03\x91\x03", "ends inside"),
        (b"\x05\x03\x91\x03\x03", "from outside its base"),
        (b"\x05\x03\x80", "from outside its base"),
    ],
)
def test_a_delta_that_does_not_fit_is_refused(broken: bytes, why: str) -> None:
    """Of the base ``hello``: wrong sizes, cut or reserved instructions, copies from beyond its end."""
    with pytest.raises(PackError, match=why):
        delta.apply(b"hello", broken)
    assert delta.apply(b"hello", b"\x05\x03\x91\x02\x03") == b"llo"


@given(st.binary(max_size=40))
def test_any_bytes_make_an_object_as_dulwich_does_or_are_refused(data: bytes) -> None:
    """The sender writes deltas as it likes: nothing but the declared error comes out, and nothing else than git's."""
    try:
        result = delta.apply(b"hello", b"\x05" + data)
    except PackError:
        return
    assert result == b"".join(apply_delta(b"hello", b"\x05" + data))


def test_sizes_are_told_before_anything_is_made() -> None:
    """So a delta of ten bytes that makes a gigabyte is known as one."""
    assert delta.sizes(packs.number(5) + packs.number(1 << 30) + b"\x80") == (5, 1 << 30, 6)
