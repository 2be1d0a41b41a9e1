"""Strict JSON: what is accepted, and the limits on values and nesting."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.strict_json import JsonError, read_object, read_value, size

MAX_DEPTH = 8

MANY = {
    "empty objects": b'{"a":[' + b"{}," * 40_000 + b"{}]}",
    "numbers": b'{"a":[' + b"0," * 100_000 + b"0]}",
    "keys": b"{" + b",".join(b'"%x":0' % at for at in range(40_000)) + b"}",
    "arrays inside each other": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("body", MANY.values(), ids=MANY)
def test_more_values_than_the_limit_are_refused(body: bytes) -> None:
    """They are counted before the body is parsed."""
    with pytest.raises(JsonError, match="more than 75000 values"):
        read_object(body)


@pytest.mark.parametrize("name", ["empty objects", "numbers", "keys"])
def test_values_at_the_limit_are_read(name: str) -> None:
    """The limit is inclusive, and the caller may set it."""
    body = MANY[name]
    assert read_object(body, most=size(body)) == json.loads(body)
    with pytest.raises(JsonError):
        read_object(body, most=size(body) - 1)


def test_long_string_counts_as_one_value() -> None:
    """The limit is on values, not on bytes."""
    members = {"href": "x" * 1_000_000}
    assert read_object(json.dumps(members).encode(), most=3) == members


@pytest.mark.parametrize("body", [b"[]", b"1", b'"a"'])
def test_read_object_refuses_other_values(body: bytes) -> None:
    """Callers index into the object."""
    with pytest.raises(JsonError, match="not a JSON object"):
        read_object(body)


def test_deep_nesting_without_a_limit_is_an_error() -> None:
    """``json.loads`` recurses; the exception must not escape."""
    with pytest.raises(JsonError, match="not JSON"):
        read_object(b'{"a":' + b"[" * 50_000)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


def _count(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + _count(one) for one in value.values())
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1


@given(values)
def test_size_is_an_upper_bound(value: object) -> None:
    """Names count like values."""
    assert size(json.dumps(value).encode()) >= _count(value)


deep_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def depth(value: object) -> int:
    """Return the nesting of arrays and objects."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(deep_values)
def test_values_of_allowed_depth_are_read_as_json_loads_reads_them(value: object) -> None:
    """Strict reading must not refuse valid bodies; the depth is the only reason to refuse these."""
    raw = json.dumps(value).encode()
    if depth(value) <= MAX_DEPTH:
        assert read_value(raw, depth=MAX_DEPTH) == json.loads(raw)
    else:
        with pytest.raises(JsonError, match="nested deeper"):
            read_value(raw, depth=MAX_DEPTH)


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\\\ 01eE.-nulltrue', max_size=60).map(str.encode))
def test_arbitrary_bytes_raise_only_json_error(raw: bytes) -> None:
    """Another exception would be answered 500."""
    try:
        read_value(raw, depth=MAX_DEPTH)
    except JsonError as error:
        assert str(error)  # noqa: PT017 - most examples raise nothing


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'{"a": "\xc3\x28"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b'{"repos": [], "repos": ["octo/hello"]}', "duplicate key"),
        (b'{"a": {"b": 1, "b": 1}}', "duplicate key"),
        (b"[" * 9 + b"]" * 9, "nested deeper"),
        (b"[" * 32_000, "nested deeper"),
        (b'{"a":' * 9, "nested deeper"),
    ],
)
def test_ambiguous_or_malformed_body_is_refused(raw: bytes, text: str) -> None:
    """An attacker could exploit two readers that disagree about a body."""
    with pytest.raises(JsonError, match=text):
        read_value(raw, depth=MAX_DEPTH)


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    """Such a string is valid JSON."""
    assert read_value(b'{"a": "[[[[[[[[[[{{{{\\"[[[["}') == {"a": '[[[[[[[[[[{{{{"[[[['}


def test_nesting_at_the_limit_is_read() -> None:
    """The limit is inclusive."""
    assert read_value(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, depth=MAX_DEPTH) == [[[[[[[[]]]]]]]]


def test_error_does_not_quote_the_body() -> None:
    """Error texts are logged; a body may contain secrets."""
    with pytest.raises(JsonError) as caught:
        read_value(b'{"secret-word": ')
    assert "secret-word" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_integers_and_floats_keep_their_type() -> None:
    """Type checks after parsing rely on it."""
    value = read_value(b"[1, 1.0, 1e999]")
    assert isinstance(value, list)
    assert [type(item) for item in value] == [int, float, float]
    assert value[2] == math.inf
