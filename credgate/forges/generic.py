"""Any smart-HTTP git server: paths of any depth, case-sensitive names, a fixed login, no known API.

For grants, ``x`` and ``x.git`` are one repository. The client's spelling is sent, because servers differ: ``git
http-backend`` finds ``x.git`` for a request of ``x`` but not the reverse, others redirect from one to the other. A URL
that works without the gateway therefore works with it.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from credgate.forges import repository_names
from credgate.forges.driver import Driver


@frozen(slots=True)
class Generic(Driver):
    """The driver of kind ``generic``."""

    shape: ClassVar[str] = "PATH/OF/REPO"

    def normal(self, path: str) -> str | None:
        return repository_names.bare_path(path)

    def group(self, path: str) -> str | None:
        # A name that ends in .git is not a group: it would lose the suffix and name another one.
        return path if repository_names.bare_path(path) == path else None

    def spelled(self, repo_path: str, *, dot_git: bool) -> str:
        return repo_path.removesuffix(".git") + (".git" if dot_git else "")
