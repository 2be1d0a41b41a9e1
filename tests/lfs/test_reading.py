"""Strict JSON: what two readers could understand differently is refused."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.lfs import reading
from credgate.lfs.reading import MAX_NUMBER, MAX_TEXT, REQUEST_VALUES, UnreadableJson

WORD = re.compile("[a-z]+")


def read_object(body: bytes | bytearray) -> reading.Members:
    """Read a request's body."""
    return reading.read_object(body, most=REQUEST_VALUES)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b"[]", "not a JSON object"), (b'"a"', "not a JSON object"),
        (b"null", "not a JSON object"), (b'{"a":1,"a":1}', "duplicate key"), (b'{"a":{"b":1,"b":2}}', "duplicate key"),
        (b'{"a":NaN}', "contains NaN"), (b'{"a":-Infinity}', "contains -Infinity"),
        (b'{"a":"\xff"}', "not UTF-8"), (b"\xff\xfe{\x00}\x00", "not UTF-8"), (b"{} {}", "not JSON"),
        (b"{}x", "not JSON"), (b'{"a":' + b"[" * 10_000, "not JSON"),
        (b'{"a":[' + b"{}," * 20_000 + b"{}]}", "more than 16000 values"), (b'{"a":' + b"1" * 5000 + b"}", "not JSON"),
        (b'{"a":"\x01"}', "not JSON"), (b"\xef\xbb\xbf{}", "not JSON"),
    ],
)  # fmt: skip
def test_body_that_is_not_one_object_is_refused(body: bytes, text: str) -> None:
    """The text has no byte of the body."""
    with pytest.raises(UnreadableJson, match=text):
        read_object(body)
    with pytest.raises(UnreadableJson):
        read_object(bytearray(body))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_written_object_is_read_back(members: dict[str, object]) -> None:
    """In ASCII, whatever is in it."""
    try:
        json.dumps(members, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    written = reading.written(members)
    assert written.isascii()
    assert read_object(written) == members


@given(st.binary(max_size=60), st.binary(min_size=1, max_size=8))
def test_any_body_is_read_or_refused(body: bytes, trailing: bytes) -> None:
    """Nor does anything that stands behind one."""
    for bytes_ in (body, b"{" + body, b'{"a":' + body + b"}"):
        with contextlib.suppress(UnreadableJson):
            assert isinstance(read_object(bytes_), dict)
    if trailing.strip(b" \t\r\n"):
        with pytest.raises(UnreadableJson):
            read_object(b"{}" + trailing)


def test_values_of_the_expected_type_are_returned() -> None:
    """The controls of what follows."""
    members = read_object(b'{"t":"abc","n":0,"f":true,"o":{"x":1},"l":[{}],"w":["a"],"z":null,"e":""}')
    assert (reading.text(members, "t"), reading.text(members, "t", WORD)) == ("abc", "abc")
    assert [reading.optional_text(members, key) for key in ("t", "z", "e", "none")] == ["abc", "", "", ""]
    assert (reading.number(members, "n"), reading.flag(members, "f"), reading.flag(members, "z")) == (0, True, False)
    assert reading.text({"t": "x" * MAX_TEXT}, "t") == "x" * MAX_TEXT
    assert reading.number({"n": MAX_NUMBER}, "n") == MAX_NUMBER
    assert (reading.inner(members, "o"), reading.inner(members, "z")) == ({"x": 1}, None)
    assert (reading.listed(members, "l", 1), reading.listed(members, "z", 1)) == ([{}], [])
    assert (reading.texts(members, "w", 1), reading.texts(members, "z", 1)) == (["a"], None)


@pytest.mark.parametrize(
    "value", [None, 1, [], {}, "", "a\n", "\x1b[31m", "\u202e", "\u2028", "\ud800", "x" * (MAX_TEXT + 1)]
)
def test_text_is_one_line(value: object) -> None:
    """It goes into a request, an answer or a log."""
    with pytest.raises(UnreadableJson, match=r"^k is missing or malformed$"):
        reading.text({"k": value}, "k")


def test_text_must_match_its_pattern() -> None:
    """Whole."""
    with pytest.raises(UnreadableJson):
        reading.text({"k": "abc1"}, "k", WORD)
    with pytest.raises(UnreadableJson):
        reading.optional_text({"k": "1"}, "k", WORD)


@pytest.mark.parametrize("value", [None, True, -1, 1.0, "1", MAX_NUMBER + 1, [], {}])
def test_number_is_a_bounded_integer(value: object) -> None:
    """Not a truth, not a fraction, and exact for every reader."""
    with pytest.raises(UnreadableJson, match=r"^k is missing or malformed$"):
        reading.number({"k": value}, "k")


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (reading.flag, 1), (reading.flag, "true"), (reading.inner, []), (reading.inner, "x"),
        (lambda members, key: reading.listed(members, key, 1), {}),
        (lambda members, key: reading.listed(members, key, 1), [1]),
        (lambda members, key: reading.listed(members, key, 1), [{}, {}]),
        (lambda members, key: reading.texts(members, key, 1), "a"),
        (lambda members, key: reading.texts(members, key, 1), [1]),
        (lambda members, key: reading.texts(members, key, 1), ["a", "b"]),
    ],
)  # fmt: skip
def test_values_of_other_types_are_refused(read: object, value: object) -> None:
    """Null and an absent member are accepted, other types are not."""
    with pytest.raises(UnreadableJson, match=r"^k is malformed$"):
        read({"k": value}, "k")  # type: ignore[operator]
