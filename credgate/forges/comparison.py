"""Whether one commit is an ancestor of another, by a forge's REST API: the request and the reading of its response.

For forges without the git protocol features that this needs. GitHub compares two commits
(``/repos/O/R/compare/OLD...TIP``; the second page is without files). GitLab (``merge_base``), Bitbucket Cloud
(``merge-base``) and Azure DevOps (``mergebases``) name the merge base of both, which is *old* itself exactly if *old*
is an ancestor. Other kinds have no API for it: an empty list of commits from Bitbucket Data Center is not a proof.

The result is yes, no or unknown. For two commits without common history the forges return an error: unknown. This
module sends nothing, holds no credential and repeats no text of a forge.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from credgate.credentials.token_response import MalformedResponse, Object, read_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.forges.driver import Driver

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_OK = 200
_TOKENS_ONLY = frozenset({"gitlab", "bitbucket"})
"""Kinds whose APIs do not accept logins with a user name: deploy tokens, and users' API tokens."""


def question(driver: Driver, repo_path: str, old: str, tip: str) -> str | None:
    """Return the path below ``driver.api`` that says whether ``old`` is an ancestor of ``tip``, or is it.

    ``repo_path`` is any spelling that the driver takes, ids are hexadecimal as git writes them. ``None``: this forge
    has no such API, or not for this repository or the configured credential.
    """
    asked, path = _KINDS.get(driver.forge.kind), driver.normal(repo_path)
    if asked is None or path is None or driver.api is None or not (_ID.fullmatch(old) and _ID.fullmatch(tip)):
        return None
    parts = path.split("/")
    if parts[-1].endswith(".wiki") or (driver.forge.kind == "gitlab" and parts[-2] == "snippets"):
        return None  # git serves them, but to the API they are not repositories
    if driver.forge.username and driver.forge.kind in _TOKENS_ONLY:
        return None
    return asked[0](parts, old, tip)


def judge(driver: Driver, old: str, status: int, body: bytes) -> bool | None:
    """Read the response to :func:`question`; ``None``: unknown. Never raises."""
    if status != _OK:
        return None
    try:
        answer = read_object(body)
    except MalformedResponse:
        return None
    return _KINDS[driver.forge.kind][1](answer, old)


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _github(parts: list[str], old: str, tip: str) -> str:
    owner, repo = map(_quoted, parts)
    return f"/repos/{owner}/{repo}/compare/{old}...{tip}?per_page=1&page=2"


def _read_github(answer: Object, old: str) -> bool | None:
    status, base = answer.get("status"), _id(answer.get("merge_base_commit"), "sha", old)
    if base is None or _id(answer.get("base_commit"), "sha", old) != old:
        return None
    if status in ("ahead", "identical") and base == old:
        return True
    return False if status in ("behind", "diverged") and base != old else None


def _gitlab(parts: list[str], old: str, tip: str) -> str:
    refs = _quoted("refs[]")
    return f"/projects/{_quoted('/'.join(parts))}/repository/merge_base?{refs}={old}&{refs}={tip}"


def _read_gitlab(answer: Object, old: str) -> bool | None:
    return _same(_id(answer, "id", old), old)


def _bitbucket(parts: list[str], old: str, tip: str) -> str:
    workspace, repo = map(_quoted, parts)
    return f"/repositories/{workspace}/{repo}/merge-base/{old}..{tip}"


def _read_bitbucket(answer: Object, old: str) -> bool | None:
    return _same(_id(answer, "hash", old), old)


def _azure(parts: list[str], old: str, tip: str) -> str:
    organisation, project, _, repo = map(_quoted, parts)
    base = f"/{organisation}/{project}/_apis/git/repositories/{repo}"
    return f"{base}/commits/{old}/mergebases?otherCommitId={tip}&api-version=6.0"


def _read_azure(answer: Object, old: str) -> bool | None:
    found = answer.get("value")
    bases = [_id(one, "commitId", old) for one in found] if isinstance(found, list) else []
    if not bases or None in bases:
        return None
    if bases == [old]:
        return True
    return None if old in bases else False


def _id(found: object, key: str, like: str) -> str | None:
    """Return the commit's id under ``key``, if there is one of the same length as ``like``."""
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) and len(value) == len(like) and _ID.fullmatch(value) else None


def _same(base: str | None, old: str) -> bool | None:
    return None if base is None else base == old


_KINDS: dict[str, tuple[Callable[[list[str], str, str], str], Callable[[Object, str], bool | None]]] = {
    "github": (_github, _read_github),
    "gitlab": (_gitlab, _read_gitlab),
    "bitbucket": (_bitbucket, _read_bitbucket),
    "azure": (_azure, _read_azure),
}
