"""Any smart-HTTP git server: paths of any depth, names compared as they are, a fixed login.

``x`` and ``x.git`` are one repository, for grants and for comparing. Which of the two is sent follows the client,
because servers differ: ``git http-backend`` finds ``x.git`` when asked for ``x`` but not the reverse, others redirect
from one to the other. So a URL that works without a gateway works with it. Nothing is known of an API.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from credgate.forges import names
from credgate.forges.driver import Driver


@frozen(slots=True)
class Generic(Driver):
    """The driver of kind ``generic``."""

    shape: ClassVar[str] = "PATH/OF/REPO"

    def normal(self, path: str) -> str | None:
        """Return ``path`` without ``.git``, letters as they are."""
        return names.bare_path(path)

    def group(self, path: str) -> str | None:
        """Take groups of any depth; one that ends in ``.git`` is none: it would lose the suffix and be another."""
        return path if names.bare_path(path) == path else None

    def spelled(self, repo_path: str, *, dot_git: bool) -> str:
        """Send ``.git`` when the client wrote it."""
        return repo_path.removesuffix(".git") + (".git" if dot_git else "")
