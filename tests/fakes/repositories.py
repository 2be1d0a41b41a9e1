"""Bare repositories for a forge to serve, made in milliseconds by ``git fast-import``."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "GIT_CONFIG_KEY_1": "init.defaultBranch",
    "GIT_CONFIG_VALUE_1": "main",
}
WHO = "A U Thor <author@example.com>"
MIB = 1024 * 1024


def noise(mib: int, seed: int = 1) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(mib * MIB)


def git(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    """Run git outside of every sandbox; its standard output, stripped."""
    return output(["git", *arguments], stdin).strip()


def output(command: Sequence[str | Path], stdin: bytes = b"") -> bytes:
    """Run a command that must succeed, in an environment of its own; its standard output as it is."""
    done = subprocess.run(command, env=ENVIRON, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Repositories:
    """The repositories under one root; every ``fresh`` name is used once in a run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._numbers = itertools.count(1)

    def fresh(self, owner: str = "octo") -> str:
        """Name an ``owner/name`` that is not in use."""
        return f"{owner}/r{next(self._numbers)}"

    def folder(self, path: str) -> Path:
        """Where the repository lies."""
        return self.root / f"{path}.git"

    def empty(self, path: str = "", *, object_format: str = "sha1") -> str:
        """Make an empty repository; its path."""
        path = path or self.fresh()
        git("init", "-q", "--bare", f"--object-format={object_format}", self.folder(path))
        return path

    def seeded(
        self,
        path: str = "",
        *,
        files: Sequence[Mapping[str, bytes]] = ({"README": b"one\n"}, {"README": b"two\n"}),
        links: Mapping[str, str] | None = None,
        object_format: str = "sha1",
    ) -> str:
        """Make a repository with one commit on ``main`` for each of ``files``, and gitlinks in the last; its path."""
        path = self.empty(path, object_format=object_format)
        stream = b"".join(_commit(number, tree) for number, tree in enumerate(files, 1))
        stream += b"".join(f"M 160000 {oid} {name}\n".encode() for name, oid in (links or {}).items())
        git("-C", self.folder(path), "fast-import", "--quiet", stdin=stream + b"\ndone\n")
        return path

    def tags(self, path: str, count: int) -> None:
        """Tag the head of ``main`` this many times."""
        head = self.head(path)
        lines = [f"{head} refs/heads/main\n", *(f"{head} refs/tags/t{number:05d}\n" for number in range(count))]
        header = "# pack-refs with: peeled fully-peeled sorted \n"
        (self.folder(path) / "packed-refs").write_text(header + "".join(lines))

    def head(self, path: str, ref: str = "refs/heads/main") -> str:
        """Find the object that ``ref`` names; ``""`` when there is no such ref."""
        return git("-C", self.folder(path), "for-each-ref", "--format=%(objectname)", ref).decode()


def _commit(number: int, tree: Mapping[str, bytes]) -> bytes:
    message = f"commit {number}\n".encode()
    head = f"commit refs/heads/main\ncommitter {WHO} {1700000000 + number} +0000\n".encode()
    stream = head + b"data %d\n%b" % (len(message), message)
    for name, content in tree.items():
        stream += b"M 100644 inline %b\ndata %d\n%b\n" % (name.encode(), len(content), content)
    return stream
