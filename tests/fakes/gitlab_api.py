"""A fake of GitLab's API for a token that rotates itself, and for the present path of a project.

Rotation ends the token of the request and returns the next one, which ends at the start of the requested date. As at
GitLab, the use of a token that was rotated before ends the whole family.

What it does not prove: that GitLab still behaves like this, an instance's limits for lifetimes, its rate limits, which
tokens of which plans may rotate, anything about its permissions, and whether a GitLab answers an old path with the
project itself or with a redirect to it: the fake can do both.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote

from attrs import define, field

from tests.fakes.api import Asked, FakeApi, Reply

if TYPE_CHECKING:
    import ssl

PROJECTS = "/api/v4/projects/"
ROTATE = "/api/v4/personal_access_tokens/self/rotate"


@define
class AccessToken:
    """One of a family; ``revoked`` ones stay known."""

    token: str = field(repr=False)
    expires_at: datetime
    revoked: bool = False


class GitLabApi(FakeApi):
    """One token and those that came of it."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, scopes: tuple[str, ...] = ("self_rotate",)) -> None:
        self.scopes = scopes
        self.projects: dict[str, str] = {}
        """By the path that is asked for: the present one."""
        self.redirects = False
        """Whether an old path is answered by a redirect to the project by its number."""
        self.family = [AccessToken(_new(), datetime.now(UTC) + timedelta(days=30))]
        super().__init__(tls)

    @property
    def current(self) -> str:
        return self.family[-1].token

    def admits(self, token: str) -> bool:
        """Whether a git server lets the bearer of ``token`` in."""
        now = datetime.fromtimestamp(self.now(), UTC)
        return any(one.token == token and not one.revoked and now < one.expires_at for one in self.family)

    def answer(self, asked: Asked) -> Reply:
        if asked.method == "GET" and asked.path.startswith(PROJECTS):
            return self._project(unquote(asked.path.removeprefix(PROJECTS)))
        if (asked.method, asked.path) != ("POST", ROTATE):
            return Reply(404, {"error": "404 Not Found"})
        shown = asked.headers.get("private-token", "")
        found = next((one for one in self.family if one.token == shown), None)
        if found is None or not self.admits(shown):
            if found is not None and found.revoked:  # taken for theft
                for one in self.family:
                    one.revoked = True
            return Reply(401, {"message": "401 Unauthorized"})
        if not {"api", "self_rotate"} & set(self.scopes):
            return Reply(
                403, {"error": "insufficient_scope", "error_description": "The request requires more", "scope": "api"}
            )
        return self._rotate(found, datetime.strptime(asked.form["expires_at"], "%Y-%m-%d").replace(tzinfo=UTC))

    def _project(self, path: str) -> Reply:
        """Tell a project's present path, or redirect to the project by its number."""
        if path not in self.projects:
            return Reply(404, {"message": "404 Project Not Found"})
        present = self.projects[path]
        if self.redirects and present != path:
            return Reply(301, None, {"Location": f"{self.url}{PROJECTS}7"})
        return Reply(200, {"id": 7, "path": present.rpartition("/")[2], "path_with_namespace": present})

    def _rotate(self, found: AccessToken, until: datetime) -> Reply:
        now = datetime.fromtimestamp(self.now(), UTC)
        if until <= now:
            return Reply(400, {"message": "400 Bad request - Expiration date must be in the future"})
        found.revoked = True
        self.family.append(AccessToken(_new(), until))
        return Reply(
            200,
            {
                "id": 40 + len(self.family),
                "name": "credgate",
                "revoked": False,
                "created_at": now.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
                "description": "",
                "scopes": list(self.scopes),
                "user_id": 1337,
                "last_used_at": None,
                "active": True,
                "expires_at": until.strftime("%Y-%m-%d"),
                "token": self.current,
            },
        )


def _new() -> str:
    return f"glpat-{secrets.token_urlsafe(30)}.01.{secrets.token_hex(5)}"
