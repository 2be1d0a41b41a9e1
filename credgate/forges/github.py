"""GitHub and GitHub Enterprise: ``owner/repo``, names folded, ``.git`` always sent, login ``x-access-token``.

GitHub compares owners and repositories without regard to case and redirects renamed ones; grants are compared folded,
and the spelling that goes upstream is the grant's. ``repo.wiki`` is a repository of its own and never admitted by a
grant of ``repo``. Owners are up to 39 letters, digits, hyphens and (for managed users) underscores; repositories up to
100 of ``[A-Za-z0-9._-]``, ``.github`` included.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from credgate.forges import names
from credgate.forges.login import basic
from credgate.forges.sentences import sentence

if TYPE_CHECKING:
    from credgate.config.schema import Forge
    from credgate.forges.origin import Origin
    from credgate.values import Access

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}")
_REPO = re.compile(r"[A-Za-z0-9._-]{1,100}")


@frozen(slots=True)
class GitHub:
    """The driver of kind ``github``."""

    forge: Forge
    origin: Origin

    @property
    def host(self) -> str:
        """See :class:`~credgate.forges.driver.Driver`."""
        return self.origin.host

    @property
    def port(self) -> int:
        """See :class:`~credgate.forges.driver.Driver`."""
        return self.origin.port

    @property
    def tls(self) -> bool:
        """See :class:`~credgate.forges.driver.Driver`."""
        return self.origin.tls

    @property
    def authority(self) -> str:
        """See :class:`~credgate.forges.driver.Driver`."""
        return self.origin.authority

    def normal(self, path: str) -> str | None:
        """Return ``owner/repo`` in lower case, without ``.git``."""
        bare = names.bare_path(path)
        owner, slash, repo = (bare or "").partition("/")
        if not slash or _OWNER.fullmatch(owner) is None or _REPO.fullmatch(repo) is None:
            return None
        return f"{owner}/{repo}".lower()

    def normal_pattern(self, text: str) -> str | None:
        """Take ``**``, ``owner/*`` or ``owner/repo``, in lower case."""
        if text == "**":
            return text
        owner = text.removesuffix("/*")
        if owner == text:
            return self.normal(text)
        return text.lower() if _OWNER.fullmatch(owner) else None

    def login(self, secret: str) -> bytes:
        """Return ``Basic x-access-token:SECRET``: good for classic, fine-grained and installation tokens alike."""
        return basic(self.forge.username or "x-access-token", secret)

    def path(self, repo_path: str, tail: str, *, dot_git: bool = False) -> str:  # noqa: ARG002 - one form serves all
        """See :class:`~credgate.forges.driver.Driver`; ``.git`` is always sent: both forms are one repository."""
        if self.normal(repo_path) is None:
            raise ValueError("not a repository path on this forge")
        return f"{self.origin.prefix}/{repo_path.removesuffix('.git')}.git/{tail}"

    def moved(self, location: bytes) -> str | None:
        """See :class:`~credgate.forges.driver.Driver`."""
        path = self.origin.repository_in(location)
        return None if path is None else self.normal(path)

    def sentence(self, status: int, access: Access) -> str:
        """See :class:`~credgate.forges.driver.Driver`."""
        return sentence(self.forge.name, status, access)
