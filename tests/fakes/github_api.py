"""A fake of the parts of GitHub's API that credgate uses: installations, tokens, revocation, rate limits.

JWTs are verified with the App's public key and by the fake's own clock, within GitHub's ten minutes. A token is for the
requested repositories and permissions and, as at GitHub, for *all* repositories of the installation when the request
names none: a test that sees such a token has found a hole. Tokens expire; a git server calls ``admits``.

What it does not prove: that GitHub still behaves like this, its replication lag, its secondary rate limits, suspended
or renamed Apps beyond a flag, permissions of an organisation's policies, the exact text of its errors.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jwt
from attrs import define, field
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fakes.api import Asked, FakeApi, Reply

if TYPE_CHECKING:
    import ssl

APP_ID = "424242"
DOCS = "https://docs.github.com/rest/apps/apps"
ALL = {"contents": "write", "metadata": "read", "workflows": "write", "issues": "write"}
_RANK = {"read": 1, "write": 2}
_BY_OUR_CLOCK = {"verify_exp": False, "verify_iat": False}
NOT_THERE = "There is at least one repository that does not exist or is not accessible to the parent installation."
NOT_GRANTED = "The permissions requested are not granted to this installation."


@define
class Installation:
    """The App on one account."""

    id: int
    owner: str
    repositories: dict[str, int]
    """Ids by name."""
    permissions: dict[str, str] = field(factory=lambda: dict(ALL))
    suspended: bool = False


@define
class Issued:
    """A token that was given out."""

    token: str = field(repr=False)
    repositories: dict[str, int]
    """Ids by full name."""
    permissions: dict[str, str]
    expires_at: int
    named: bool
    """Whether the request named any repository."""
    revoked: bool = False


def make_key() -> tuple[str, rsa.RSAPublicKey]:
    """Make an App's key: the PEM that its owner downloads, and what the forge keeps."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return pem.decode(), key.public_key()


class GitHubApi(FakeApi):
    """One App, by its public key; ``lifetime`` is in seconds, GitHub's own is an hour."""

    def __init__(self, key: rsa.RSAPublicKey, *, tls: ssl.SSLContext | None = None, lifetime: int = 3600) -> None:
        self.key, self.lifetime = key, lifetime
        self.installations: dict[str, Installation] = {}
        self.issued: list[Issued] = []
        super().__init__(tls)

    def install(self, owner: str, *names: str, **permissions: str) -> Installation:
        """Install the App on an account, for these of its repositories."""
        number = 1000 + len(self.installations)
        known = {name: number * 1000 + place for place, name in enumerate(names)}
        made = Installation(number, owner, known, {**ALL, **permissions})
        self.installations[owner] = made
        return made

    def admits(self, token: str, repository: str, *, write: bool) -> bool:
        """Whether a git server lets the bearer of ``token`` in."""
        wanted = _RANK["write" if write else "read"]
        return any(
            issued.token == token
            and not issued.revoked
            and self.now() < issued.expires_at
            and repository.lower() in {name.lower() for name in issued.repositories}
            and _RANK.get(issued.permissions.get("contents", ""), 0) >= wanted
            for issued in self.issued
        )

    def answer(self, asked: Asked) -> Reply:
        parts = asked.path.strip("/").split("/")
        bearer = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if (asked.method, parts) == ("DELETE", ["installation", "token"]):
            return self._revoke(bearer)
        wrong = self._unsigned(bearer)
        if wrong:
            return Reply(401, _error(wrong))
        if asked.method == "GET" and parts[0] == "repos" and parts[3:] == ["installation"]:
            return self._installation(parts[1], parts[2])
        if asked.method == "GET" and parts[0] == "app":
            return self._itself(parts[1:])
        if asked.method == "POST" and parts[:2] == ["app", "installations"] and parts[3:] == ["access_tokens"]:
            return self._mint(int(parts[2]), asked.json)
        return Reply(404, _error("Not Found"))

    def _unsigned(self, bearer: str) -> str:
        try:
            claims = jwt.decode(
                bearer, self.key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
            )
        except jwt.PyJWTError:
            return "A JSON web token could not be decoded"
        now = self.now()
        if claims["iss"] != APP_ID:
            return "A JSON web token could not be decoded"
        if claims["iat"] > now:
            return "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        if claims["exp"] <= now:
            return "'Expiration time' claim ('exp') must be a numeric value representing the future time"
        if claims["exp"] > now + 600:
            return "'Expiration time' claim ('exp') is too far in the future"
        return ""

    def _installation(self, owner: str, name: str) -> Reply:
        found = next((one for key, one in self.installations.items() if key.lower() == owner.lower()), None)
        if found is None or name.lower() not in {known.lower() for known in found.repositories}:
            return Reply(404, _error("Not Found"))
        account = {"login": found.owner, "id": 1, "type": "Organization"}
        return Reply(
            200,
            {
                "id": found.id,
                "account": account,
                "repository_selection": "selected",
                "access_tokens_url": f"{self.url}/app/installations/{found.id}/access_tokens",
                "app_id": int(APP_ID),
                "target_type": "Organization",
                "permissions": found.permissions,
                "events": [],
                "created_at": "2026-01-02T03:04:05Z",
                "updated_at": "2026-01-02T03:04:05Z",
                "single_file_name": None,
                "suspended_at": "2026-01-02T03:04:05Z" if found.suspended else None,
            },
        )

    def _itself(self, parts: list[str]) -> Reply:
        """Tell the App of itself, or of one of its installations."""
        known = [str(one.id) for one in self.installations.values()]
        if not parts:
            return Reply(200, {"id": int(APP_ID), "slug": "credgate"})
        return Reply(200, {"id": int(parts[1])}) if parts[1:] and parts[1] in known else Reply(404, _error("Not Found"))

    def _mint(self, number: int, wanted: dict[str, Any]) -> Reply:
        found = next((one for one in self.installations.values() if one.id == number), None)
        if found is None:
            return Reply(404, _error("Not Found"))
        if found.suspended:
            return Reply(403, _error("This installation has been suspended"))
        named = bool(wanted.get("repositories") or wanted.get("repository_ids"))
        known = {name.lower(): number for name, number in found.repositories.items()}
        ids = [known.get(name.lower()) for name in wanted.get("repositories", [])] + wanted.get("repository_ids", [])
        if any(one not in known.values() for one in ids):
            return Reply(422, _error(NOT_THERE))
        asked = wanted.get("permissions") or found.permissions
        if any(_RANK[level] > _RANK.get(found.permissions.get(name, ""), 0) for name, level in asked.items()):
            return Reply(422, _error(NOT_GRANTED))
        chosen = {f"{found.owner}/{name}": one for name, one in found.repositories.items() if not named or one in ids}
        return Reply(201, self._issue(chosen, dict(asked), named=named))

    def _issue(self, repositories: dict[str, int], permissions: dict[str, str], *, named: bool) -> dict[str, Any]:
        # The newer form: the token carries its own claims, so it is long and has dots.
        token = f"ghs_{APP_ID}_{secrets.token_urlsafe(60)}.{secrets.token_urlsafe(90)}.{secrets.token_urlsafe(40)}"
        issued = Issued(token, repositories, permissions, int(self.now() + self.lifetime), named)
        self.issued.append(issued)
        ends = datetime.fromtimestamp(issued.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        described: dict[str, Any] = {"token": token, "expires_at": ends, "permissions": permissions}
        if not named:
            return described | {"repository_selection": "all"}
        listed = [_described(full, number) for full, number in repositories.items()]
        return described | {"repository_selection": "selected", "repositories": listed}

    def _revoke(self, bearer: str) -> Reply:
        for issued in self.issued:
            if issued.token == bearer and not issued.revoked and self.now() < issued.expires_at:
                issued.revoked = True
                return Reply(204)
        return Reply(401, _error("Bad credentials"))


def _error(message: str) -> dict[str, str]:
    return {"message": message, "documentation_url": DOCS}


def _described(full_name: str, number: int) -> dict[str, Any]:
    owner, _, name = full_name.partition("/")
    return {
        "id": number,
        "node_id": "MDEwOlJlcG9zaXRvcnkx",
        "name": name,
        "full_name": full_name,
        "private": True,
        "owner": {"login": owner, "id": 1, "type": "Organization"},
        "html_url": f"https://github.com/{full_name}",
        "description": None,
        "fork": False,
        "default_branch": "main",
        "permissions": {"admin": False, "maintain": False, "push": False, "triage": False, "pull": False},
    }
