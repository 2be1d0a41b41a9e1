"""JSON bodies: what is taken, and that nothing else ever is."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import InvalidValueError
from credgate.service.control.json_body import MAX_BODY, MAX_DEPTH, is_json, parse_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def depth(value: object) -> int:
    """Count how many arrays and objects stand inside each other."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(json_values)
def test_every_json_value_of_allowed_depth_is_read_as_the_standard_library_reads_it(value: object) -> None:
    """Strictness must not cost a legal body; one that is too deep is refused for that and nothing else."""
    raw = json.dumps(value).encode()
    if depth(value) <= MAX_DEPTH:
        assert parse_json(raw) == json.loads(raw)
    else:
        with pytest.raises(InvalidValueError, match="nested deeper"):
            parse_json(raw)


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\\\ 01eE.-nulltrue', max_size=60).map(str.encode))
def test_no_bytes_raise_anything_but_our_error(raw: bytes) -> None:
    """Whatever a client sends is a value or a 400."""
    try:
        parse_json(raw)
    except InvalidValueError as error:
        assert str(error)  # noqa: PT017 - most examples raise nothing


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "needs a JSON object"),
        (b" \r\n", "needs a JSON object"),
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
        (b'{"repos": [], "repos": ["octo/hello"]}', "same key twice"),
        (b'{"a": {"b": 1, "b": 1}}', "same key twice"),
        (b"[" * 9 + b"]" * 9, "nested deeper"),
        (b"[" * (MAX_BODY // 2), "nested deeper"),
        (b'{"a":' * 9, "nested deeper"),
    ],
)
def test_what_is_no_strict_json_is_refused_with_its_reason(raw: bytes, text: str) -> None:
    """Two readers that disagree about a body could be played against each other."""
    with pytest.raises(InvalidValueError, match=text):
        parse_json(raw)


def test_brackets_in_strings_are_not_depth() -> None:
    """A repository name full of brackets is refused for its name, not for nesting."""
    assert parse_json(b'{"a": "[[[[[[[[[[{{{{\\"[[[["}') == {"a": '[[[[[[[[[[{{{{"[[[['}


def test_nesting_at_the_limit_is_read() -> None:
    """The limit is the last depth that works."""
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) == [[[[[[[[]]]]]]]]


def test_the_error_never_quotes_the_body() -> None:
    """Error texts are logged by scripts; a body may hold anything."""
    with pytest.raises(InvalidValueError) as caught:
        parse_json(b'{"secret-word": ')
    assert "secret-word" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_numbers_keep_their_kind() -> None:
    """A type check after parsing relies on it."""
    value = parse_json(b"[1, 1.0, 1e999]")
    assert isinstance(value, list)
    assert [type(item) for item in value] == [int, float, float]
    assert value[2] == math.inf  # what a route makes of it is the route's: no key takes a number


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (None, True),
        (b"application/json", True),
        (b"Application/JSON; charset=utf-8", True),
        (b" application/json ;", True),
        (b"application/jsonp", False),
        (b"text/json", False),
        (b"application/x-www-form-urlencoded", False),
        (b"multipart/form-data; boundary=x", False),
        (b"", False),
    ],
)
def test_only_json_is_json(content_type: bytes | None, *, expected: bool) -> None:
    """A form that happens to parse is still not what the script meant to send."""
    assert is_json(content_type) == expected
