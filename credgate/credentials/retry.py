"""When a request to a forge's API is made again, and how long that waits.

No answer, 5xx and rate limits (RFC 6585's 429; GitHub's 403 with ``Retry-After`` or an empty ``x-ratelimit-remaining``)
are worth another try; every other answer is final. Tries are few, waits grow and are spread by the caller's ``jitter``,
so that many gateways that lost their forge together do not come back together. A forge that asks for a longer wait than
a git command has patience for is believed, not waited for: the refusal says when to come back.
Times are seconds; ``now`` is wall time. No randomness and no clock here.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from credgate.credentials.token_response import forge_time, http_date

if TYPE_CHECKING:
    from credgate.credentials.token_response import TokenResponse

TRIES = 3
FIRST_WAIT = 0.5
LONGEST_WAIT = 10.0
"""Seconds that one wait may last at most."""
LONGEST_HOLD = 3600.0
"""Seconds that a forge's own word for how long to stay away is believed at most."""


def limited(answer: TokenResponse) -> bool:
    """Whether the forge refuses because credgate sent too many requests."""
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    spent = "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"
    return answer.status == HTTPStatus.FORBIDDEN and spent


def worthwhile(answer: TokenResponse | None) -> bool:
    """Whether asking again may help; ``None``: there was no answer."""
    return answer is None or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or limited(answer)


def asked_wait(answer: TokenResponse | None, now: float) -> float:
    """Return how long the forge asks to be left alone, 0 if it does not say."""
    if answer is None:
        return 0.0
    after = answer.headers.get("retry-after", "")
    # The forge's clock wrote the date, so the forge's clock reads it.
    theirs = forge_time(answer) or now
    if after:
        until = http_date(after)
        wait = _whole(after) if until is None else until - theirs
    elif answer.headers.get("x-ratelimit-remaining") == "0":
        wait = _whole(answer.headers.get("x-ratelimit-reset", "")) - theirs
    else:
        wait = 0.0
    return min(max(wait, 0.0), LONGEST_HOLD)


def wait(tried: int, answer: TokenResponse | None, *, jitter: float, now: float) -> float | None:
    """Return how long to wait before the next try, after ``tried`` of them; ``None``: give up.

    ``jitter`` is from 0 to 1.
    """
    if tried >= TRIES or not worthwhile(answer):
        return None
    asked = asked_wait(answer, now)
    if asked > LONGEST_WAIT:
        return None
    grown = FIRST_WAIT * 2.0 ** (tried - 1)
    return min(max(asked, grown * (0.5 + jitter / 2)) + (asked > 0) * jitter, LONGEST_WAIT)


def _whole(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0.0  # noqa: PLR2004 - seconds, not digits
