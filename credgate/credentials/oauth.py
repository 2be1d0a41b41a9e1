"""An OAuth 2.0 refresh token (RFC 6749 section 6), for Gitea, Forgejo and Bitbucket Cloud.

The client shows its id and secret by HTTP Basic (section 2.3.1), in no URL. An answer may bring another refresh token,
which replaces the one that asked; one that brings none leaves it in force. A lifetime that the forge does not state is
taken to be short. Which path takes the request, the forge's kind says. Nothing here sends anything.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from credgate.credentials import retry, token_errors
from credgate.credentials.renewal import Renewed
from credgate.credentials.token_request import client_login, with_form
from credgate.credentials.token_response import MalformedResponse, message, read_object, seconds, token
from credgate.errors import CredentialError
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.credentials.token_request import Request
    from credgate.credentials.token_response import TokenResponse

TOKEN_PATHS = {"gitea": "/login/oauth/access_token", "bitbucket": "/site/oauth2/access_token"}
"""By kind of forge, below the forge's own URL (not its API's)."""
UNSTATED = 600.0
"""Seconds that an access token is trusted for when the forge says nothing."""


def refresh(kind: str, client_id: str, client_secret: str, refresh_token: str) -> Request:
    """Ask for the next access token."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return with_form(TOKEN_PATHS[kind], {"Authorization": client_login(client_id, client_secret)}, form)


def read_refreshed(answer: TokenResponse, asked_with: str) -> Renewed:
    """Return the access token, and the refresh token for next time; raise ``MalformedResponse``."""
    found = read_object(answer.body)
    kind = found.get("token_type")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise MalformedResponse("its token_type is not bearer")
    lifetime = seconds(found, "expires_in") if "expires_in" in found else UNSTATED
    kept = token(found, "refresh_token") if found.get("refresh_token") is not None else asked_with
    return Renewed(token(found, "access_token"), kept, lifetime)


def refresh_error(forge: str, answer: TokenResponse, now: float) -> CredentialError:
    """Refuse because the forge gave no access token (section 5.2)."""
    said = f"no credential for {forge}: it answered {answer.status} to credgate's refresh token"
    about = message(answer)
    if retry.limited(answer) or answer.status not in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED):
        return token_errors.general(forge, answer, now)
    if about == "invalid_client" or (answer.status == HTTPStatus.UNAUTHORIZED and about != "invalid_grant"):
        text = f"{said}: client_id or client_secret is wrong; {token_errors.OPERATOR} to check them"
    else:
        text = f"{said}: it was used up, revoked or has expired; {token_errors.OPERATOR} to authorise credgate anew"
    return CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=token_errors.SOON)
