"""A fake of Bitbucket Cloud's merge-base API, which answers from real repositories by git.

``GET /repositories/WORKSPACE/REPO/merge-base/OLD..TIP`` is answered by ``git merge-base`` in that repository. One token
is accepted, as Bearer.

It does not prove that Bitbucket still answers so, its rate limits and their texts, its answer for commits of a fork, or
how long it takes over large histories.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.fakes.api import Asked, FakeApi, Reply
from tests.fakes.repositories import ENVIRON

if TYPE_CHECKING:
    from tests.fakes.repositories import Repositories

_MERGE_BASE = re.compile(r"/repositories/([^/]+/[^/]+)/merge-base/([0-9a-f]{40})\.\.([0-9a-f]{40})")
_NOT_FOUND = Reply(404, {"type": "error", "error": {"message": "Not Found"}})


class CompareApi(FakeApi):
    """Finds merge bases in ``repositories`` for requests that carry ``secret``."""

    def __init__(self, repositories: Repositories, secret: str) -> None:
        self._repositories, self._secret = repositories, secret
        super().__init__()

    def answer(self, asked: Asked) -> Reply:
        """Find the merge base."""
        if asked.headers.get("authorization") != f"Bearer {self._secret}":
            return Reply(401, {"type": "error", "error": {"message": "Bad credentials"}})
        found = _MERGE_BASE.fullmatch(asked.path)
        base = self._base(*found.groups()) if found else ""
        return Reply(200, {"type": "commit", "hash": base}) if base else _NOT_FOUND

    def _base(self, repo: str, old: str, tip: str) -> str:
        """Ask git. ``""`` if there is no merge base, or a commit is missing."""
        words = ["git", "-C", str(self._repositories.folder(repo)), "merge-base", old, tip]
        done = subprocess.run(words, env=ENVIRON, capture_output=True, check=False)
        return done.stdout.decode().strip() if done.returncode == 0 else ""
