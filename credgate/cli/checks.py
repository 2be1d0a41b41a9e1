"""What ``credgate doctor`` looks at on the machine itself, without asking the gateway.

Each function looks at one thing and returns a ``Finding``: what it is, whether it is well, and the command that mends
it. Nothing is changed. Where a look is not possible the state is ``unknown``, never ``ok``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import dnslib
from attrs import field, frozen

if TYPE_CHECKING:
    from pathlib import Path

OK, WRONG, UNKNOWN = "ok", "wrong", "unknown"
PATIENCE = 3.0
"""Seconds that a port or a resolver may take."""
ENGINES = ("docker", "podman")


@frozen
class Finding:
    """What was looked at, its state (``ok``, ``wrong``, ``unknown``), and what to do if it is not ok."""

    what: str
    state: str
    text: str
    mend: str = field(default="")


def control_socket(path: Path) -> Finding:
    """Whether the control socket is there, and closed to others."""
    what = "control socket"
    try:
        found = path.lstat()
        above = path.parent.stat()
    except FileNotFoundError:
        return Finding(
            what, WRONG, f"{path} is not there", "twistd -n credgate (or --socket PATH of the one that runs)"
        )
    except PermissionError:
        return Finding(what, WRONG, f"{path.parent} may not be entered by uid {os.geteuid()}", "sudo credgate doctor")
    if not stat.S_ISSOCK(found.st_mode):
        return Finding(what, WRONG, f"{path} is no socket", f"rm {path}, then start the gateway")
    if above.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Finding(what, WRONG, f"{path.parent} is writable by others", f"chmod go-w {path.parent}")
    return Finding(what, OK, f"{path}, mode {stat.S_IMODE(found.st_mode):04o}, uid {found.st_uid}")


def port(what: str, address: str) -> Finding:
    """Whether a listener's TCP port accepts a connection."""
    host, _, number = address.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host).strip("[]")  # noqa: S104 - compared, not bound
    if not address or not number.isdigit():
        return Finding(
            what, UNKNOWN if address else WRONG, f"{address or 'not bound'}", "restart the gateway; see its log"
        )
    try:
        with closing(socket.create_connection((host, int(number)), PATIENCE)):
            return Finding(what, OK, f"{address} accepts connections")
    except OSError as error:
        return Finding(what, WRONG, f"{address}: {error}", "restart the gateway; see its log")


def resolver(server: str) -> Finding:
    """Whether a resolver that the gateway asks answers a question for the root's name servers."""
    host, _, number = server.partition("#")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    what, mend = f"resolver {server}", "name one that answers: [dns] upstream in credgate.toml, then credgate reload"
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as asking:
        asking.settimeout(PATIENCE)
        try:
            asking.connect((host, int(number or 53)))
            asking.send(dnslib.DNSRecord.question(".", "NS").pack())
            answer = dnslib.DNSRecord.parse(asking.recv(4096))
        except (OSError, dnslib.DNSError) as error:
            return Finding(what, WRONG, f"no answer: {error}", mend.replace("credgate reload", "kill -HUP the gateway"))
    return Finding(what, OK, f"answers ({dnslib.RCODE.get(answer.header.rcode)})")


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), as far as its size matters; ``modes`` 0 changes nothing."""

    _fields_ = [("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 512)]


def clock() -> Finding:
    """Whether the kernel believes its clock: forges refuse signed tokens whose time is a minute off."""
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(_Timex()))
    except (OSError, AttributeError):
        state = -1
    mend = "timedatectl set-ntp true"
    if state < 0:
        return Finding("clock", UNKNOWN, "the kernel does not say whether it is synchronised", mend)
    if state == 5:  # noqa: PLR2004 - TIME_ERROR
        return Finding("clock", UNKNOWN, "not synchronised, says the kernel (in a container it may not know)", mend)
    return Finding("clock", OK, "synchronised")


_INSIDE = """\
command -v git >/dev/null 2>&1 || { echo 'git is not installed'; exit 3; }
command -v credgate-sandbox >/dev/null 2>&1 || { echo 'credgate-sandbox is not installed'; exit 4; }
credgate-sandbox status
"""
_MOST_SAID = 4096
"""Bytes of what a container says that are read."""
_CONTAINER_PATIENCE = 30.0
"""Seconds that a container may take."""


def container(name: str) -> Finding:
    """Whether a container has the helper, is switched on and holds a session."""
    what = f"container {name}"
    engine = next((one for one in ENGINES if shutil.which(one)), None)
    if engine is None:
        return Finding(what, UNKNOWN, "neither docker nor podman is on the PATH", "run this where the containers are")
    command = [engine, "exec", name, "sh", "-c", _INSIDE]
    try:
        status, said = _said(command)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(what, UNKNOWN, f"{engine} exec: {error}", f"{engine} ps")
    return judged(what, engine, name, status, said.strip().splitlines())


def _said(command: list[str]) -> tuple[int, str]:
    """Return a command's exit status and the beginning of what it says: a container may say gigabytes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as ran:  # noqa: S603 - the operator's own container
        assert ran.stdout is not None
        cut = threading.Timer(_CONTAINER_PATIENCE, ran.kill)
        cut.start()
        try:
            said = ran.stdout.read(_MOST_SAID)
            ran.stdout.close()  # what it still says ends it: EPIPE
            status = ran.wait()
        finally:
            cut.cancel()
    if status == -signal.SIGKILL:
        raise subprocess.TimeoutExpired(command, _CONTAINER_PATIENCE)
    return status, said.decode(errors="replace")


def judged(what: str, engine: str, name: str, status: int, said: list[str]) -> Finding:
    """Say what a look into a container means."""
    text = "; ".join(said)[:200] or f"exit status {status}"
    install = f"{engine} cp git-credential-credgate, credgate-sandbox and gitconfig.credgate to {name}:/usr/local/bin/"
    if status == 0 and not any("session: none" in line for line in said):
        return Finding(what, OK, text)
    if status == 0:
        return Finding(what, WRONG, text, "credgate session create --token-file FILE, and mount FILE there")
    if status in {3, 4}:
        return Finding(what, WRONG, text, "apt-get install git in its image" if status == 3 else install)  # noqa: PLR2004 - as in _INSIDE
    if status == 1 and text.startswith("disabled"):
        mend = f"{engine} exec -u 0 -e SANDBOX_GATEWAY_ENABLED=true {name} credgate-sandbox enable --gateway URL"
        return Finding(what, WRONG, text, mend)
    return Finding(what, UNKNOWN, text, f"{engine} ps")
