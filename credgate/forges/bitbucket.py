"""Bitbucket Cloud: ``workspace/repo``, names folded, ``.git`` always sent, login ``x-token-auth``.

Slugs are lower-case on the forge, so folding joins no two repositories. The login is that of repository, project and
workspace access tokens and of OAuth; a user's API token wants ``username = "x-bitbucket-api-token-auth"``. App
passwords ended in 2026 and are answered 410. Wikis are at ``workspace/repo.git/wiki``, which is no legal name here:
they are not served. Renamed repositories are redirected.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from credgate.forges import names
from credgate.forges.base import Base
from credgate.values import Access

if TYPE_CHECKING:
    from credgate.forges.sentences import Words

_WORKSPACE = re.compile(r"[A-Za-z0-9_-]+")
_REPO = re.compile(r"[A-Za-z0-9._-]+")
_CLOUD = "bitbucket.org"


@frozen(slots=True)
class Bitbucket(Base):
    """The driver of kind ``bitbucket``."""

    user: ClassVar[str] = "x-token-auth"
    shape: ClassVar[str] = "WORKSPACE/REPO"
    rejections: ClassVar[frozenset[int]] = frozenset({401, 410})
    words: ClassVar[Words] = {
        401: "credgate's token is wrong, expired or revoked; ask the operator of this gateway to renew it",
        (403, Access.READ): (
            "credgate's token may not read this, or the workspace wants two-step login or another address; "
            "ask the operator of this gateway"
        ),
        (403, Access.WRITE): (
            "credgate's token lacks repository write, or the workspace wants two-step login or another address; "
            "ask the operator"
        ),
        404: "no such repository in this workspace, or one that credgate's token was not given",
        410: "app passwords have ended: ask the operator of this gateway for an access token or API token",
        429: "it limits credgate's requests by the hour; try again later",
    }

    def normal(self, path: str) -> str | None:
        """Return ``workspace/repo`` in lower case, without ``.git``."""
        pair = names.pair(path, _WORKSPACE, _REPO)
        return None if pair is None else "/".join(pair).lower()

    def group(self, path: str) -> str | None:
        """Take a workspace."""
        return path.lower() if _WORKSPACE.fullmatch(path) else None

    def usual_api(self) -> str | None:
        """Return the REST API's base; another host's is not known."""
        return f"https://api.{_CLOUD}/2.0" if self.host == _CLOUD else None

    def proof(self, kind: str) -> str | None:  # noqa: ARG002 - any token asks the same
        """Ask whose it is; with a configured user name it is a user's token, which the API wants another login for."""
        return None if self.forge.username else "/user"

    def storage(self) -> tuple[str, ...]:
        """Return Atlassian's media store, where links are ``/file/ID/binary`` (git-lfs issues 2971 and 3494)."""
        return ("api.media.atlassian.com",) if self.host == _CLOUD else ()
