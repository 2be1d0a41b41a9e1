"""Strict JSON is bounded by the number of its values, not by its bytes alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.strict_json import JsonError, read_object, size

MANY = {
    "empty objects": b'{"a":[' + b"{}," * 40_000 + b"{}]}",
    "numbers": b'{"a":[' + b"0," * 100_000 + b"0]}",
    "keys": b"{" + b",".join(b'"%x":0' % at for at in range(40_000)) + b"}",
    "arrays inside each other": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("body", MANY.values(), ids=MANY)
def test_more_values_than_the_bound_are_refused_unread(body: bytes) -> None:
    """The text says which bound."""
    with pytest.raises(JsonError, match="more than 75000 values"):
        read_object(body)


@pytest.mark.parametrize("name", ["empty objects", "numbers", "keys"])
def test_as_many_values_as_the_bound_are_read(name: str) -> None:
    """The bound is the caller's, and is reached."""
    body = MANY[name]
    assert read_object(body, most=size(body)) == json.loads(body)
    with pytest.raises(JsonError):
        read_object(body, most=size(body) - 1)


def test_a_large_text_is_few_values() -> None:
    """A signature of kilobytes counts as one."""
    members = {"href": "x" * 1_000_000}
    assert read_object(json.dumps(members).encode(), most=3) == members


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "not JSON"), (b"[]", "not a JSON object"), (b'{"a":1,"a":1}', "a duplicate key"),
        (b'{"a":NaN}', "a number that JSON does not allow"), (b'{"a":"\xff"}', "not JSON"),
        (b'{"a":' + b"1" * 5000 + b"}", "not JSON"),
        (b'{"a":' + b"[" * 50_000, "not JSON"),
    ],
)  # fmt: skip
def test_what_two_readers_could_read_differently_is_refused(body: bytes, text: str) -> None:
    """With words of our own."""
    with pytest.raises(JsonError, match=text):
        read_object(body)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


def _count(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + _count(one) for one in value.values())
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1


@given(values)
def test_the_count_is_never_too_small(value: object) -> None:
    """Names count as values do."""
    assert size(json.dumps(value).encode()) >= _count(value)
