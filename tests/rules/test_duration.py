"""The one form of a duration."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.rules.duration import LONGEST, MEANT, parse_duration

MEANINGS = [
    ("90s", 90.0),
    ("15m", 900.0),
    ("24h", 86400.0),
    ("7d", 604800.0),
    ("0s", 0.0),
    ("0.5s", 0.5),
    ("1.125m", 67.5),
    ("3650d", LONGEST),
]

REFUSED = [
    "",
    "24",
    "h",
    "1h30m",
    "-1s",
    "+1s",
    "1 s",
    " 1s",
    "1s ",
    "1s\n",
    "1H",
    "1w",
    "1e3s",
    ".5s",
    "1.s",
    "1.2345s",
]


@pytest.mark.parametrize(("text", "seconds"), MEANINGS)
def test_number_with_unit_is_converted_to_seconds(text: str, seconds: float) -> None:
    """These are the four documented units."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", [*REFUSED, "\uff11s", "1_0s"])
def test_other_forms_are_refused_with_the_expected_form(text: str) -> None:
    """A number without unit, or a sum, is ambiguous."""
    with pytest.raises(ValueError, match="a number with its unit") as caught:
        parse_duration(text)
    assert str(caught.value) == MEANT


def test_duration_above_ten_years_is_refused() -> None:
    """It is probably a mistake in the unit."""
    with pytest.raises(ValueError, match="at most ten years"):
        parse_duration("3651d")


@given(st.integers(0, 10**6), st.sampled_from("smh"))
def test_whole_numbers_are_not_rounded(number: int, unit: str) -> None:
    """The session store compares exact values."""
    factor = {"s": 1, "m": 60, "h": 3600}[unit]
    if number * factor <= LONGEST:
        assert parse_duration(f"{number}{unit}") == number * factor


@given(st.text(max_size=12))
def test_arbitrary_text_raises_only_value_error(text: str) -> None:
    """Another exception would be a traceback at start."""
    with contextlib.suppress(ValueError):
        assert 0 <= parse_duration(text) <= LONGEST
