"""A GitLab access token that rotates itself: personal, project and group tokens alike (those of GitLab's bots).

``POST /personal_access_tokens/self/rotate`` (GitLab 16.10; the scope ``self_rotate`` since 17.9, ``api`` before) ends
the token that asks and answers with the next one, which ends at the beginning of a date. GitLab takes the use of a
token that was rotated before for theft and ends the whole family: so the next token must be kept before it is used, and
an older one never asks again while a newer one is known. ``now`` is wall seconds; nothing here reads a clock.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from credgate.credentials import token_errors
from credgate.credentials.renewal import Renewed
from credgate.credentials.token_request import with_form
from credgate.credentials.token_response import MAX_LIFETIME, MalformedResponse, midnight, read_object, token
from credgate.errors import CredentialError
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.credentials.token_request import Request
    from credgate.credentials.token_response import TokenResponse

DAY = 24 * 3600.0
_SCOPE = "give it the scope self_rotate (or api), on GitLab 16.10 or newer"


def end_date(now: float, lifetime: float) -> str:
    """Return the date at whose beginning a token ends that is to live for ``lifetime`` seconds at least."""
    days = max(math.ceil((now + lifetime) / DAY), math.floor(now / DAY) + 1)
    return datetime.fromtimestamp(days * DAY, UTC).strftime("%Y-%m-%d")


def rotate(current: str, now: float, lifetime: float) -> Request:
    """Ask for the next token."""
    form = {"expires_at": end_date(now, lifetime)}
    return with_form("/personal_access_tokens/self/rotate", {"PRIVATE-TOKEN": current}, form)


def read_rotated(answer: TokenResponse, now: float) -> Renewed:
    """Return the next token, which is used and asks for the one after it. Raises ``MalformedResponse``."""
    found = read_object(answer.body)
    secret, lifetime = token(found, "token"), midnight(found, "expires_at") - now
    if not 0 < lifetime <= MAX_LIFETIME or found.get("revoked") is True or found.get("active") is False:
        raise MalformedResponse("the token has ended already")
    return Renewed(secret, secret, lifetime)


def rotate_error(forge: str, answer: TokenResponse, now: float) -> CredentialError:
    """Refuse because GitLab did not rotate the token."""
    said = f"no credential for {forge}: it answered {answer.status} when credgate's token was to be rotated"
    texts = {
        HTTPStatus.UNAUTHORIZED: f"{said}: the token was revoked, has expired or was rotated elsewhere; "
        f"{token_errors.OPERATOR} to make a new one",
        HTTPStatus.FORBIDDEN: f"{said}: the token may not do that; {token_errors.OPERATOR} to {_SCOPE}",
        HTTPStatus.NOT_FOUND: f"{said}: it knows no such request; "
        f"{token_errors.OPERATOR} to check api_url and the version",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{said}: it is not an access token that can be; {token_errors.OPERATOR}",
    }
    text = texts.get(HTTPStatus(answer.status)) if answer.status in texts else None
    if text is None or (answer.status == HTTPStatus.FORBIDDEN and "retry-after" in answer.headers):
        return token_errors.general(forge, answer, now)
    return CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=token_errors.SOON)
