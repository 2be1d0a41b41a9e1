"""The grammar of heads: what each expression matches and what it refuses, and access to fields."""

from __future__ import annotations

import pytest

from credgate.http import grammar
from credgate.http.grammar import END, RequestHead, ResponseHead


@pytest.mark.parametrize("value", [b"0", b"1", b"10", b"9" * 16])
def test_content_length_is_digits_without_a_leading_zero(value: bytes) -> None:
    """Sixteen digits are more than any body and overflow nowhere."""
    assert grammar.CONTENT_LENGTH.fullmatch(value)
    for wrong in (b"0" + value, b"+" + value, value + b" ", value + b",", value + b"\n", value * 17):
        assert not grammar.CONTENT_LENGTH.fullmatch(wrong)


@pytest.mark.parametrize("value", [b"a", b"a_b", b"1.2.3.4:80", b"[::1]:80", b"[::1]", b"a" * 253])
def test_host_is_name_or_address_with_optional_port(value: bytes) -> None:
    """A value that a URL library could parse in two ways is refused."""
    assert grammar.HOST.fullmatch(value)
    for wrong in (b"", value + b"/", b"u@" + value, value + b",x", value + b"\n", b" " + value, value + b":x"):
        assert not grammar.HOST.fullmatch(wrong)


@pytest.mark.parametrize("segment", [b"//", b"/.", b"/..", b"/./", b"/../", b"/.?", b"/..?a"])
def test_empty_and_dot_segments_are_found(segment: bytes) -> None:
    """A path that two servers normalise differently names two repositories."""
    assert grammar.AMBIGUOUS_SEGMENT.search(b"/a" + segment)
    for fine in (b"/.a", b"/..a", b"/a.", b"/a..", b"/.../x", b"/a.b/c"):
        assert not grammar.AMBIGUOUS_SEGMENT.search(fine)


@pytest.mark.parametrize("piece", [b"\0", b"\x1f", b"\x7f", b"a\rb", b"a\nb", b"\n", b"\r\r", b"\r\n\n"])
def test_invalid_bytes_are_found_on_both_sides(piece: bytes) -> None:
    """Some server takes these bytes for the end of a line."""
    assert grammar.REQUEST_FAULT.search(piece)
    assert grammar.RESPONSE_FAULT.search(piece)
    for fine in (b"a\r\nb\t ~", b"\r\n\r\n", b"a\r"):
        assert not grammar.REQUEST_FAULT.search(fine)
        assert not grammar.RESPONSE_FAULT.search(fine)


def test_non_ascii_values_are_allowed_from_forges_only() -> None:
    """A forge's head is not relayed; a request's fields are."""
    assert grammar.REQUEST_FAULT.search(b"\xe9")
    assert not grammar.RESPONSE_FAULT.search(b"\xe9")


def test_field_lines_are_split_into_names_and_values() -> None:
    """RFC 9110 section 5.5: outer whitespace is not part of a value, colons inside are."""
    assert grammar.split(b"A: b\r\nCC:\t d:e \r\nF:\r\n") == [(b"a", b"b"), (b"cc", b"d:e"), (b"f", b"")]


def test_repeated_joined_and_connection_fields() -> None:
    """The helpers that readers use on field lines."""
    lines = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
    assert grammar.repeats(lines, frozenset({b"a"}))
    assert not grammar.repeats(lines, frozenset({b"b", b"c"}))
    assert grammar.joined(lines) == {b"a": b"1, 3", b"b": b"2"}
    assert grammar.options(b"Close,\tTE , x") == {b"close", b"te", b"x"}


def test_both_heads_give_access_to_fields_and_hide_them_in_repr() -> None:
    """A repr may end up in a log."""
    lines = ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
    for head in (
        RequestHead(b"GET", b"/", b"1.1", lines, 0, False, True, False),  # noqa: FBT003 - as the reader builds it
        ResponseHead(200, b"1.1", lines, 0, False, True),  # noqa: FBT003 - the same
    ):
        assert (head.get(b"a"), head.get(b"b"), head.get(b"c")) == (b"1, 3", b"2", None)
        assert (head.all(b"a"), head.all(b"c")) == ((b"1", b"3"), ())
        assert "b'1'" not in repr(head)


def test_end_is_one_value() -> None:
    """Readers and relays compare it by identity."""
    assert END is grammar.End.END
