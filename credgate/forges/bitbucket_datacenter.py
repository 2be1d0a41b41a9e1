"""Bitbucket Data Center: ``/scm/PROJECT/repo`` and ``/scm/~user/repo``, names folded, login ``Bearer TOKEN``.

``scm/`` is part of every clone URL and of no name: with or without it one repository is meant, and it is always sent.
Two segments are a project and a repository, also where the project is called ``scm``. Tokens of projects and
repositories are accepted as Bearer only; with a configured user name the login is Basic, for passwords and users'
tokens. After failed logins a user must solve a CAPTCHA first: 403 with ``X-Authentication-Denied-Reason``, which no
other credential cures. 429 is its rate limit, by user ("Improving instance stability with rate limiting" in Atlassian's
administration guide); 503 comes from it in maintenance, or from the proxy before it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from credgate.forges import names
from credgate.forges.base import Base
from credgate.forges.login import basic, bearer
from credgate.values import Access

if TYPE_CHECKING:
    from credgate.forges.sentences import Words

_PROJECT = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|~[A-Za-z0-9][A-Za-z0-9._-]*")
_REPO = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SCM = "scm/"


@frozen(slots=True)
class BitbucketDataCenter(Base):
    """The driver of kind ``bitbucket-datacenter``."""

    shape: ClassVar[str] = "scm/PROJECT/REPO"
    words: ClassVar[Words] = {
        401: "credgate's token is wrong, expired or revoked; ask the operator of this gateway to renew it",
        (403, Access.READ): (
            "credgate's token may not read this, or Bitbucket wants a CAPTCHA solved after failed logins; "
            "ask the operator of this gateway"
        ),
        (403, Access.WRITE): (
            "credgate's token lacks Repository write, or Bitbucket wants a CAPTCHA solved after failed logins; "
            "ask the operator"
        ),
        404: "no such project or repository, or one that credgate's token may not see",
        429: "the rate limit of credgate's user is used up; try again later, or ask the operator for an exemption",
        503: "it is under heavy load or in maintenance; wait a little and try again",
    }

    def normal(self, path: str) -> str | None:
        """Return ``project/repo`` in lower case, without ``scm/`` and ``.git``."""
        pair = names.pair(_bare(path), _PROJECT, _REPO)
        return None if pair is None else "/".join(pair).lower()

    def group(self, path: str) -> str | None:
        """Take a project, with ``scm/`` before it or not; ``scm`` alone is a project of that name."""
        project = path.removeprefix(_SCM)
        return project.lower() if names.bare_path(project) == project and _PROJECT.fullmatch(project) else None

    def spelled(self, repo_path: str, *, dot_git: bool) -> str:
        """Send ``scm/`` and ``.git`` always."""
        return _SCM + super().spelled(_bare(repo_path), dot_git=dot_git)

    def login(self, secret: str) -> bytes:
        """Return ``Bearer SECRET``, or Basic where a user name is configured."""
        return basic(self.forge.username, secret) if self.forge.username else bearer(secret)

    def usual_api(self) -> str | None:
        """Return the REST API's base."""
        return f"{self.origin.url}/rest/api/latest"


def _bare(path: str) -> str:
    """Return ``path`` without the ``scm/`` that stands before a project and a repository."""
    return path.removeprefix(_SCM) if path.count("/") > 1 else path
