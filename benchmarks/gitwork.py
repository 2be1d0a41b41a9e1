"""Real git: seconds to clone a large repository, and to push its contents into an empty one.

The server is nginx + fcgiwrap + ``git http-backend``. The contents do not compress, so the transferred size is that of
the repository. Packs are stored as received (``receive.unpackLimit``) and git searches no deltas (``pack.window``):
both would take longer than the transfer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from tests.fakes.repositories import git, noise

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.targets import Place, World

FILE_MIB = 4


class GitWork:
    """The repository, and where it is cloned to."""

    def __init__(self, world: World, mib: int) -> None:
        self._repositories = world.repositories
        self._folder = world.scratch / "work"
        self._folder.mkdir()
        files = {f"f{number:04d}": noise(FILE_MIB, number) for number in range(max(1, mib // FILE_MIB))}
        self.path = self._repositories.seeded("bench/large", files=[files])
        bare = self._repositories.folder(self.path)
        git("-C", bare, "config", "pack.window", "0")
        git("-C", bare, "repack", "-adq")
        self.head = self._repositories.head(self.path)
        self._source = self._folder / "source.git"
        git("clone", "-q", "--bare", bare, self._source)
        self.bytes = sum(len(content) for content in files.values())

    def clone(self, place: Place) -> float:
        """Clone; seconds."""
        copy = self._folder / "copy"
        took = self._timed(place, "clone", "-q", "--bare", self._url(place, self.path), str(copy))
        assert git("-C", copy, "rev-parse", "HEAD").decode() == self.head
        shutil.rmtree(copy)
        return took

    def push(self, place: Place) -> float:
        """Push everything into an empty repository; seconds."""
        path = self._repositories.empty(self._repositories.fresh("bench"))
        bare = self._repositories.folder(path)
        git("-C", bare, "config", "http.receivepack", "true")
        git("-C", bare, "config", "receive.unpackLimit", "1")
        took = self._timed(place, "-C", str(self._source), "push", "-q", self._url(place, path), "HEAD:refs/heads/main")
        assert self._repositories.head(path) == self.head
        shutil.rmtree(bare)
        return took

    def _url(self, place: Place, path: str) -> str:
        return f"http://127.0.0.1:{place.port}{place.prefix}/{path}.git"

    def _timed(self, place: Place, *arguments: str) -> float:
        variables = environ(self._folder, place)
        began = time.perf_counter()
        ran = subprocess.run(
            ["git", *arguments], env=variables, capture_output=True, text=True, timeout=300, check=False
        )
        took = time.perf_counter() - began
        assert ran.returncode == 0, f"{place.name}: {ran.stderr}"
        return took


def environ(home: Path, place: Place) -> dict[str, str]:
    """Give git its login by the environment: not in a URL, not in an argument."""
    pairs = [("http.extraHeader", place.fields[0]), ("pack.window", "0"), ("gc.auto", "0")]
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    variables["GIT_CONFIG_COUNT"] = str(len(pairs))
    for number, (key, value) in enumerate(pairs):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables
