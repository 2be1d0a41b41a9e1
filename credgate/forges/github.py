"""GitHub and GitHub Enterprise: ``owner/repo``, names folded, ``.git`` always sent, login ``x-access-token``.

GitHub compares owners and repositories without regard to case and redirects renamed ones. Grants are compared folded;
the grant's own spelling is sent. ``repo.wiki`` is a repository of its own; a grant of ``repo`` never includes it.
Owners have up to 39 letters, digits, hyphens and (for managed users) underscores; repositories have up to 100 of
``[A-Za-z0-9._-]``, including ``.github``. A private repository gets 404 without read access; a token that may read but
not push, or that an organisation's SAML or token rules do not accept, gets 403.
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
        pair = repository_names.pair(path, _OWNER, _REPO)
        return None if pair is None else "/".join(pair).lower()

    def group(self, path: str) -> str | None:
        return path.lower() if _OWNER.fullmatch(path) else None

    def usual_api(self) -> str | None:
        if self.host == _COM or self.host.endswith(_TENANTS):
            return f"https://api.{self.host}"
        return f"{self.origin.url}/api/v3"

    def proof(self, kind: str) -> str | None:  # noqa: ARG002 - the same for every token
        # Not /user: installation tokens have no user. An Enterprise Server may have no rate limit, but it has /meta;
        # both answer 401 to a wrong token.
        return "/rate_limit" if self.host == _COM or self.host.endswith(_TENANTS) else "/meta"

    def storage(self) -> tuple[str, ...]:
        # Tenants of ghe.com may also use an Azure storage account, which only the configuration can name: the wildcard
        # in GitHub's documentation includes every customer of Azure. An Enterprise Server with subdomain isolation has
        # media.HOST.
        if self.host == _COM:
            return "lfs.github.com", "github-cloud.s3.amazonaws.com", "*.githubusercontent.com"
        if self.host.endswith(_TENANTS):
            return f"*.{self.host}", "*.githubusercontent.com"
        return (f"media.{self.host}",)
