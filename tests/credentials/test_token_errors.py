"""Refusals that all kinds of minted credentials share."""

from __future__ import annotations

import pytest

from credgate.credentials import token_errors
from credgate.credentials.token_response import TokenResponse
from credgate.values import Reason


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            token_errors.unanswered("f", "it does not answer in time"),
            "was asked for one, but it does not answer in time; try again later",
        ),
        (
            token_errors.malformed("f", "it is not JSON"),
            "answered with something that is not a credential (it is not JSON)",
        ),
        (token_errors.unsaved("f"), "a new one could not be saved in the state directory"),
    ],
)
def test_a_failed_fetch_leaves_later_requests_free(error: token_errors.CredentialError, text: str) -> None:
    assert error.text.startswith("no credential for f: ")
    assert text in error.text
    assert (error.reason, error.retry_after) == (Reason.CREDENTIAL_UNAVAILABLE, token_errors.SOON)


@pytest.mark.parametrize(
    ("answer", "reason", "after"),
    [
        (TokenResponse(429, {"retry-after": "77"}), Reason.CREDENTIAL_LIMITED, 77),
        (TokenResponse(429), Reason.CREDENTIAL_LIMITED, token_errors.SOON),
        (TokenResponse(301), Reason.CREDENTIAL_DENIED, token_errors.SOON),
        (TokenResponse(418), Reason.CREDENTIAL_DENIED, token_errors.SOON),
        (TokenResponse(500), Reason.CREDENTIAL_UNAVAILABLE, token_errors.SOON),
        (TokenResponse(204), Reason.CREDENTIAL_DENIED, token_errors.SOON),
    ],
)
def test_every_status_has_a_meaning(answer: TokenResponse, reason: Reason, after: int) -> None:
    error = token_errors.general("f", answer, 0.0)
    assert (error.reason, error.retry_after) == (reason, after)
    assert f"its API answered {answer.status}" in error.text
