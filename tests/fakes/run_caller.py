"""``credgate run`` as a real process, started by a caller whose environment and HOME contain credentials."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from attrs import define, field

from tests.fakes.gateway import clean_environment
from tests.fakes.needs import demand, found, not_here
from tests.fakes.sandbox import Ran
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.gateway import Gateway

CREDGATE = [sys.executable, "-m", "credgate.cli.main"]

NAMED = (
    *("GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD", "FORGE_TOKEN"),
    *("GH_PAT", "GITHUB_PAT", "CR_PAT", "SSHPASS", "DB_PWD", "SIGNING_KEY", "NPM_AUTH", "SERVICE_JWT_1", "X"),
)
"""Variables of the caller that contain the secret."""

BUILDERS: dict[str, dict[str, str]] = {
    "bubblewrap": {},
    "bubblewrap as root": {
        "bwrap": """case "$*" in *--unshare-user*) echo 'bwrap: not for you' >&2; exit 1;; esac; exec {bwrap} "$@" """,
    },
}
"""The ways in which bubblewrap creates the namespaces of ``--isolate``: scripts that replace programs."""

TRIALS = {
    "bubblewrap": ["bwrap", "--unshare-user", "--unshare-net", "--unshare-pid", "--dev-bind", "/", "/", "true"],
    "bubblewrap as root": ["bwrap", "--unshare-net", "--unshare-pid", "--dev-bind", "/", "/", "true"],
}
"""What must succeed for each of them: containers and chroots forbid it, and the last one needs root."""


def isolates() -> None:
    """Skip the running test if this machine cannot create namespaces."""
    if not any(found(words[0]) and _builds(builder) for builder, words in TRIALS.items()):
        not_here("no namespaces can be created on this machine")


def _builds(builder: str) -> bool:
    return subprocess.run(TRIALS[builder], capture_output=True, check=False).returncode == 0


def only(builder: str, folder: Path) -> str:
    """Return a PATH with which bubblewrap works only in this way. Skip the test if it does not work on this machine."""
    demand("bwrap")
    bwrap = shutil.which("bwrap") or ""
    if not _builds(builder):
        not_here(f"{builder} cannot create namespaces on this machine")
    folder.mkdir()
    for program, script in BUILDERS[builder].items():
        (folder / program).write_text("#!/bin/sh\n" + script.replace("{bwrap}", bwrap))
        (folder / program).chmod(0o700)
    return f"{folder}:{os.environ['PATH']}"


@define(eq=False)
class Caller:
    """A caller: home directory, project directory and environment, all with credentials."""

    folder: Path
    secret: str = field(repr=False)
    gateway: Gateway | None = None
    """The running gateway, if there is one."""

    def __attrs_post_init__(self) -> None:
        for directory in (self.home / ".ssh", self.project, self.run):
            directory.mkdir(parents=True, mode=0o700)
        (self.home / ".ssh" / "id_ed25519").write_text(self.secret)
        (self.home / ".netrc").write_text(f"machine github.com login x password {self.secret}\n")
        store = f'[credential]\n\thelper = "!f() {{ echo username=x; echo password={self.secret}; }}; f"\n'
        (self.home / ".gitconfig").write_text(f"[user]\n\tname = A U Thor\n\temail = author@example.com\n{store}")

    @property
    def home(self) -> Path:
        """The value of HOME."""
        return self.folder / "home"

    @property
    def project(self) -> Path:
        """The current directory of commands."""
        return self.home / "project"

    @property
    def run(self) -> Path:
        """XDG_RUNTIME_DIR, in which the directories of sessions are created."""
        return self.folder / "run"

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables, including tokens and agents."""
        made = clean_environment() | dict.fromkeys(NAMED, self.secret)
        made |= {"DATABASE_URL": f"postgres://me:{self.secret}@db/x", "HTTPS_PROXY": f"http://me:{self.secret}@proxy:1"}
        made |= {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.run), "SSH_AUTH_SOCK": "/run/agent", "LC_ALL": "C"}
        made |= {"GIT_ASKPASS": "/bin/false", "PLAIN": "stays", "XDG_STATE_HOME": str(self.folder / "state")}
        return made | ({"CREDGATE_SOCKET": str(self.gateway.control_socket)} if self.gateway is not None else {})

    def begin(self, *words: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start ``credgate run`` with these words; ``before`` are words before the command."""
        return subprocess.Popen(
            [*before, *CREDGATE, "run", *words],
            cwd=self.project,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wrapped(self, *words: str) -> Ran:
        """Start ``credgate run`` and wait for its end."""
        return finish(self.begin(*words))

    def remaining(self) -> list[str]:
        """Return the directories of sessions that exist."""
        return sorted(path.name for path in self.run.iterdir())


def finish(process: subprocess.Popen[str]) -> Ran:
    """Wait for the end of a process."""
    out, err = process.communicate(timeout=60)
    return Ran(process.returncode, out, err)


def appears(path: Path) -> str:
    """Wait for a file that is not empty; return its content."""
    return wait_until(lambda: path.read_text().strip() if path.exists() else "", f"{path.name} is written")
