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
def test_number_and_unit_mean_seconds(text: str, seconds: float) -> None:
    """Operators write the four units of the documentation."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", [*REFUSED, "\uff11s", "1_0s"])
def test_every_other_form_is_refused_with_what_is_meant(text: str) -> None:
    """A bare number or a sum would be guessed at; the text shows the forms that are read."""
    with pytest.raises(ValueError, match="a number with its unit") as caught:
        parse_duration(text)
    assert str(caught.value) == MEANT


def test_longer_than_ten_years_is_refused() -> None:
    """A slipped unit must not become a session that outlives its machine."""
    with pytest.raises(ValueError, match="at most ten years"):
        parse_duration("3651d")


@given(st.integers(0, 10**6), st.sampled_from("smh"))
def test_whole_numbers_are_exact(number: int, unit: str) -> None:
    """No rounding: what is written is what the store compares."""
    factor = {"s": 1, "m": 60, "h": 3600}[unit]
    if number * factor <= LONGEST:
        assert parse_duration(f"{number}{unit}") == number * factor


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Never another exception: one would become a traceback at the start."""
    with contextlib.suppress(ValueError):
        assert 0 <= parse_duration(text) <= LONGEST
