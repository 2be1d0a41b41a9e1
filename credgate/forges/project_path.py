"""Whether a project still has the name that a grant gives it, as GitLab's API tells: what to ask, how to read it.

GitLab serves a project that was renamed or transferred to another group under its old path, without a redirect, until
another project takes that path. Git's protocol does not show this; ``GET /projects/<path>`` does: it answers with the
project's present ``path_with_namespace``, or redirects to the project by its number. A wiki is asked about by its
project, and so is a project's snippet; personal snippets have no path that could change hands, and no question.

Sends no request, holds no credential, and repeats nothing that a forge says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from credgate.credentials.token_response import MalformedResponse, read_object

if TYPE_CHECKING:
    from credgate.forges.driver import Driver

KINDS = ("gitlab",)
"""Of forges that can be asked."""
_OK = 200
_MOVED = frozenset({301, 302, 303, 307, 308})


def project_of(path: str) -> str | None:
    """Return the path of the project that a repository (in normal form) belongs to; ``None``: it has none."""
    parts = path.removesuffix(".wiki").split("/")
    if "snippets" in parts[-2:-1]:
        parts = parts[:-2]
    return "/".join(parts) if len(parts) > 1 else None


def question(driver: Driver, path: str) -> str | None:
    """Return the path below ``driver.api`` that tells the present name; ``None``: there is no such question."""
    project = project_of(path)
    if driver.forge.kind not in KINDS or driver.api is None or project is None:
        return None
    return f"/projects/{quote(project, safe='')}"


def judge(driver: Driver, path: str, status: int, body: bytes) -> bool | None:
    """Whether the project is still called so; ``None``: the answer does not tell. Never raises."""
    if status in _MOVED:
        return False
    if status != _OK:
        return None
    try:
        found = read_object(body).get("path_with_namespace")
    except MalformedResponse:
        return None
    present = driver.normal(found) if isinstance(found, str) else None
    return None if present is None else present == project_of(path)
