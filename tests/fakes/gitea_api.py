"""A fake of the OAuth 2.0 token endpoint of Gitea and Forgejo, and of Bitbucket's under its own path.

A refresh token works once (Gitea's ``INVALIDATE_REFRESH_TOKENS``, the harder of its two modes) or stays valid
(``single_use = False``, as at Bitbucket). Access tokens expire; a git server calls ``admits``.

What it does not prove: that these forges still behave like this, their scopes, the form of their access tokens (Gitea's
are JWTs), and the first consent.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from typing import TYPE_CHECKING

from tests.fakes.api import Asked, FakeApi, Reply

if TYPE_CHECKING:
    import ssl

CLIENT_ID, CLIENT_SECRET = "da7da3ba-9a13-4167-856f-3899de0b0138", "gto_ow2rkr/secret+with=signs&more"
ENDPOINTS = ("/login/oauth/access_token", "/site/oauth2/access_token")


class GiteaApi(FakeApi):
    """One grant; ``lifetime`` is in seconds, Gitea's own is an hour."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, lifetime: int = 3600, single_use: bool = True) -> None:
        self.lifetime, self.single_use = lifetime, single_use
        self.refresh = _new("gtr")
        self.spent: list[str] = []
        self.access: dict[str, float] = {}
        super().__init__(tls)

    def admits(self, token: str) -> bool:
        """Whether a git server lets the bearer of ``token`` in."""
        return self.now() < self.access.get(token, 0.0)

    def answer(self, asked: Asked) -> Reply:
        """Answer as RFC 6749 sections 5.1 and 5.2 have it."""
        if asked.method != "POST" or asked.path not in ENDPOINTS:
            return Reply(404, {"message": "Not Found"})
        # RFC 6749 section 2.3.1: form-encoded, then joined.
        pair = f"{CLIENT_ID}:gto_ow2rkr%2Fsecret%2Bwith%3Dsigns%26more"
        if asked.headers.get("authorization") != "Basic " + b64encode(pair.encode()).decode():
            return Reply(401, {"error": "invalid_client", "error_description": "cannot load client"})
        if asked.form.get("grant_type") != "refresh_token":
            return Reply(400, {"error": "unsupported_grant_type"})
        if asked.form.get("refresh_token") != self.refresh:
            return Reply(400, {"error": "invalid_grant", "error_description": "token was already used"})
        return self._refresh()

    def _refresh(self) -> Reply:
        if self.single_use:
            self.spent.append(self.refresh)
            self.refresh = _new("gtr")
        access = _new("gta")
        self.access[access] = self.now() + self.lifetime
        said = {"access_token": access, "token_type": "bearer", "expires_in": self.lifetime}
        return Reply(200, said | {"refresh_token": self.refresh})


def _new(kind: str) -> str:
    return f"{kind}_{secrets.token_urlsafe(40)}"
