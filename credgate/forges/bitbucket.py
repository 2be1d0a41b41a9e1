"""Bitbucket Cloud (``workspace/repo``) and Bitbucket Data Center (``/scm/PROJECT/repo``, ``/scm/~user/repo``).

Both compare names without regard to case and always get ``.git``.

Cloud: slugs are lower-case on the forge, so folding never joins two repositories. The login ``x-token-auth`` is that
of repository, project and workspace access tokens and of OAuth; a user's API token needs ``username =
"x-bitbucket-api-token-auth"``. App passwords ended in 2026 and are answered 410. Wikis are at
``workspace/repo.git/wiki``, which is not a legal name here, so they are not served. Renamed repositories are
redirected.

Data Center: ``scm/`` is part of every clone URL and of no name. A path with and without it names the same repository,
and it is always sent. Two segments are a project and a repository, also for a project named ``scm``. Tokens of projects
and repositories are accepted as Bearer only; with a configured user name the login is Basic, for passwords and users'
tokens. After failed logins a user must solve a CAPTCHA: 403 with ``X-Authentication-Denied-Reason``, which no other
credential avoids. 429 is the rate limit of a user ("Improving instance stability with rate limiting" in Atlassian's
administration guide); 503 comes from the forge in maintenance, or from a proxy before it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from credgate.forges import repository_names
from credgate.forges.driver import Driver, basic, bearer
from credgate.values import Access

if TYPE_CHECKING:
    from credgate.forges.sentences import Words

_WORKSPACE = re.compile(r"[A-Za-z0-9_-]+")
_CLOUD_REPO = re.compile(r"[A-Za-z0-9._-]+")
_CLOUD = "bitbucket.org"
_PROJECT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|~[A-Za-z0-9][A-Za-z0-9._-]*")
_REPO = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SCM = "scm/"


@frozen(slots=True)
class Bitbucket(Driver):
    """The driver of kind ``bitbucket``."""

    # The login of access tokens of a repository, project or workspace, and of OAuth.
    user: ClassVar[str] = "x-token-auth"
    shape: ClassVar[str] = "WORKSPACE/REPO"
    # App passwords ended in 2026 and are answered 410.
    rejections: ClassVar[frozenset[int]] = frozenset({401, 410})
    words: ClassVar[Words] = {
        401: "credgate's token is wrong, expired or revoked; ask the operator of this gateway to renew it",
        (403, Access.READ): (
            "credgate's token may not read this, or the workspace requires two-step login or another address; "
            "ask the operator of this gateway"
        ),
        (403, Access.WRITE): (
            "credgate's token lacks repository write, or the workspace requires two-step login or another address; "
            "ask the operator"
        ),
        404: "no such repository in this workspace, or one that credgate's token was not given",
        410: "app passwords have ended: ask the operator of this gateway for an access token or API token",
        429: "it limits credgate's requests by the hour; try again later",
    }

    def normal(self, path: str) -> str | None:
        # Slugs are lower-case on the forge, so folding never joins two repositories.
        pair = repository_names.pair(path, _WORKSPACE, _CLOUD_REPO)
        return None if pair is None else "/".join(pair).lower()

    def group(self, path: str) -> str | None:
        return path.lower() if _WORKSPACE.fullmatch(path) else None

    def usual_api(self) -> str | None:
        return f"https://api.{_CLOUD}/2.0" if self.host == _CLOUD else None

    def proof(self, kind: str) -> str | None:  # noqa: ARG002 - the same for every token
        # With a configured user name it is a user's token, for which the API needs another login.
        return None if self.forge.username else "/user"

    def storage(self) -> tuple[str, ...]:
        # Atlassian's media store, whose links are /file/ID/binary (git-lfs issues 2971 and 3494).
        return ("api.media.atlassian.com",) if self.host == _CLOUD else ()


@frozen(slots=True)
class BitbucketDataCenter(Driver):
    """The driver of kind ``bitbucket-datacenter``."""

    shape: ClassVar[str] = "scm/PROJECT/REPO"
    words: ClassVar[Words] = {
        401: "credgate's token is wrong, expired or revoked; ask the operator of this gateway to renew it",
        (403, Access.READ): (
            "credgate's token may not read this, or Bitbucket requires a CAPTCHA after failed logins; "
            "ask the operator of this gateway"
        ),
        (403, Access.WRITE): (
            "credgate's token lacks Repository write, or Bitbucket requires a CAPTCHA after failed logins; "
            "ask the operator"
        ),
        404: "no such project or repository, or one that credgate's token may not see",
        429: "the rate limit of credgate's user is used up; try again later, or ask the operator for an exemption",
        503: "it is under heavy load or in maintenance; wait a little and try again",
    }

    def normal(self, path: str) -> str | None:
        pair = repository_names.pair(_without_scm(path), _PROJECT, _REPO)
        return None if pair is None else "/".join(pair).lower()

    def group(self, path: str) -> str | None:
        project = path.removeprefix(_SCM)  # "scm" alone is a project of that name
        return (
            project.lower() if repository_names.bare_path(project) == project and _PROJECT.fullmatch(project) else None
        )

    def spelled(self, repo_path: str, *, dot_git: bool) -> str:
        return _SCM + super().spelled(_without_scm(repo_path), dot_git=dot_git)

    def login(self, secret: str) -> bytes:
        # Tokens of projects and repositories are accepted as Bearer only; passwords and users' tokens have a user name.
        return basic(self.forge.username, secret) if self.forge.username else bearer(secret)

    def usual_api(self) -> str | None:
        return f"{self.origin.url}/rest/api/latest"


def _without_scm(path: str) -> str:
    """Return ``path`` without the ``scm/`` before a project and a repository."""
    # Two segments are a project and a repository, also for a project named ``scm``.
    return path.removeprefix(_SCM) if path.count("/") > 1 else path
