"""When a forge's API is asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.credentials.retry import (
    FIRST_WAIT,
    LONGEST_HOLD,
    LONGEST_WAIT,
    TRIES,
    asked_wait,
    limited,
    wait,
    worthwhile,
)
from credgate.credentials.token_response import TokenResponse

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
AT = 784111777


@pytest.mark.parametrize(
    ("answer", "worth", "because_of_limits"),
    [
        (TokenResponse(200), False, False),
        (TokenResponse(401), False, False),
        (TokenResponse(403), False, False),
        (TokenResponse(403, {"x-ratelimit-remaining": "17"}), False, False),
        (TokenResponse(403, {"x-ratelimit-remaining": "0"}), True, True),
        (TokenResponse(403, {"retry-after": "60"}), True, True),
        (TokenResponse(404, {"retry-after": "60"}), False, False),
        (TokenResponse(422), False, False),
        (TokenResponse(429), True, True),
        (TokenResponse(500), True, False),
        (TokenResponse(503, {"retry-after": "3"}), True, False),
    ],
)
def test_temporary_failures_are_repeated(answer: TokenResponse, worth: bool, because_of_limits: bool) -> None:  # noqa: FBT001 - a table
    """What the forge has decided is not."""
    assert worthwhile(answer) is worth
    assert limited(answer) is because_of_limits
    assert worthwhile(None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT", "date": DATE}, 60),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "9" * 40}, 0),
        ({"retry-after": "99999999"}, LONGEST_HOLD),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(AT + 90), "date": DATE}, 90),
        ({"x-ratelimit-remaining": "0"}, 0),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": str(AT + 90), "date": DATE}, 0),
    ],
)
def test_the_wait_that_a_forge_asks_for_is_read(headers: dict[str, str], seconds: float) -> None:
    """By its own clock, and within reason."""
    assert asked_wait(TokenResponse(429, headers), AT + 1000.0) == seconds


def test_attempts_are_few_and_waits_grow() -> None:
    """A git command waits behind them."""
    waits = [wait(tried, None, jitter=1.0, now=0.0) for tried in range(1, TRIES + 1)]
    assert waits == [FIRST_WAIT, FIRST_WAIT * 2, None]
    assert wait(1, None, jitter=0.0, now=0.0) == FIRST_WAIT / 2
    assert wait(1, TokenResponse(404), jitter=1.0, now=0.0) is None


def test_a_long_wait_is_reported_and_not_waited_for() -> None:
    """The client is told to come back."""
    assert wait(1, TokenResponse(429, {"retry-after": "3"}), jitter=0.5, now=0.0) == 3.5
    assert wait(1, TokenResponse(429, {"retry-after": "11"}), jitter=0.5, now=0.0) is None


@given(
    st.integers(1, 10),
    st.none()
    | st.builds(
        TokenResponse,
        st.integers(100, 599),
        st.dictionaries(
            st.sampled_from(["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "date"]), st.text()
        ),
    ),
    st.floats(0, 1),
    st.floats(0, 2e9),
)
def test_no_wait_is_negative_or_long(tried: int, answer: TokenResponse | None, jitter: float, now: float) -> None:
    pause = wait(tried, answer, jitter=jitter, now=now)
    assert pause is None or 0 <= pause <= LONGEST_WAIT
