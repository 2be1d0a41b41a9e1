"""The checks of ``credgate doctor`` on the machine itself, without a request to the gateway.

Each function makes one check and returns a ``Finding``: the state of one thing and the command that repairs it. The
checks change nothing. If something cannot be checked, its state is ``unknown``, never ``ok``.
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
NETWORK_TIMEOUT = 3.0
"""Seconds for a connection to a port, and for a resolver's answer."""
CONTAINER_TIMEOUT = 30.0
MAX_CONTAINER_OUTPUT = 4096
"""Bytes that are read of a container's output."""
ENGINES = ("docker", "podman")
_TIME_ERROR = 5
"""Of adjtimex(2): the clock is not synchronised."""
_NO_GIT, _NO_HELPER = 3, 4
_CONTAINER_SCRIPT = f"""\
command -v git >/dev/null 2>&1 || {{ echo 'git is not installed'; exit {_NO_GIT}; }}
command -v credgate-sandbox >/dev/null 2>&1 || {{ echo 'credgate-sandbox is not installed'; exit {_NO_HELPER}; }}
credgate-sandbox status
"""


@frozen
class Finding:
    """The result of a check: its subject, the state (``ok``, ``wrong``, ``unknown``), details, and what repairs it."""

    what: str
    state: str
    text: str
    mend: str = field(default="")


def control_socket(path: Path) -> Finding:
    """Check that the control socket exists and that other users cannot replace it."""
    what = "control socket"
    try:
        found = path.lstat()
        directory = path.parent.stat()
    except FileNotFoundError:
        return Finding(
            what, WRONG, f"{path} does not exist", "twistd -n credgate (or --socket PATH of a running gateway)"
        )
    except PermissionError:
        return Finding(what, WRONG, f"uid {os.geteuid()} has no access to {path.parent}", "sudo credgate doctor")
    if not stat.S_ISSOCK(found.st_mode):
        return Finding(what, WRONG, f"{path} is not a socket", f"rm {path}, then start the gateway")
    # Whoever can write to the directory can replace the socket and receive the secrets of new sessions.
    if directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Finding(what, WRONG, f"{path.parent} is writable by others", f"chmod go-w {path.parent}")
    return Finding(what, OK, f"{path}, mode {stat.S_IMODE(found.st_mode):04o}, uid {found.st_uid}")


def port(what: str, address: str) -> Finding:
    """Check that the TCP port of a listener accepts a connection."""
    host, _, number = address.rpartition(":")
    # A listener on all addresses is also on loopback.
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host).strip("[]")  # noqa: S104 - compared, not bound
    repair = "restart the gateway; see its log"
    if not address or not number.isdigit():
        return Finding(what, UNKNOWN if address else WRONG, address or "not bound", repair)
    try:
        with closing(socket.create_connection((host, int(number)), NETWORK_TIMEOUT)):
            return Finding(what, OK, f"{address} accepts connections")
    except OSError as error:
        return Finding(what, WRONG, f"{address}: {error}", repair)


def resolver(server: str) -> Finding:
    """Check that a resolver of the gateway answers a query for the root's name servers. Any answer is accepted."""
    host, _, number = server.partition("#")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    what = f"resolver {server}"
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as client:
        client.settimeout(NETWORK_TIMEOUT)
        try:
            client.connect((host, int(number or 53)))
            client.send(dnslib.DNSRecord.question(".", "NS").pack())
            answer = dnslib.DNSRecord.parse(client.recv(4096))
        except (OSError, dnslib.DNSError) as error:
            repair = "configure another one: [dns] upstream in credgate.toml, then kill -HUP the gateway"
            return Finding(what, WRONG, f"no answer: {error}", repair)
    return Finding(what, OK, f"answers ({dnslib.RCODE.get(answer.header.rcode)})")


class _Timex(ctypes.Structure):
    """``struct timex`` of adjtimex(2), with at least its size. ``modes`` 0 changes nothing."""

    _fields_ = [("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 512)]


def clock() -> Finding:
    """Check that the clock is synchronised."""
    # Forges refuse signed tokens whose time is a minute off.
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(_Timex()))
    except (OSError, AttributeError):
        state = -1
    repair = "timedatectl set-ntp true"
    if state < 0:
        return Finding("clock", UNKNOWN, "the kernel does not report whether it is synchronised", repair)
    if state == _TIME_ERROR:
        # Not WRONG: the clock may be right although the kernel does not know it, as in some containers.
        return Finding(
            "clock", UNKNOWN, "the kernel reports that it is not synchronised (unreliable in a container)", repair
        )
    return Finding("clock", OK, "synchronised")


def container(name: str) -> Finding:
    """Check that a container has the helper, that its git uses the gateway, and that it has a session."""
    what = f"container {name}"
    engine = next((one for one in ENGINES if shutil.which(one)), None)
    if engine is None:
        return Finding(
            what, UNKNOWN, "neither docker nor podman is in PATH", "run credgate doctor on the containers' host"
        )
    command = [engine, "exec", name, "sh", "-c", _CONTAINER_SCRIPT]
    try:
        status, text = _run(command)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(what, UNKNOWN, f"{engine} exec: {error}", f"{engine} ps")
    return judge_container(engine, name, status, text.strip().splitlines())


def _run(command: list[str]) -> tuple[int, str]:
    """Return a command's exit status and the beginning of its output. Raises subprocess.TimeoutExpired."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:  # noqa: S603 - the operator's own container
        assert process.stdout is not None
        timer = threading.Timer(CONTAINER_TIMEOUT, process.kill)
        timer.start()
        try:
            # The container is not trusted: it may print gigabytes.
            text = process.stdout.read(MAX_CONTAINER_OUTPUT)
            process.stdout.close()  # more output ends the process: EPIPE
            status = process.wait()
        finally:
            timer.cancel()
    if status == -signal.SIGKILL:
        raise subprocess.TimeoutExpired(command, CONTAINER_TIMEOUT)
    return status, text.decode(errors="replace")


def judge_container(engine: str, name: str, status: int, lines: list[str]) -> Finding:
    """Return the finding for the exit status and the output of the script in a container."""
    what, text = f"container {name}", "; ".join(lines)[:200] or f"exit status {status}"
    if status == 0 and not any("session: none" in line for line in lines):
        return Finding(what, OK, text)
    if status == 0:
        return Finding(what, WRONG, text, "credgate session create --token-file FILE, and mount FILE there")
    if status == _NO_GIT:
        return Finding(what, WRONG, text, "apt-get install git in its image")
    if status == _NO_HELPER:
        files = "git-credential-credgate, credgate-sandbox and gitconfig.credgate"
        return Finding(what, WRONG, text, f"{engine} cp {files} to {name}:/usr/local/bin/")
    if status == 1 and text.startswith("disabled"):
        enable = f"{engine} exec -u 0 -e SANDBOX_GATEWAY_ENABLED=true {name} credgate-sandbox enable --gateway URL"
        return Finding(what, WRONG, text, enable)
    return Finding(what, UNKNOWN, text, f"{engine} ps")
