"""OAuth 2.0 refresh tokens."""

from __future__ import annotations

import json

import pytest

from credgate.credentials import oauth
from credgate.credentials.renewal import Renewed
from credgate.credentials.token_response import MalformedResponse, TokenResponse
from credgate.values import Reason

ANSWER = {
    "access_token": "gta_0123456789",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "gtr_0123456789",
}


def read(content: object) -> Renewed:
    """Read an answer to ``old-refresh-token``."""
    return oauth.read_refreshed(TokenResponse(200, body=json.dumps(content).encode()), "old-refresh-token")


@pytest.mark.parametrize(
    ("kind", "path"), [("gitea", "/login/oauth/access_token"), ("bitbucket", "/site/oauth2/access_token")]
)
def test_a_refresh_is_a_form_with_a_login(kind: str, path: str) -> None:
    """The client's secret is in no form and no path."""
    request = oauth.refresh(kind, "id", "secret", "r/t")
    assert (request.path, request.body) == (path, b"grant_type=refresh_token&refresh_token=r%2Ft")
    assert request.headers["Authorization"].startswith("Basic ")


def test_both_tokens_are_read() -> None:
    """One is used, one asked with."""
    assert read(ANSWER) == Renewed("gta_0123456789", "gtr_0123456789", 3600.0)


def test_a_refresh_token_that_is_not_replaced_stays() -> None:
    """RFC 6749 section 6 leaves it to the forge."""
    assert read(ANSWER | {"refresh_token": None}).kept == "old-refresh-token"


def test_a_lifetime_that_is_not_stated_is_short() -> None:
    """Section 5.1 only recommends to state it."""
    assert read({key: value for key, value in ANSWER.items() if key != "expires_in"}).lifetime == oauth.UNSTATED


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
def test_anything_else_is_refused(wrong: dict[str, object]) -> None:
    """What is kept must be what can be asked with."""
    with pytest.raises(MalformedResponse):
        read(ANSWER | wrong)


@pytest.mark.parametrize(
    ("status", "error", "reason", "text"),
    [
        (400, "invalid_grant", Reason.CREDENTIAL_DENIED, "authorise credgate anew"),
        (401, "invalid_grant", Reason.CREDENTIAL_DENIED, "authorise credgate anew"),
        (400, "invalid_client", Reason.CREDENTIAL_DENIED, "client_id or client_secret is wrong"),
        (401, "", Reason.CREDENTIAL_DENIED, "client_id or client_secret is wrong"),
        (404, "", Reason.CREDENTIAL_DENIED, "its API answered 404"),
        (429, "", Reason.CREDENTIAL_LIMITED, "asked too often"),
        (500, "", Reason.CREDENTIAL_UNAVAILABLE, "trouble of its own"),
    ],
)
def test_each_refusal_says_what_to_do(status: int, error: str, reason: Reason, text: str) -> None:
    """Section 5.2's codes, told apart."""
    refused = oauth.refresh_error("f", TokenResponse(status, body=json.dumps({"error": error}).encode()), 0.0)
    assert (refused.reason, text in refused.text) == (reason, True), refused.text
