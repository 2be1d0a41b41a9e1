"""GitLab's tokens that rotate themselves."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.credentials import gitlab_tokens
from credgate.credentials.renewal import Renewed
from credgate.credentials.token_response import MalformedResponse, TokenResponse
from credgate.values import Reason

DAY = gitlab_tokens.DAY
ANSWER = {"id": 42, "token": "glpat-0123456789abcdef", "expires_at": "1970-01-11", "revoked": False, "active": True}


@pytest.mark.parametrize(
    ("now", "lifetime", "date"),
    [
        (0.0, 7 * DAY, "1970-01-08"),
        (1.0, 7 * DAY, "1970-01-09"),
        (0.5 * DAY, 60.0, "1970-01-02"),
        (0.0, 60.0, "1970-01-02"),
    ],
)
def test_a_token_lives_at_least_as_long_as_asked(now: float, lifetime: float, date: str) -> None:
    """It ends at a midnight, and never today's."""
    assert gitlab_tokens.end_date(now, lifetime) == date


@given(st.floats(0, 4e9), st.floats(1, 365 * DAY))
def test_no_token_is_asked_for_that_ends_too_early(now: float, lifetime: float) -> None:
    """Nor much too late."""
    read = gitlab_tokens.read_rotated(
        TokenResponse(200, body=json.dumps(ANSWER | {"expires_at": gitlab_tokens.end_date(now, lifetime)}).encode()),
        now,
    )
    assert min(lifetime, 1) <= read.lifetime + 1 <= max(lifetime, DAY) + DAY + 1


def test_the_token_rides_in_a_header() -> None:
    """And the date in the form."""
    request = gitlab_tokens.rotate("glpat-old", 0.0, 7 * DAY)
    assert (request.method, request.path) == ("POST", "/personal_access_tokens/self/rotate")
    assert (request.headers["PRIVATE-TOKEN"], request.body) == ("glpat-old", b"expires_at=1970-01-08")


def test_the_next_token_is_read() -> None:
    """It is used, and asked with."""
    read = gitlab_tokens.read_rotated(TokenResponse(200, body=json.dumps(ANSWER).encode()), DAY)
    assert read == Renewed("glpat-0123456789abcdef", "glpat-0123456789abcdef", 9 * DAY)
    assert "glpat" not in repr(read)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": ""},
        {"expires_at": None},
        {"expires_at": "1970-01-01"},
        {"expires_at": "2999-01-01"},
        {"revoked": True},
        {"active": False},
    ],
)
def test_what_is_no_token_that_lives_is_refused(wrong: dict[str, object]) -> None:
    """Before anything is kept of it."""
    with pytest.raises(MalformedResponse):
        gitlab_tokens.read_rotated(TokenResponse(200, body=json.dumps(ANSWER | wrong).encode()), DAY)


@pytest.mark.parametrize(
    ("answer", "reason", "text"),
    [
        (TokenResponse(401), Reason.CREDENTIAL_DENIED, "the token was revoked, has expired or was rotated elsewhere"),
        (TokenResponse(403), Reason.CREDENTIAL_DENIED, "give it the scope self_rotate"),
        (TokenResponse(403, {"retry-after": "9"}), Reason.CREDENTIAL_LIMITED, "try again in 9 s"),
        (TokenResponse(404), Reason.CREDENTIAL_DENIED, "check api_url and the version"),
        (TokenResponse(405), Reason.CREDENTIAL_DENIED, "it is not an access token that can be"),
        (TokenResponse(429), Reason.CREDENTIAL_LIMITED, "asked too often"),
        (TokenResponse(502), Reason.CREDENTIAL_UNAVAILABLE, "trouble of its own"),
        (TokenResponse(599), Reason.CREDENTIAL_UNAVAILABLE, "its API answered 599"),
    ],
)
def test_each_refusal_says_what_to_do(answer: TokenResponse, reason: Reason, text: str) -> None:
    """The operator reads it in git's output."""
    error = gitlab_tokens.rotate_error("f", answer, 0.0)
    assert (error.reason, text in error.text) == (reason, True), error.text
