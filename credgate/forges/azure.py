"""Azure DevOps Repos: ``ORG/PROJECT/_git/REPO``, names folded, never ``.git``, the PAT as password of an empty user.

``ORG/_git/REPO`` is short for the repository with the name of its project; the long form is the normal one and is sent.
``.git`` that a client adds is removed. Azure DevOps Server has its collection in place of ``ORG``. Names with spaces or
other characters that a URL must escape are not served, because credgate never decodes a path. The REST API accepts the
id of a project or repository in place of its name; whether git's URLs do is not documented, and for a grant an id is
another name.

LFS objects are on the organisation's own host, below ``info/lfs/objects`` (traces in issue 4179 of Microsoft's
azure-devops-docs).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from credgate.forges import repository_names
from credgate.forges.driver import Driver
from credgate.values import Access

if TYPE_CHECKING:
    from credgate.forges.sentences import Words

# Names with a leading underscore do not exist.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_REPOSITORY = re.compile(rf"(?P<org>{_NAME})(?:/(?P<project>{_NAME}))?/_git/(?P<repo>{_NAME})")
_GROUP = re.compile(rf"{_NAME}(?:/{_NAME}(?:/_git)?)?")
_SIGN_IN = "it showed its sign-in page: credgate's PAT is wrong, expired or revoked; ask the operator of this gateway"


@frozen(slots=True)
class Azure(Driver):
    """The driver of kind ``azure``: Azure DevOps Services and Server."""

    user: ClassVar[str] = ""
    shape: ClassVar[str] = "ORG/PROJECT/_git/REPO"
    # The response to a wrong PAT is the sign-in page (203, or a redirect to it), sometimes 401.
    rejections: ClassVar[frozenset[int]] = frozenset({203, 302, 401})
    words: ClassVar[Words] = {
        203: _SIGN_IN,
        302: _SIGN_IN,
        401: (
            "credgate's PAT is wrong, expired or revoked, or the organisation accepts no PATs; "
            "ask the operator of this gateway"
        ),
        (403, Access.READ): (
            "credgate's PAT lacks the scope Code (read), or a conditional access policy bars it; "
            "ask the operator of this gateway"
        ),
        (403, Access.WRITE): (
            "credgate's PAT lacks Code (read and write), or its user the permission Contribute; "
            "ask the operator of this gateway"
        ),
        404: "no such organisation, project or repository, or one that credgate's PAT may not see (TF401019)",
        429: "Azure DevOps throttles credgate's user; try again in some minutes",
    }

    def normal(self, path: str) -> str | None:
        long = _long(path)
        return None if long is None else long.lower()

    def group(self, path: str) -> str | None:
        # ORG and ORG/PROJECT, also with /_git: all repositories of either.
        return path.lower() if repository_names.bare_path(path) == path and _GROUP.fullmatch(path) else None

    def spelled(self, repo_path: str, *, dot_git: bool) -> str:  # noqa: ARG002 - Azure's URLs never have it
        return _long(repo_path) or ""

    def usual_api(self) -> str | None:
        return self.origin.url  # before /ORG/_apis

    def api_login(self, secret: str) -> bytes:
        return self.login(secret)


def _long(path: str) -> str | None:
    """Return ``path`` in its long form, letters unchanged; ``None``: not a repository."""
    found = _REPOSITORY.fullmatch(repository_names.bare_path(path) or "")
    if found is None:
        return None
    # ``ORG/_git/REPO`` is short for the repository with the name of its project.
    return f"{found['org']}/{found['project'] or found['repo']}/_git/{found['repo']}"
