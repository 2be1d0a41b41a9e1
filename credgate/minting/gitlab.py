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

from credgate.errors import CredentialError
from credgate.minting import refusal
from credgate.minting.answer import MAX_LIFETIME, Malformed, midnight, read_object, token
from credgate.minting.renewal import Renewed
from credgate.minting.request import with_form
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.minting.answer import Answer
    from credgate.minting.request import Request

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


def read_rotated(answer: Answer, now: float) -> Renewed:
    """Return the next token, which is at once what is used and what asks for the one after it; raise ``Malformed``."""
    found = read_object(answer.body)
    secret, lifetime = token(found, "token"), midnight(found, "expires_at") - now
    if not 0 < lifetime <= MAX_LIFETIME or found.get("revoked") is True or found.get("active") is False:
        raise Malformed("the token has ended already")
    return Renewed(secret, secret, lifetime)


def not_rotated(forge: str, answer: Answer, now: float) -> CredentialError:
    """Refuse because GitLab did not rotate the token."""
    said = f"no credential for {forge}: it answered {answer.status} when credgate's token was to be rotated"
    texts = {
        HTTPStatus.UNAUTHORIZED: f"{said}: the token was revoked, has expired or was rotated elsewhere; "
        f"{refusal.OPERATOR} to make a new one",
        HTTPStatus.FORBIDDEN: f"{said}: the token may not do that; {refusal.OPERATOR} to {_SCOPE}",
        HTTPStatus.NOT_FOUND: f"{said}: it knows no such request; {refusal.OPERATOR} to check api_url and the version",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{said}: it is not an access token that can be; {refusal.OPERATOR}",
    }
    text = texts.get(HTTPStatus(answer.status)) if answer.status in texts else None
    if text is None or (answer.status == HTTPStatus.FORBIDDEN and "retry-after" in answer.headers):
        return refusal.general(forge, answer, now)
    return CredentialError(text, reason=Reason.CREDENTIAL_DENIED, retry_after=refusal.SOON)
