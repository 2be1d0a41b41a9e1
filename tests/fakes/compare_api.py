"""A server that answers as GitHub's API does to the comparing of two commits, out of real repositories, by real git.

``GET /api/v3/repos/OWNER/REPO/compare/OLD...TIP`` is answered by ``git merge-base`` in that repository: the status,
both commits, and nothing else of an answer. It takes one token, as Bearer.

What it does not prove: that GitHub still answers so, its rate limits, its secondary limits and their words, what it
says of commits that only a fork has, how long it takes over large histories, and that a page past the last one is
answered like the others.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.fakes.api import Asked, FakeApi, Reply
from tests.fakes.repositories import ENVIRON

if TYPE_CHECKING:
    from tests.fakes.repositories import Repositories

_COMPARE = re.compile(r"/repos/([^/]+/[^/]+)/compare/([0-9a-f]{40})\.\.\.([0-9a-f]{40})")
_NOT_FOUND = Reply(404, {"message": "Not Found"})


class CompareApi(FakeApi):
    """Compares commits of ``repositories`` for whoever shows ``secret``."""

    def __init__(self, repositories: Repositories, secret: str) -> None:
        self._repositories, self._secret = repositories, secret
        super().__init__()

    def answer(self, asked: Asked) -> Reply:
        """Compare."""
        if asked.headers.get("authorization") != f"Bearer {self._secret}":
            return Reply(401, {"message": "Bad credentials"})
        found = _COMPARE.fullmatch(asked.path)
        if found is None:
            return _NOT_FOUND
        repo, old, tip = found.groups()
        base = self._base(repo, old, tip)
        if not base:
            return _NOT_FOUND
        status = {(True, True): "identical", (True, False): "ahead", (False, True): "behind"}
        said = status.get((base == old, base == tip), "diverged")
        return Reply(200, {"status": said, "base_commit": {"sha": old}, "merge_base_commit": {"sha": base}})

    def _base(self, repo: str, old: str, tip: str) -> str:
        """Ask git; ``""``: none, or a commit that is not there."""
        words = ["git", "-C", str(self._repositories.folder(repo)), "merge-base", old, tip]
        done = subprocess.run(words, env=ENVIRON, capture_output=True, check=False)
        return done.stdout.decode().strip() if done.returncode == 0 else ""
