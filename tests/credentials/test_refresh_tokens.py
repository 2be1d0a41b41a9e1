"""Tokens that renew themselves: OAuth 2.0 refresh tokens and GitLab's rotation."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.credentials import refresh_tokens
from credgate.credentials.refresh_tokens import DAY, RenewedToken
from credgate.credentials.token_response import MalformedResponse, TokenResponse
from credgate.values import Reason

OAUTH = {
    "access_token": "gta_0123456789",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "gtr_0123456789",
}
GITLAB = {"id": 42, "token": "glpat-0123456789abcdef", "expires_at": "1970-01-11", "revoked": False, "active": True}


def read(content: object) -> RenewedToken:
    """Read the response to a request with ``old-refresh-token``."""
    return refresh_tokens.read_refreshed(TokenResponse(200, body=json.dumps(content).encode()), "old-refresh-token")


@pytest.mark.parametrize(
    ("kind", "path"), [("gitea", "/login/oauth/access_token"), ("bitbucket", "/site/oauth2/access_token")]
)
def test_a_refresh_is_a_form_with_basic_authentication(kind: str, path: str) -> None:
    """The client secret is in neither the form nor the path."""
    request = refresh_tokens.refresh(kind, "id", "secret", "r/t")
    assert (request.path, request.body) == (path, b"grant_type=refresh_token&refresh_token=r%2Ft")
    assert request.headers["Authorization"].startswith("Basic ")


def test_access_and_refresh_token_are_read() -> None:
    assert read(OAUTH) == RenewedToken("gta_0123456789", "gtr_0123456789", 3600.0)


def test_a_refresh_token_that_is_not_replaced_stays_valid() -> None:
    """RFC 6749 section 6 leaves the choice to the forge."""
    assert read(OAUTH | {"refresh_token": None}).next_token == "old-refresh-token"


def test_an_unstated_lifetime_is_short() -> None:
    """RFC 6749 section 5.1 only recommends to state it."""
    assert read({key: value for key, value in OAUTH.items() if key != "expires_in"}).lifetime == refresh_tokens.UNSTATED


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_token": None},
        {"token_type": "mac"},
        {"token_type": None},
        {"expires_in": "3600"},
        {"refresh_token": "a b"},
    ],
)
def test_a_malformed_oauth_response_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(MalformedResponse):
        read(OAUTH | wrong)


@pytest.mark.parametrize(
    ("status", "error", "reason", "text"),
    [
        (400, "invalid_grant", Reason.CREDENTIAL_DENIED, "authorise it again"),
        (401, "invalid_grant", Reason.CREDENTIAL_DENIED, "authorise it again"),
        (400, "invalid_client", Reason.CREDENTIAL_DENIED, "client_id or client_secret is wrong"),
        (401, "", Reason.CREDENTIAL_DENIED, "client_id or client_secret is wrong"),
        (404, "", Reason.CREDENTIAL_DENIED, "its API answered 404"),
        (429, "", Reason.CREDENTIAL_LIMITED, "its rate limit is reached"),
        (500, "", Reason.CREDENTIAL_UNAVAILABLE, "an internal error"),
    ],
)
def test_each_oauth_refusal_states_cause_and_remedy(status: int, error: str, reason: Reason, text: str) -> None:
    refused = refresh_tokens.refresh_error("f", TokenResponse(status, body=json.dumps({"error": error}).encode()), 0.0)
    assert (refused.reason, text in refused.text) == (reason, True), refused.text


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
    """It ends at the start of a date, never of today."""
    assert refresh_tokens.end_date(now, lifetime) == date


@given(st.floats(0, 4e9), st.floats(1, 365 * DAY))
def test_a_rotated_token_lives_between_the_requested_time_and_a_day_more(now: float, lifetime: float) -> None:
    read = refresh_tokens.read_rotated(
        TokenResponse(200, body=json.dumps(GITLAB | {"expires_at": refresh_tokens.end_date(now, lifetime)}).encode()),
        now,
    )
    assert min(lifetime, 1) <= read.lifetime + 1 <= max(lifetime, DAY) + DAY + 1


def test_a_rotation_sends_the_token_in_a_header() -> None:
    request = refresh_tokens.rotate("glpat-old", 0.0, 7 * DAY)
    assert (request.method, request.path) == ("POST", "/personal_access_tokens/self/rotate")
    assert (request.headers["PRIVATE-TOKEN"], request.body) == ("glpat-old", b"expires_at=1970-01-08")


def test_a_rotated_token_is_read_and_not_shown() -> None:
    read = refresh_tokens.read_rotated(TokenResponse(200, body=json.dumps(GITLAB).encode()), DAY)
    assert read == RenewedToken("glpat-0123456789abcdef", "glpat-0123456789abcdef", 9 * DAY)
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
def test_a_malformed_or_ended_rotated_token_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(MalformedResponse):
        refresh_tokens.read_rotated(TokenResponse(200, body=json.dumps(GITLAB | wrong).encode()), DAY)


@pytest.mark.parametrize(
    ("answer", "reason", "text"),
    [
        (TokenResponse(401), Reason.CREDENTIAL_DENIED, "the token was revoked, has expired or was rotated elsewhere"),
        (TokenResponse(403), Reason.CREDENTIAL_DENIED, "give it the scope self_rotate"),
        (TokenResponse(403, {"retry-after": "9"}), Reason.CREDENTIAL_LIMITED, "try again in 9 s"),
        (TokenResponse(404), Reason.CREDENTIAL_DENIED, "check api_url and the version"),
        (TokenResponse(405), Reason.CREDENTIAL_DENIED, "this kind of token cannot be rotated"),
        (TokenResponse(429), Reason.CREDENTIAL_LIMITED, "its rate limit is reached"),
        (TokenResponse(502), Reason.CREDENTIAL_UNAVAILABLE, "an internal error"),
        (TokenResponse(599), Reason.CREDENTIAL_UNAVAILABLE, "its API answered 599"),
    ],
)
def test_each_rotation_refusal_states_cause_and_remedy(answer: TokenResponse, reason: Reason, text: str) -> None:
    error = refresh_tokens.rotate_error("f", answer, 0.0)
    assert (error.reason, text in error.text) == (reason, True), error.text
