"""When a request to a forge's API is repeated, and after which wait.

A missing response, 5xx and rate limits (429 of RFC 6585; GitHub's 403 with ``Retry-After`` or with
``x-ratelimit-remaining: 0``) are repeated; every other response is final. Attempts are few. Waits grow and are spread
by the caller's ``jitter``, so that many gateways that lost one forge do not return at the same moment. If a forge asks
for a longer wait than a git command would tolerate, the request is not repeated: the error states the wait.

Times are in seconds; ``now`` is wall time. This module uses no randomness and no clock.
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
"""Maximum seconds of one wait."""
LONGEST_HOLD = 3600.0
"""Maximum seconds of a wait that a forge asks for."""


def limited(answer: TokenResponse) -> bool:
    """Whether the forge refuses because credgate sent too many requests."""
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    # GitHub also answers 403 when a rate limit is reached; then one of these fields says so.
    spent = "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"
    return answer.status == HTTPStatus.FORBIDDEN and spent


def worthwhile(answer: TokenResponse | None) -> bool:
    """Whether another attempt may succeed; ``None``: there was no response."""
    return answer is None or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or limited(answer)


def asked_wait(answer: TokenResponse | None, now: float) -> float:
    """Return the wait that the forge asks for, 0 if it does not state one."""
    if answer is None:
        return 0.0
    after = answer.headers.get("retry-after", "")
    # The date was written by the forge's clock, so it is compared with the forge's Date field.
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
    """Return the wait before the next attempt, after ``tried`` attempts; ``None``: give up.

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
