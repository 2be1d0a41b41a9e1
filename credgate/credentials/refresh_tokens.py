"""Tokens that renew themselves: OAuth 2.0 refresh tokens, and GitLab access tokens that rotate.

OAuth (RFC 6749 section 6; Gitea, Forgejo, Bitbucket Cloud): the client authenticates with HTTP Basic (section 2.3.1);
its secret is never in a URL. A response may contain another refresh token, which replaces the old one; otherwise the
old one stays valid.

GitLab: ``POST /personal_access_tokens/self/rotate`` (GitLab 16.10; the scope ``self_rotate`` since 17.9, ``api``
before) works for personal, project and group tokens. It ends the token of the request and returns the next one, which
ends at the start of a date. GitLab treats the use of a token that was rotated before as theft and revokes its whole
family. The next token must therefore be saved before it is used, and an older one is never used again.

``now`` is in wall seconds. This module sends nothing and reads no clock.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate.credentials import retry, token_errors
from credgate.credentials.token_request import client_login, with_form
from credgate.credentials.token_response import (
    MAX_LIFETIME,
    MalformedResponse,
    message,
    midnight,
    read_object,
    seconds,
    token,
)
from credgate.errors import CredentialError
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.credentials.token_request import Request
    from credgate.credentials.token_response import TokenResponse

# By kind of forge, below the forge's own URL (not its API's).
TOKEN_PATHS = {"gitea": "/login/oauth/access_token", "bitbucket": "/site/oauth2/access_token"}
# Seconds that an access token is used when the response states no lifetime.
UNSTATED = 600.0
DAY = 24 * 3600.0
_SCOPE = "give it the scope self_rotate (or api), on GitLab 16.10 or newer"


@frozen(slots=True)
class RenewedToken:
    """A credential for ``lifetime`` seconds, and the token of the next renewal.

    ``next_token`` must be on disk before ``secret`` is used, because the forge may have ended the previous one.
    """

    secret: str = field(repr=False)
    next_token: str = field(repr=False)
    lifetime: float


def refresh(kind: str, client_id: str, client_secret: str, refresh_token: str) -> Request:
    """Ask for the next access token."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return with_form(TOKEN_PATHS[kind], {"Authorization": client_login(client_id, client_secret)}, form)


def read_refreshed(answer: TokenResponse, refresh_token: str) -> RenewedToken:
    """Read the response to a request with ``refresh_token``. Raises ``MalformedResponse``."""
    found = read_object(answer.body)
    kind = found.get("token_type")
    # RFC 6749 section 5.1: the type is case-insensitive.
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise MalformedResponse("its token_type is not bearer")
    lifetime = seconds(found, "expires_in") if "expires_in" in found else UNSTATED
    # RFC 6749 section 6: the response need not have a new refresh token; the old one is then used again.
    following = token(found, "refresh_token") if found.get("refresh_token") is not None else refresh_token
    return RenewedToken(token(found, "access_token"), following, lifetime)


def refresh_error(forge: str, answer: TokenResponse, now: float) -> CredentialError:
    """Return the error for a response without an access token (section 5.2)."""
    said = f"no credential for {forge}: it answered {answer.status} to credgate's refresh token"
    about = message(answer)
    if retry.limited(answer) or answer.status not in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED):
        return token_errors.general(forge, answer, now)
    if about == "invalid_client" or (answer.status == HTTPStatus.UNAUTHORIZED and about != "invalid_grant"):
        text = f"{said}: client_id or client_secret is wrong; {token_errors.OPERATOR} to check them"
    else:
        text = f"{said}: it was used before, was revoked or has expired; {token_errors.OPERATOR} to authorise it again"
    return CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=token_errors.SOON)


def end_date(now: float, lifetime: float) -> str:
    """Return the first date at whose start a token has lived for at least ``lifetime`` seconds."""
    # GitLab takes a date, and the token ends at its start (UTC): at least tomorrow.
    days = max(math.ceil((now + lifetime) / DAY), math.floor(now / DAY) + 1)
    return datetime.fromtimestamp(days * DAY, UTC).strftime("%Y-%m-%d")


def rotate(current: str, now: float, lifetime: float) -> Request:
    """Ask GitLab for the next token."""
    form = {"expires_at": end_date(now, lifetime)}
    return with_form("/personal_access_tokens/self/rotate", {"PRIVATE-TOKEN": current}, form)


def read_rotated(answer: TokenResponse, now: float) -> RenewedToken:
    """Read GitLab's next token, which is both the credential and the token of the next rotation.

    Raises ``MalformedResponse``.
    """
    found = read_object(answer.body)
    secret, lifetime = token(found, "token"), midnight(found, "expires_at") - now
    if not 0 < lifetime <= MAX_LIFETIME or found.get("revoked") is True or found.get("active") is False:
        raise MalformedResponse("the token has ended already")
    return RenewedToken(secret, secret, lifetime)


def rotate_error(forge: str, answer: TokenResponse, now: float) -> CredentialError:
    """Return the error for a response without a rotated token."""
    said = f"no credential for {forge}: it answered {answer.status} to the rotation of credgate's token"
    texts = {
        HTTPStatus.UNAUTHORIZED: f"{said}: the token was revoked, has expired or was rotated elsewhere; "
        f"{token_errors.OPERATOR} to make a new one",
        HTTPStatus.FORBIDDEN: f"{said}: the token is not allowed to rotate itself; {token_errors.OPERATOR} to {_SCOPE}",
        HTTPStatus.NOT_FOUND: f"{said}: it does not know this request; "
        f"{token_errors.OPERATOR} to check api_url and the version",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{said}: this kind of token cannot be rotated; {token_errors.OPERATOR}",
    }
    text = texts.get(HTTPStatus(answer.status)) if answer.status in texts else None
    # A 403 with Retry-After is a rate limit, as in ``retry.limited``.
    if text is None or (answer.status == HTTPStatus.FORBIDDEN and "retry-after" in answer.headers):
        return token_errors.general(forge, answer, now)
    return CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=token_errors.SOON)
