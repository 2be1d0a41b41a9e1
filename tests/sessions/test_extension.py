"""How long a session may be let live, and by what words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import InvalidValueError
from credgate.sessions.extension import MEANT, extended, parse_extend
from tests.fakes.sessions import DAY, session

HOUR = 3600.0


def test_duration_is_read() -> None:
    """In the one form that durations have everywhere."""
    assert parse_extend({"for": "8h"}) == 8 * HOUR


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ([], "The body must be a JSON object"),
        ({}, MEANT),
        ({"for": 8}, MEANT),
        ({"for": "8"}, 'for: expected a duration, a number with its unit in quotes: "90s", "15m", "24h" or "7d"'),
        ({"for": "0s"}, "for must be more than zero"),
        ({"for": "8h", "until": "9h"}, "Unknown key: until (known: for)"),
    ],
)
def test_invalid_body_is_refused(payload: object, text: str) -> None:
    """A misspelt key must not be ignored."""
    with pytest.raises(InvalidValueError) as caught:
        parse_extend(payload)
    assert str(caught.value) == text


def test_end_moves_to_the_requested_time_from_now() -> None:
    """The idle time starts again; grants, binding and idle_ttl stay."""
    one = session(created=1000.0, used=1000.0, absolute_ttl=HOUR, idle_ttl=HOUR)
    later = extended(one, 2 * HOUR, 1000.0 + HOUR / 2, DAY)
    assert later == session(created=1000.0, used=1000.0 + HOUR / 2, absolute_ttl=2.5 * HOUR, idle_ttl=HOUR)


def test_extension_never_shortens() -> None:
    """A later last use stays too."""
    one = session(created=1000.0, used=2000.0, absolute_ttl=DAY)
    assert extended(one, 60.0, 1500.0, DAY) == one


def test_session_never_exceeds_the_configured_lifetime() -> None:
    """It counts from the creation, for any number of extensions."""
    one = session(created=1000.0, used=1000.0, absolute_ttl=HOUR)
    assert extended(one, DAY - HOUR, 1000.0 + HOUR, DAY).absolute_ttl == DAY
    with pytest.raises(InvalidValueError, match="at most 82800s left") as caught:
        extended(one, DAY - HOUR + 1, 1000.0 + HOUR, DAY)
    assert "longer than the configured 86400s" in str(caught.value)


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(0.001, 5000)), max_size=8))
def test_lifetime_is_bounded_for_arbitrary_extensions(steps: list[tuple[float, float]]) -> None:
    """For any number of extensions at any times."""
    one, now = session(created=0.0, used=0.0, absolute_ttl=100.0), 0.0
    for wait, seconds in steps:
        now += wait
        before = one
        try:
            one = extended(one, seconds, now, 4000.0)
        except InvalidValueError:
            continue
        assert before.absolute_ttl <= one.absolute_ttl <= 4000.0
        assert before.used <= one.used <= max(now, before.used)
