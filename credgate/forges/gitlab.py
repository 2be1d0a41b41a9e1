"""GitLab, gitlab.com or self-managed: groups of any depth, names folded, ``.git`` always sent, login ``oauth2``.

Slugs are letters, digits and ``_ . -``, and do not start with a hyphen (GitLab's "reserved names" page, with the
characters of older projects). ``project.wiki``, ``snippets/ID`` and ``group/project/snippets/ID`` are repositories of
their own: a grant of the project includes none of them, ``group/*`` includes all below the group. GitLab serves a
renamed project under its old name without a redirect (see ``project_path``).
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

_SLUG = r"[A-Za-z0-9_.][A-Za-z0-9_.-]*"
_PROJECT = re.compile(rf"{_SLUG}(?:/{_SLUG})+")
_GROUP = re.compile(rf"{_SLUG}(?:/{_SLUG})*")


@frozen(slots=True)
class GitLab(Driver):
    """The driver of kind ``gitlab``."""

    user: ClassVar[str] = "oauth2"
    shape: ClassVar[str] = "GROUP/.../PROJECT"
    words: ClassVar[Words] = {
        401: "credgate's token is wrong, expired or revoked; ask the operator of this gateway to renew it",
        (403, Access.READ): (
            "credgate's token lacks read_repository or the Reporter role, or GitLab bans this gateway after failed "
            "logins; ask the operator"
        ),
        (403, Access.WRITE): (
            "credgate's token lacks write_repository or the Developer role here, or the project is archived; "
            "ask the operator of this gateway"
        ),
        404: "no such project, or one that credgate's token may not see: GitLab hides the difference",
        429: "it limits credgate's requests, which all sessions share; try again in some minutes",
    }

    def normal(self, path: str) -> str | None:
        bare = repository_names.bare_path(path)
        return bare.lower() if bare is not None and _PROJECT.fullmatch(bare) else None

    def group(self, path: str) -> str | None:
        return path.lower() if repository_names.bare_path(path) == path and _GROUP.fullmatch(path) else None

    def usual_api(self) -> str | None:
        return f"{self.origin.url}/api/v4"

    def proof(self, kind: str) -> str | None:
        if self.forge.username:  # a deploy token, which git accepts and the API does not
            return None
        # Every access token may read itself, whatever its scopes; an OAuth token is not such a token.
        return "/user" if kind == "oauth" else "/personal_access_tokens/self"
