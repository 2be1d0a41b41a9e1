"""GitHub and GitHub Enterprise: ``owner/repo``, names folded, ``.git`` always sent, login ``x-access-token``.

GitHub compares owners and repositories without regard to case and redirects renamed ones; grants are compared folded,
and the spelling that goes upstream is the grant's. ``repo.wiki`` is a repository of its own and never admitted by a
grant of ``repo``. Owners are up to 39 letters, digits, hyphens and (for managed users) underscores; repositories up to
100 of ``[A-Za-z0-9._-]``, ``.github`` included. Private repositories answer 404 to whoever may not see them; a token
that may read but not push, or that an organisation's SAML or token rules do not accept, is answered 403.
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

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}")
_REPO = re.compile(r"[A-Za-z0-9._-]{1,100}")
_COM = "github.com"
_TENANTS = ".ghe.com"


@frozen(slots=True)
class GitHub(Driver):
    """The driver of kind ``github``: github.com, tenants of ghe.com and GitHub Enterprise Server."""

    words: ClassVar[Words] = {
        401: "credgate's token is wrong, expired or revoked; ask the operator of this gateway to renew it",
        (403, Access.READ): (
            "the organisation bars credgate's token: no SAML SSO authorisation, or its token or IP rules; "
            "ask the operator of this gateway"
        ),
        (403, Access.WRITE): (
            "credgate's token may not push: no Contents: write, no SAML SSO authorisation, or an archived repository; "
            "ask the operator"
        ),
        404: "no such repository, or a private one that credgate's token was not given: GitHub hides the difference",
        429: "it limits credgate's requests, which all sessions share; try again in some minutes",
        451: "GitHub blocks this repository after a legal notice (DMCA); this gateway cannot change that",
    }

    def normal(self, path: str) -> str | None:
        """Return ``owner/repo`` in lower case, without ``.git``."""
        pair = names.pair(path, _OWNER, _REPO)
        return None if pair is None else "/".join(pair).lower()

    def group(self, path: str) -> str | None:
        """Take an owner."""
        return path.lower() if _OWNER.fullmatch(path) else None

    def usual_api(self) -> str | None:
        """Return the REST API's base: a host of its own, but on GitHub Enterprise Server."""
        if self.host == _COM or self.host.endswith(_TENANTS):
            return f"https://api.{self.host}"
        return f"{self.origin.url}/api/v3"

    def proof(self, kind: str) -> str | None:  # noqa: ARG002 - any token may ask
        """Ask for the rate limit, or of an Enterprise Server, which may have none, for its version: 401 to a wrong one.

        Not ``/user``: tokens of installations have none.
        """
        return "/rate_limit" if self.host == _COM or self.host.endswith(_TENANTS) else "/meta"

    def storage(self) -> tuple[str, ...]:
        """Return where GitHub keeps LFS objects.

        Tenants of ghe.com may also keep them at an Azure storage account, which only the configuration can name: the
        wildcard that GitHub's documents give is everybody's. With subdomain isolation an Enterprise Server has
        ``media.HOST``.
        """
        if self.host == _COM:
            return "lfs.github.com", "github-cloud.s3.amazonaws.com", "*.githubusercontent.com"
        if self.host.endswith(_TENANTS):
            return f"*.{self.host}", "*.githubusercontent.com"
        return (f"media.{self.host}",)
