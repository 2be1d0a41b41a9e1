"""A work tree, a bare repository, and the gatekeeper between them: what a push does there and what git prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from attrs import define

from tests.fakes import gatekeeper

ROOT = Path(__file__).parents[2]


@define
class Place:
    """A work tree with two commits on main, a bare repository with the first one, and the gatekeeper between."""

    home: Path
    env: dict[str, str]

    @property
    def bare(self) -> Path:
        """The forge's repository."""
        return self.home / "bare.git"

    def run(self, *words: str, where: str = "work", **more: str) -> tuple[int, str]:
        """Run git; its exit status and all that it printed, without trailing blanks."""
        done = subprocess.run(
            ["git", *words],
            cwd=self.home / where,
            env=self.env | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, "\n".join(line.rstrip() for line in (done.stdout + done.stderr).splitlines())

    def git(self, *words: str, where: str = "work") -> str:
        """Run git, which must succeed."""
        status, text = self.run(*words, where=where)
        assert status == 0, text
        return text

    def refs(self) -> dict[str, str]:
        """Return what the forge has."""
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)", where="bare.git").splitlines()
        return dict(line.split(" ") for line in lines)

    def through(self, service: str) -> str:
        """Return the option that puts the gatekeeper in the way."""
        return f"--{service}={self.home / service}"

    def push(
        self, *words: str, grant: dict[str, Any] | None = None, where: str = "work", **more: Any
    ) -> tuple[int, str]:
        """Push through the gatekeeper under a grant and a policy."""
        given = json.dumps({"grant": grant or {}, "policy": more.pop("policy", {})})
        remote = f"file://{self.bare}"
        return self.run("push", self.through("receive-pack"), remote, *words, where=where, GATEKEEPER=given, **more)


def make_place(home: Path, object_format: str = "sha1") -> Place:
    """Make the repositories and the two programs below ``home``."""
    people = {f"GIT_{role}_{part}": "x@example" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C", **people}
    made = Place(home, env)
    for service in ("receive-pack", "upload-pack"):
        script = home / service
        script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} {gatekeeper.__file__} {service} "$@"\n')
        script.chmod(0o755)
    made.git("init", "-q", "-b", "main", f"--object-format={object_format}", "work", where=".")
    made.git("init", "-q", "--bare", f"--object-format={object_format}", "bare.git", where=".")
    made.git("config", "receive.advertisePushOptions", "true", where="bare.git")
    made.git("config", "receive.certNonceSeed", "seed", where="bare.git")
    for text in ("first", "second"):
        made.git("commit", "-q", "--allow-empty", "-m", text)
    made.git("push", "-q", "../bare.git", "main~:refs/heads/main", "main~:refs/heads/agent/old")
    return made
