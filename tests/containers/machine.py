"""What containers need of a machine: asked for, installed where that can be done, and tried out.

``prepare`` either returns a base image that runs, or raises ``Unfit`` with one line that says what is missing. That is
the only thing that skips these tests: a machine on which podman cannot run a container at all proves nothing about
credgate. From there on every failure is a failure.

The base image is a debootstrap tree of the release that the machine runs, from the package source that the machine is
configured with; no registry is asked for an image. It is kept in podman's store for the next run.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

TOOLS = ("podman", "runc", "buildah", "debootstrap", "netavark", "aardvark-dns", "iptables", "git", "curl")
TREE = ("python3", "python3-venv", "ca-certificates")
BASE = "localhost/credgate-test/base"
TRIAL = "credgate-test-trial"
LIMITS = {
    # Below the hard limits: an engine that asks for more than it may have starts nothing.
    "nofile": min(16384, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
    "nproc": min(8192, resource.getrlimit(resource.RLIMIT_NPROC)[1]),
}


class Unfit(Exception):  # noqa: N818 - no error of the tests: a fact about the machine
    """Containers cannot be had here."""


def prepare() -> str:
    """Return the name of a base image that runs here. Raises Unfit."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        raise Unfit("installing podman, and networks of its own, take root on Linux")
    if shutil.which("apt-get") is None:
        raise Unfit("only Debian's and Ubuntu's packages are known here (apt-get)")
    install([tool for tool in TOOLS if not _installed(tool)])
    image = f"{BASE}:{_release()}"
    if subprocess.run(["podman", "image", "exists", image], check=False).returncode != 0:
        make_base(image)
    try_out(image)
    return image


def tool(*command: str, seconds: float = 600) -> str:
    """Run a tool of the machine's; its standard output. Raises Unfit with its last words."""
    try:
        ran = subprocess.run(command, capture_output=True, check=False, text=True, timeout=seconds, env=environment())
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unfit(f"{command[0]}: {error}") from None
    if ran.returncode != 0:
        last = " / ".join((ran.stderr.strip() or ran.stdout.strip()).splitlines()[-3:])
        raise Unfit(f"{' '.join(command[:3])}: exit {ran.returncode}: {last}")
    return ran.stdout


def environment() -> dict[str, str]:
    """Say what package tools and engines are run with."""
    return os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


def _installed(package: str) -> bool:
    command = ["dpkg-query", "-W", "-f", "${Status}", package]
    return "ok installed" in subprocess.run(command, capture_output=True, check=False, text=True).stdout


def install(missing: list[str]) -> None:
    """Install packages; no service starts by it: podman needs none."""
    if not missing:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        tool("apt-get", "update", "-q")
        tool("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing)
    finally:
        if ours:
            policy.unlink()


def _release() -> str:
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def sources(release: str) -> list[tuple[str, str, str]]:
    """List the machine's package sources of this release, as (address, suite, component); its main one first."""
    told = tool("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    lines = [(uri, suite, part) for uri, suite, part in (line.split() for line in told.splitlines())]
    first = [line for line in lines if line[1:] == (release, "main")]
    if not first:
        raise Unfit(f"no package source of {release} is configured")
    return first[:1] + [line for line in lines if line[0] == first[0][0] and line not in first[:1]]


def make_base(image: str) -> None:
    """Make the base image out of packages."""
    release = _release()
    listed = sources(release)
    with tempfile.TemporaryDirectory(prefix="cg-base-") as folder:
        tree = Path(folder) / "tree"
        tool("debootstrap", "--variant=minbase", f"--include={','.join(TREE)}", release, str(tree), listed[0][0])
        (tree / "etc/apt/sources.list").write_text("".join(f"deb {' '.join(line)}\n" for line in dict.fromkeys(listed)))
        for place in (tree / "var/cache/apt/archives").glob("*.deb"):
            place.unlink()
        tool("tar", "-C", str(tree), "-cf", f"{folder}/base.tar", ".")
        tool("podman", "import", "-q", f"{folder}/base.tar", image)


def limits() -> list[str]:
    """Say the limits as options of ``podman run``."""
    return [word for name, most in LIMITS.items() for word in ("--ulimit", f"{name}={most}:{most}")]


def try_out(image: str) -> None:
    """Run containers, on an internal network of their own; if the storage driver cannot, another may."""
    try:
        _run_one(image)
    except Unfit:
        if os.environ.get("STORAGE_DRIVER"):
            raise
        os.environ["STORAGE_DRIVER"] = "vfs"  # a store of its own: the image has to come again
        make_base(image)
        _run_one(image)


def _run_one(image: str) -> None:
    """Two containers on one network, one connects to the other; and a build that runs something."""
    _forget()
    tool("podman", "network", "create", "--internal", "--disable-dns", "--subnet", "10.77.250.0/24", TRIAL)
    try:
        serve = "import socket; s = socket.create_server(('', 7777))\nwhile True: s.accept()"
        place = ["--network", f"{TRIAL}:ip=10.77.250.9", "--name", TRIAL]
        tool("podman", "run", "-d", *place, *limits(), image, "python3", "-c", serve)
        ask = "import socket, sys\nwhile socket.socket().connect_ex(('10.77.250.9', 7777)): pass"
        tool("podman", "run", "--rm", "--network", TRIAL, *limits(), image, "timeout", "20", "python3", "-c", ask)
        tool("podman", "exec", TRIAL, "true")
        with tempfile.TemporaryDirectory(prefix="cg-trial-") as folder:
            (Path(folder) / "Dockerfile").write_text(f"FROM {image}\nRUN true\n")
            tool("buildah", "bud", "--format", "docker", "--network", "host", "-t", f"{BASE}-trial", folder)
    finally:
        _forget()


def _forget() -> None:
    """Leave nothing of a trial, this one's or an interrupted one's."""
    for words in (["rm", "-f", "-t", "0", TRIAL], ["network", "rm", "-f", TRIAL], ["rmi", "-f", f"{BASE}-trial"]):
        subprocess.run(["podman", *words], capture_output=True, check=False, env=environment())
