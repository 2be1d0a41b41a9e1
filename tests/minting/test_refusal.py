"""Refusals that all kinds of minted credentials share."""

from __future__ import annotations

import pytest

from credgate.minting import refusal
from credgate.minting.answer import Answer
from credgate.values import Reason


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            refusal.unanswered("f", "it does not answer in time"),
            "was asked for one, but it does not answer in time; try again later",
        ),
        (refusal.malformed("f", "it is not JSON"), "answered with something else than a credential (it is not JSON)"),
        (refusal.unkept("f"), "a new one could not be kept in the state directory"),
    ],
)
def test_what_is_nobodys_no_can_be_tried_again(error: refusal.CredentialError, text: str) -> None:
    """In a few seconds."""
    assert error.text.startswith("no credential for f: ")
    assert text in error.text
    assert (error.reason, error.retry_after) == (Reason.CREDENTIAL_UNAVAILABLE, refusal.SOON)


@pytest.mark.parametrize(
    ("answer", "reason", "after"),
    [
        (Answer(429, {"retry-after": "77"}), Reason.CREDENTIAL_LIMITED, 77),
        (Answer(429), Reason.CREDENTIAL_LIMITED, refusal.SOON),
        (Answer(301), Reason.CREDENTIAL_DENIED, refusal.SOON),
        (Answer(418), Reason.CREDENTIAL_DENIED, refusal.SOON),
        (Answer(500), Reason.CREDENTIAL_UNAVAILABLE, refusal.SOON),
        (Answer(204), Reason.CREDENTIAL_DENIED, refusal.SOON),
    ],
)
def test_every_status_has_a_meaning(answer: Answer, reason: Reason, after: int) -> None:
    """Also one that nobody thought of."""
    error = refusal.general("f", answer, 0.0)
    assert (error.reason, error.retry_after) == (reason, after)
    assert f"its API answered {answer.status}" in error.text
