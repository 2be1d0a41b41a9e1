"""Git clients other than git: dulwich, libgit2, JGit and go-git, each used with one session.

Each clones and pushes. A push returns the text that the client showed if it failed, otherwise ``""``. dulwich and
libgit2 run in this process; JGit (Debian's ``jgit-cli``) and go-git (``gogit.go``, compiled against Debian's
``golang-github-go-git-go-git-dev``) run as commands of a sandbox. The names of missing clients are reported.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pygit2
from attrs import define, field
from dulwich import porcelain
from dulwich.errors import SendPackError

if TYPE_CHECKING:
    from tests.fakes.gateway import Lease
    from tests.fakes.sandbox import Sandbox

JARS = Path("/usr/share/java")
GO_SOURCES = Path("/usr/share/gocode")
USER = "x-gateway-token"
"""The user name that goes with a session, as the shipped helper says it."""
SOURCE = Path(__file__).with_name("gogit.go")


class Client(Protocol):
    """The operations that a test uses."""

    needs: ClassVar[tuple[str, ...]]
    """The tools without which it cannot run, by their names in ``needs.PACKAGES``."""

    def clone(self, url: str, name: str) -> None:
        """Clone into the folder ``name`` of the sandbox's home. Raises or asserts when it fails."""

    def push(self, name: str, spec: str) -> str:
        """Push ``spec`` to ``origin``; all that the client showed if it failed, ``""`` if not."""


@define(eq=False)
class Dulwich:
    """dulwich, by its porcelain."""

    box: Sandbox
    lease: Lease
    needs: ClassVar[tuple[str, ...]] = ()

    def clone(self, url: str, name: str) -> None:
        """Clone."""
        porcelain.clone(url, str(self.box.home / name), errstream=io.BytesIO(), **self._login).close()

    def push(self, name: str, spec: str) -> str:
        """Push; dulwich writes what it was told to a stream, side-band and verdicts alike."""
        said = io.BytesIO()
        try:
            porcelain.push(
                str(self.box.home / name), "origin", spec, outstream=io.BytesIO(), errstream=said, **self._login
            )
        except (SendPackError, porcelain.Error) as error:
            return f"{said.getvalue().decode()}{error}"
        text = said.getvalue().decode()
        return text if "failed" in text else ""

    @property
    def _login(self) -> dict[str, Any]:
        return {"username": USER, "password": self.lease.line}


class _Callbacks(pygit2.RemoteCallbacks):
    def __init__(self, lease: Lease) -> None:
        super().__init__(credentials=pygit2.UserPass(USER, lease.line))
        self.said: list[str] = []
        self.refused: list[str] = []

    def sideband_progress(self, string: str) -> None:
        self.said.append(string)

    def push_update_reference(self, refname: str, message: str | None) -> None:
        if message is not None:
            self.refused.append(f"{refname}: {message}")


@define(eq=False)
class Libgit2:
    """libgit2, by pygit2."""

    box: Sandbox
    lease: Lease
    needs: ClassVar[tuple[str, ...]] = ()

    def clone(self, url: str, name: str) -> None:
        """Clone."""
        pygit2.clone_repository(url, str(self.box.home / name), callbacks=_Callbacks(self.lease))

    def push(self, name: str, spec: str) -> str:
        """Push; libgit2 tells each ref's verdict by a callback."""
        told = _Callbacks(self.lease)
        try:
            pygit2.Repository(str(self.box.home / name)).remotes["origin"].push([spec], callbacks=told)
        except pygit2.GitError as error:
            told.refused.append(str(error))
        return "\n".join([*told.said, *told.refused]) if told.refused else ""


@define(eq=False)
class JGit:
    """JGit's command. Debian's script names too few of its jars, and Java asks nobody where HOME is."""

    box: Sandbox
    lease: Lease
    needs: ClassVar[tuple[str, ...]] = ("jgit", "java")
    _environ: dict[str, str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        jars = [str(jar) for jar in sorted(JARS.glob("org.eclipse.jgit*.jar")) if "-" not in jar.name]
        jars += [str(JARS / name) for name in ("httpclient.jar", "httpcore.jar", "slf4j-nop.jar")]
        options = f"-Duser.home={self.box.home}"
        self._environ = {"JGIT_CLASSPATH": ":".join(jars), "JAVA_TOOL_OPTIONS": options}
        netrc = self.box.home / ".netrc"
        netrc.write_text(f"machine 127.0.0.1 login {USER} password {self.lease.line}\n")
        netrc.chmod(0o600)

    def clone(self, url: str, name: str) -> None:
        """Clone."""
        self.box.run("jgit", "clone", url, name, environ=self._environ).fine()

    def push(self, name: str, spec: str) -> str:
        """Push; JGit prints verdicts as git does, and its exit status does not tell."""
        ran = self.box.run("jgit", "push", "origin", spec, cwd=name, environ=self._environ)
        return ran.out + ran.err if ran.code or "[remote rejected]" in ran.out + ran.err else ""


@define(eq=False)
class GoGit:
    """go-git, as the command that ``build`` compiled."""

    box: Sandbox
    lease: Lease
    command: Path
    needs: ClassVar[tuple[str, ...]] = ("go", "go-git")

    @staticmethod
    def build(folder: Path) -> Path:
        """Compile it, without any network: some 15 s the first time in ``folder``."""
        source, command = folder / "path/src/gogit", folder / "gogit"
        source.mkdir(parents=True, exist_ok=True)
        (source / "go.mod").write_text("module gogit\n")  # so that go takes ".../go-git/v5" as modules mean it
        shutil.copy(SOURCE, source)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GO111MODULE": "off",
            "GOFLAGS": "-p=2",
            "GOPATH": f"{folder / 'path'}:{GO_SOURCES}",
            "GOCACHE": str(folder / "cache"),
        }
        built = subprocess.run(
            ["go", "build", "-o", str(command), "."],
            cwd=source, env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert built.returncode == 0, built.stderr
        return command

    def clone(self, url: str, name: str) -> None:
        """Clone."""
        self.box.run(self.command, "clone", self.box.token_file, url, name).fine()

    def push(self, name: str, spec: str) -> str:
        """Push."""
        ran = self.box.run(self.command, "push", self.box.token_file, name, spec)
        return ran.out + ran.err if ran.code else ""
