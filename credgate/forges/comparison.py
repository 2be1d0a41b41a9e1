"""Asks a forge's REST API whether one commit is an ancestor of another: the request, and how to read the answer.

This is for forges that cannot be asked in git's own protocol because they do not support ``filter``. Bitbucket Cloud
(``merge-base``) and Azure DevOps (``mergebases``) name the merge base of two commits. It is *old* itself exactly if
*old* is an ancestor. Bitbucket Data Center has no such request: if it lists no commit, that proves nothing.

An answer is yes, no or unknown. For two commits without common history these forges answer with an error: unknown.
This module sends nothing, holds no credential, and repeats nothing that a forge sent.
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


def question(driver: Driver, repo_path: str, old: str, tip: str) -> str | None:
    """Return the path below ``driver.api`` that tells whether ``old`` is an ancestor of ``tip``, or equal to it.

    ``repo_path`` is any spelling that the driver accepts; ids are hexadecimal. Returns ``None`` if the forge has no
    such request, for this repository or for the configured credential.
    """
    asked, path = _KINDS.get(driver.forge.kind), driver.normal(repo_path)
    if asked is None or path is None or driver.api is None or not (_ID.fullmatch(old) and _ID.fullmatch(tip)):
        return None
    if driver.forge.username and driver.forge.kind == "bitbucket":
        return None  # a user's API token needs a user name, which this API does not accept
    parts = path.split("/")
    if parts[-1].endswith(".wiki"):
        return None  # git serves wikis, but the API does not know them as repositories
    return asked[0](parts, old, tip)


def judge(driver: Driver, old: str, status: int, body: bytes) -> bool | None:
    """Read the answer to :func:`question`; ``None``: unknown. Never raises."""
    if status != _OK:
        return None
    try:
        answer = read_object(body)
    except MalformedResponse:
        return None
    return _KINDS[driver.forge.kind][1](answer, old)


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _bitbucket(parts: list[str], old: str, tip: str) -> str:
    workspace, repo = map(_quoted, parts)
    return f"/repositories/{workspace}/{repo}/merge-base/{old}..{tip}"


def _read_bitbucket(answer: Object, old: str) -> bool | None:
    base = _id(answer, "hash", old)
    return None if base is None else base == old


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
    """Return the commit id under ``key``, if it is one of the same length as ``like``."""
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) and len(value) == len(like) and _ID.fullmatch(value) else None


_KINDS: dict[str, tuple[Callable[[list[str], str, str], str], Callable[[Object, str], bool | None]]] = {
    "bitbucket": (_bitbucket, _read_bitbucket),
    "azure": (_azure, _read_azure),
}
