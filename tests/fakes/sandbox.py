"""A sandbox: a clean HOME, the shipped helper and gitconfig, one session, and real git.

Set up by ``credgate-sandbox enable`` alone, with the paths that would be the system's led into the sandbox's folder.
``login`` says how the session is shown: ``helper`` is the credential helper (Basic), ``bearer`` a URL-scoped
``http.<gateway>.extraHeader`` as an operator may configure it instead. ``CREDGATE_TEST_GIT`` names a folder whose git
sandboxes use instead of the machine's: what is shown holds for more than one version of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

HELPERS = Path(__file__).resolve().parents[2] / "helpers"
LOGINS = ("helper", "bearer")


def search_path() -> str:
    """Say where a sandbox looks for commands."""
    other = os.environ.get("CREDGATE_TEST_GIT")
    return f"{other}:{os.environ['PATH']}" if other else os.environ["PATH"]


@frozen
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    def fine(self) -> str:
        """Assert that it succeeded; its standard output, stripped."""
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        return self.out.strip()

    def refused(self) -> str:
        """Assert that it failed, and was not called a success as well; its standard error."""
        assert self.code != 0, f"this should have been refused:\n{self.out}\n{self.err}"
        assert "Everything up-to-date" not in self.err + self.out
        return self.err


@define(eq=False)
class Sandbox:
    """One sandbox's folder, pointed at ``gateway_url``."""

    folder: Path
    gateway_url: str
    login: str = "helper"
    environ: dict[str, str] = field(factory=dict)
    said: list[str] = field(factory=list, repr=False)
    """Everything that commands printed here."""

    def __attrs_post_init__(self) -> None:
        self.home.mkdir(parents=True)
        self.environ = {
            "PATH": search_path(),
            "HOME": str(self.home),
            "LC_ALL": "C",
            "GIT_CONFIG_SYSTEM": str(self.system_config),
            "GIT_TERMINAL_PROMPT": "0",
            "SANDBOX_GATEWAY_ENABLED": "true",
            "CREDGATE_GITCONFIG": str(self.system_config),
            "CREDGATE_TOKEN_FILE": str(self.token_file),
        } | self.environ

    @property
    def home(self) -> Path:
        """HOME, and where repositories are cloned to."""
        return self.folder / "home"

    @property
    def system_config(self) -> Path:
        """What stands for /etc/gitconfig."""
        return self.folder / "gitconfig"

    @property
    def token_file(self) -> Path:
        """What stands for /run/secrets/gateway_token."""
        return self.folder / "gateway_token"

    def enable(self) -> Sandbox:
        """Do what a sandbox's entry point does."""
        self.run(str(HELPERS / "credgate-sandbox"), "enable", "--gateway", self.gateway_url).fine()
        self.git("config", "--global", "user.name", "A U Thor").fine()
        self.git("config", "--global", "user.email", "author@example.com").fine()
        self.git("config", "--global", "init.defaultBranch", "main").fine()
        self.git("config", "--global", "advice.detachedHead", "false").fine()
        return self

    def show(self, line: str) -> Sandbox:
        """Put ``TOKEN:SECRET`` where this sandbox's login looks for it."""
        if self.login == "bearer":
            key = f"http.{self.gateway_url}/.extraHeader"
            self.git("config", "--global", "--replace-all", key, f"Authorization: Bearer {line}").fine()
        else:
            self.token_file.write_text(line + "\n")
            self.token_file.chmod(0o400)
        return self

    def run(
        self, *command: str | Path, cwd: str = "", environ: Mapping[str, str] | None = None, seconds: float = 120
    ) -> Ran:
        """Run a command in HOME, or in a folder below it."""
        process = self.begin(*command, cwd=cwd, environ=environ)
        return self.finish(process, seconds=seconds)

    def begin(
        self, *command: str | Path, cwd: str = "", environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command and let it run; ``finish`` waits for it."""
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.home / cwd,
            env=self.environ | dict(environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str], *, seconds: float = 120) -> Ran:
        """Wait for a begun command."""
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # git's own children hold the pipes, too
            out, err = process.communicate()
            raise AssertionError(f"{process.args!r} ran longer than {seconds} s\n{out}\n{err}") from None
        self.said += [out, err]
        return Ran(process.returncode, out, err)

    def git(self, *arguments: str | Path, cwd: str = "", environ: Mapping[str, str] | None = None) -> Ran:
        """Run git."""
        return self.run("git", *arguments, cwd=cwd, environ=environ)

    def commit(self, cwd: str, name: str, content: bytes) -> str:
        """Commit one file; the commit."""
        (self.home / cwd / name).write_bytes(content)
        self.git("add", name, cwd=cwd).fine()
        self.git("commit", "-q", "-m", f"change {name}", cwd=cwd).fine()
        return self.git("rev-parse", "HEAD", cwd=cwd).fine()


def address(path: str) -> str:
    """How people write the repository's address."""
    return f"https://github.com/{path}.git"
