"""Whether a project still has the name in a grant, by GitLab's API: the request and the reading of its response.

GitLab serves a project that was renamed or transferred to another group under its old path, without a redirect, until
another project takes that path. Git's protocol does not show this; ``GET /projects/<path>`` does: it answers with the
project's present ``path_with_namespace``, or redirects to the project by its number. For a wiki or a project's snippet
the project is checked; personal snippets have no path that could change hands, and are not checked.

This module sends nothing, holds no credential and repeats no text of a forge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from credgate.credentials.token_response import MalformedResponse, read_object

if TYPE_CHECKING:
    from credgate.forges.driver import Driver

KINDS = ("gitlab",)
"""The kinds of forges with such an API."""
_OK = 200
_MOVED = frozenset({301, 302, 303, 307, 308})


def project_of(path: str) -> str | None:
    """Return the path of the project that a repository (in normal form) belongs to; ``None``: it has none."""
    # A wiki, and a project's snippet, change hands with the project; personal snippets have no project.
    parts = path.removesuffix(".wiki").split("/")
    if "snippets" in parts[-2:-1]:
        parts = parts[:-2]
    return "/".join(parts) if len(parts) > 1 else None


def question(driver: Driver, path: str) -> str | None:
    """Return the path below ``driver.api`` of the request for the present name; ``None``: there is none."""
    project = project_of(path)
    if driver.forge.kind not in KINDS or driver.api is None or project is None:
        return None
    return f"/projects/{quote(project, safe='')}"


def judge(driver: Driver, path: str, status: int, body: bytes) -> bool | None:
    """Whether the project still has this name; ``None``: unknown. Never raises."""
    # GitLab redirects the old path to the project by its number.
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
