"""Record types by name and by number."""

from __future__ import annotations

import pytest

from credgate.dns import codes


@pytest.mark.parametrize(("number", "text"), [(1, "A"), (65, "HTTPS"), (255, "ANY"), (65280, "TYPE65280")])
def test_record_type_is_written_by_name_or_number(number: int, text: str) -> None:
    """Unknown types also have a text form."""
    assert codes.type_name(number) == text
    if text != "ANY":
        assert codes.type_number(text) == number


@pytest.mark.parametrize("text", ["", "a", "TYPE", "TYPE65536", "TYPE-1", "NOPE", "TYPE1x", "TYPE\u0661"])
def test_unknown_record_type_is_refused(text: str) -> None:
    """A typing error in an allowlist must not be accepted."""
    with pytest.raises(ValueError, match="unknown record type"):
        codes.type_number(text)
