"""Gitea and Forgejo: ``owner/repo``, names folded, ``.git`` always sent, the token as the password.

Names are letters, digits and ``- _ .``; owners start with a letter or digit. The user name of the login is ignored with
a token. ``repo.wiki`` is a repository of its own. A renamed repository is redirected by an absolute path. A push to an
archived repository or mirror, or with a token without the scope, gets 403; a user without write access gets 404, as for
a missing repository; the password of a user with two-factor login gets 401.
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

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REPO = re.compile(r"[A-Za-z0-9._-]{1,100}")


@frozen(slots=True)
class Gitea(Driver):
    """The driver of kind ``gitea``."""

    words: ClassVar[Words] = {
        401: (
            "credgate's token is wrong or revoked, or a password where two-factor login requires a token; "
            "ask the operator of this gateway"
        ),
        (403, Access.READ): (
            "credgate's token lacks the scope read:repository, or its user's access has been restricted; "
            "ask the operator of this gateway"
        ),
        (403, Access.WRITE): (
            "credgate's token lacks the scope write:repository, or the repository is archived or a mirror; "
            "ask the operator of this gateway"
        ),
        (404, Access.READ): "no such repository, or one that the user of credgate's token may not see",
        (404, Access.WRITE): "no such repository, or one that the user of credgate's token may not write to",
    }

    def normal(self, path: str) -> str | None:
        pair = repository_names.pair(path, _OWNER, _REPO)
        return None if pair is None else "/".join(pair).lower()

    def group(self, path: str) -> str | None:
        return path.lower() if repository_names.bare_path(path) == path and _OWNER.fullmatch(path) else None

    def usual_api(self) -> str | None:
        return f"{self.origin.url}/api/v1"

    def proof(self, kind: str) -> str | None:  # noqa: ARG002 - the same for every token
        # A token without read:user gets 403, which does not decide it.
        return "/user"

    def api_login(self, secret: str) -> bytes:
        return self.login(secret)  # it may be a password
