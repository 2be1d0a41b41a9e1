"""Errors for users whose git command failed because a forge's API gave no credential.

One line each, without a byte of the forge's response: what happened, who can help, and how long to wait if that is
known. All kinds of credentials share these errors; ``installation_tokens`` and ``refresh_tokens`` add their own.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from credgate.credentials import retry
from credgate.errors import CredentialError
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.credentials.token_response import TokenResponse

OPERATOR = "ask the operator of this gateway"
# Seconds to wait where the forge states no time.
SOON = 5


def unanswered(forge: str, why: str) -> CredentialError:
    """Return the error for a request without a response; ``why`` is credgate's own text."""
    text = f"no credential for {forge}: its API was asked for one, but {why}; try again later"
    return CredentialError(text, retry_after=SOON)


def malformed(forge: str, why: str) -> CredentialError:
    """Return the error for a response that cannot be read."""
    text = f"no credential for {forge}: its API answered with something that is not a credential ({why}); {OPERATOR}"
    return CredentialError(text, retry_after=SOON)


def unsaved(forge: str) -> CredentialError:
    """Return the error for a new credential that could not be saved, and so must not be used."""
    text = f"no credential for {forge}: a new one could not be saved in the state directory; {OPERATOR}"
    return CredentialError(text, retry_after=SOON)


def general(forge: str, answer: TokenResponse, now: float) -> CredentialError:
    """Return the error for a status with one meaning for every kind of credential."""
    said = f"no credential for {forge}: its API answered {answer.status}"
    if retry.limited(answer):
        after = max(round(retry.asked_wait(answer, now)), SOON)
        text = f"{said}, because its rate limit is reached; try again in {after} s"
        return CredentialError(text, reason=Reason.CREDENTIAL_LIMITED, retry_after=after)
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return CredentialError(f"{said}; the forge reports an internal error, try again later", retry_after=SOON)
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        text = f"{said}, a redirect, which credgate does not follow; {OPERATOR} to check the forge's URLs"
        return CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=SOON)
    text = f"{said}: it does not accept credgate's login; {OPERATOR}"
    return CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=SOON)
