"""The shipped compose file, up: images built by the shipped Dockerfiles, a gateway, sandboxes, and the host's scripts.

The build's context is a copy of the source tree into which credentials were dropped wherever somebody may leave them.
Beside the shipped files there is one of the test's own, ``overlay.yml``: limits that this machine allows, the name of
the test's forge, and the address of the network ``egress``. What compose is told by variables it is told by variables.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from tests.containers.machine import LIMITS, environment
from tests.containers.outside import ADDRESS, NAME, Outside

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "credgate-test"
GATEWAY_UID = 10001
IMAGES = {
    "CREDGATE_IMAGE": "localhost/credgate-test/gateway",
    "CREDGATE_SANDBOX_IMAGE": "localhost/credgate-test/sandbox",
}
FILES = ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", ".dockerignore")
FOLDERS = ("credgate", "twisted", "helpers", "docker")
ALLOWED = "allowed.test"


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


def run(*command: str, stdin: str = "", environ: dict[str, str] | None = None, seconds: float = 300) -> Ran:
    """Run a command of the host's."""
    given = environment() | (environ or {})
    ran = subprocess.run(command, input=stdin, capture_output=True, check=False, text=True, timeout=seconds, env=given)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def engine(*arguments: str, stdin: str = "") -> Ran:
    """Run podman."""
    return run("podman", *arguments, stdin=stdin)


@define
class Stand:
    """A compose project, and its surroundings."""

    folder: Path
    base: str
    outside: Outside
    project: str = PROJECT
    second: bool = True
    variables: dict[str, str] = field(factory=dict)

    @property
    def socket(self) -> Path:
        """The control socket, on the host."""
        return self.folder / "run" / "control.sock"

    @property
    def context(self) -> Path:
        """The copy of the source tree."""
        return self.folder / "context"

    def container(self, service: str) -> str:
        """Name the container of a service."""
        return f"{self.project}_{service}_1"

    def lay_out(self) -> None:
        """Make what an operator makes: three directories, a credential, a configuration."""
        for name in ("run", "state", "credentials"):
            place = self.folder / name
            place.mkdir(mode=0o700, exist_ok=True)
            os.chown(place, GATEWAY_UID, GATEWAY_UID)
        authority = self.folder / "credentials" / "authority.pem"
        shutil.copy(self.outside.authority.ca_file, authority)
        credential = self.folder / "credentials" / "github"
        credential.touch(mode=0o400)
        credential.write_text(self.outside.secret + "\n")
        for file in (authority, credential):
            os.chown(file, GATEWAY_UID, GATEWAY_UID)
        self._configure()
        self._overlay()

    def _configure(self) -> None:
        text = (ROOT / "docker" / "credgate.toml").read_text()
        forge = f'url = "{self.outside.url}"\nca_file = "/etc/credgate/credentials/authority.pem"\ninternal = true\n'
        text = text.replace("credential =", f"{forge}credential =")
        upstream = f'upstream = ["{ADDRESS}:{self.outside.resolver_port}"]\n'
        text = text.replace("allow = []", f'{upstream}allow = ["{ALLOWED}"]')
        (self.folder / "credgate.toml").write_text(text)

    def _overlay(self) -> None:
        limit = "".join(f"      {name}: {most}\n" for name, most in LIMITS.items())
        sandboxes = ["dev", *(["dev2"] if self.second else [])]
        text = f"services:\n  gateway:\n    ulimits:\n      nproc: {LIMITS['nproc']}\n"
        text += f'    extra_hosts: ["{NAME}:{ADDRESS}"]\n'
        text += "".join(f"  {name}:\n    ulimits:\n{limit}" for name in sandboxes)
        subnet = self.variables.get("EGRESS", f"{ADDRESS.rpartition('.')[0]}.0/24")
        text += f"networks:\n  egress:\n    ipam:\n      config:\n        - subnet: {subnet}\n"
        (self.folder / "overlay.yml").write_text(text)

    def environ(self, **more: str) -> dict[str, str]:
        """Say the compose files' variables."""
        places = {
            "GATEWAY_SOCKET_DIR": str(self.folder / "run"),
            "GATEWAY_STATE_DIR": str(self.folder / "state"),
            "GATEWAY_CREDENTIALS_DIR": str(self.folder / "credentials"),
            "GATEWAY_CONFIG": str(self.folder / "credgate.toml"),
        }
        return IMAGES | places | self.variables | more

    def compose(self, *arguments: str, **environ: str) -> Ran:
        """Run podman-compose on the shipped files."""
        program = str(Path(sys.executable).with_name("podman-compose"))
        files = ["compose.yml", *(["compose.second.yml"] if self.second else [])]
        options = [word for name in files for word in ("-f", str(ROOT / "docker" / name))]
        options += ["-f", str(self.folder / "overlay.yml")]
        return run(program, "-p", self.project, *options, *arguments, environ=self.environ(**environ))

    def plant(self, names: Iterable[str]) -> None:
        """Copy what a build gets, and leave the credential lying about in it."""
        self.context.mkdir()
        for name in FILES:
            shutil.copy(ROOT / name, self.context / name)
        for name in FOLDERS:
            # What a gateway that was started in docker/ has left there; packages have the same names.
            left = ("run", "state", "credentials") if name == "docker" else ()
            skip = shutil.ignore_patterns("__pycache__", *left)
            shutil.copytree(ROOT / name, self.context / name, ignore=skip)
        for name in names:
            (self.context / name).parent.mkdir(parents=True, exist_ok=True)
            (self.context / name).write_text(self.outside.secret + "\n")

    def build(self) -> None:
        """Build both images by the shipped Dockerfiles, with the package index that this machine's pip uses."""
        index = _pip_settings()
        certificates = [word for word in ("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro") if "PIP_CERT" in index]
        arguments = [word for key, value in index.items() for word in ("--build-arg", f"{key}={value}")]
        for variable, name in (("CREDGATE_IMAGE", "gateway"), ("CREDGATE_SANDBOX_IMAGE", "sandbox")):
            more = [*arguments, *certificates] if name == "gateway" else []
            command = ["buildah", "bud", "--format", "docker", "--network", "host", *more]
            command += ["--build-arg", f"BASE_IMAGE={self.base}", "-t", IMAGES[variable]]
            run(*command, "-f", str(self.context / "docker" / f"{name}.Dockerfile"), str(self.context)).fine()

    def inside(self, service: str, *command: str, user: str = "", stdin: str = "", cwd: str = "") -> Ran:
        """Run a command in a service's container."""
        options = ["-i", *(["-u", user] if user else []), *(["-w", cwd] if cwd else [])]
        return engine("exec", *options, self.container(service), *command, stdin=stdin)

    def script(self, service: str, text: str, *arguments: str, cwd: str = "") -> Ran:
        """Run Python in a service's container; the base image has it."""
        return self.inside(service, "python3", "-c", text, *arguments, cwd=cwd)

    def host(self, script: str) -> Ran:
        """Source the shipped ``gateway.sh`` and run a script on the host."""
        environ = {"CONTAINER_RUNTIME": "podman", "GATEWAY_SOCKET_PATH": str(self.socket)}
        return run("sh", "-c", f"set -eu\n. {ROOT}/helpers/gateway.sh\n{script}", environ=environ)

    def audit(self) -> str:
        """Read the gateway's log: its audit lines are among it."""
        ran = engine("logs", self.container("gateway"))
        return ran.out + ran.err


def _pip_settings() -> dict[str, str]:
    """Say which index and which authority this machine's pip is told to use, as it is told itself."""
    listed = run(sys.executable, "-m", "pip", "config", "list").out.splitlines()
    found: dict[str, str] = {}
    for line in listed:
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in {"index-url", "cert"}:
            found[f"PIP_{name.replace('-', '_').upper()}"] = value.strip("'\"")
    return found
