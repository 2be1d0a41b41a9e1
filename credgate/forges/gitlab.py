"""GitLab, gitlab.com or self-managed: groups of any depth, names folded, ``.git`` always sent, login ``oauth2``.

Slugs are letters, digits, ``_ . -`` and begin with none but the first three (GitLab's "reserved names" page, with what
older ones may hold). ``project.wiki``, ``snippets/ID`` and ``group/project/snippets/ID`` are repositories of their own:
a grant of the project names none of them, ``group/*`` names all that is below the group. An installation below a path
has it in its URL. A renamed project is served under its old name by GitLab itself, without a redirect.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from credgate.forges import names
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
        """Return the full path in lower case, without ``.git``."""
        bare = names.bare_path(path)
        return bare.lower() if bare is not None and _PROJECT.fullmatch(bare) else None

    def group(self, path: str) -> str | None:
        """Take groups of any depth."""
        return path.lower() if names.bare_path(path) == path and _GROUP.fullmatch(path) else None

    def usual_api(self) -> str | None:
        """Return the REST API's base."""
        return f"{self.origin.url}/api/v4"

    def proof(self, kind: str) -> str | None:
        """Let a token tell of itself, which any may whatever its scopes; one of OAuth is no such token.

        With a configured user name it is a deploy token, which the API does not take though git does.
        """
        if self.forge.username:
            return None
        return "/user" if kind == "oauth" else "/personal_access_tokens/self"
