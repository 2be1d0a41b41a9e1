"""Any smart-HTTP git server: paths of any depth, names compared as they are, a fixed login.

``x`` and ``x.git`` are one repository, for grants and for comparing. Which of the two is sent follows the client,
because servers differ: ``git http-backend`` finds ``x.git`` when asked for ``x`` but not the reverse, others redirect
from one to the other. So a URL that works without a gateway works with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate.forges import names
from credgate.forges.login import basic
from credgate.forges.sentences import sentence

if TYPE_CHECKING:
    from credgate.config.schema import Forge
    from credgate.forges.origin import Origin
    from credgate.values import Access


@frozen(slots=True)
class Generic:
    """The driver of kind ``generic``."""

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
        """Return ``path`` without ``.git``, letters as they are."""
        return names.bare_path(path)

    def normal_pattern(self, text: str) -> str | None:
        """Take ``**``, ``group/*`` (any depth of group) or a repository path."""
        if text == "**":
            return text
        group = text.removesuffix("/*")
        if group == text:
            return self.normal(text)
        # A group that ends in ".git" is no group: normal() would drop the suffix and widen the pattern.
        return text if names.bare_path(group) == group else None

    def login(self, secret: str) -> bytes:
        """Return ``Basic username:SECRET`` with the configured user name."""
        return basic(self.forge.username or "x-access-token", secret)

    def path(self, repo_path: str, tail: str, *, dot_git: bool = False) -> str:
        """See :class:`~credgate.forges.driver.Driver`; ``.git`` is sent when the client wrote it."""
        if self.normal(repo_path) is None:
            raise ValueError("not a repository path on this forge")
        suffix = ".git" if dot_git else ""
        return f"{self.origin.prefix}/{repo_path.removesuffix('.git')}{suffix}/{tail}"

    def moved(self, location: bytes) -> str | None:
        """See :class:`~credgate.forges.driver.Driver`."""
        path = self.origin.repository_in(location)
        return None if path is None else self.normal(path)

    def sentence(self, status: int, access: Access) -> str:
        """See :class:`~credgate.forges.driver.Driver`."""
        return sentence(self.forge.name, status, access)
