"""The supervisor: a process of ``credgate run`` that creates the session and revokes it, even if the wrapper is killed.

The wrapper starts it in a process session of its own and holds the write end of its standard input, a pipe. The
supervisor reads one JSON line from it (the request) and writes one JSON line to standard output (the result, or
``{"error", "exit"}``). Then it waits for the end of the pipe, which the kernel closes however the wrapper ends, SIGKILL
included. It then revokes the session, stops the private gateway if it started one, and removes the session's directory.
The private gateway has a pipe from the supervisor in the same way (``credgate.service.private``), so it ends with it.

No secret is an argument of any process. The session's secret is written to a file of mode 0400 and nowhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.protocols.portforward import ProxyFactory

from credgate.cli.control_client import ControlClient, run_reactor
from credgate.cli.env import listener_url
from credgate.cli.output import UNREACHABLE, UNUSABLE, CommandError, GatewayUnreachableError
from credgate.cli.run.mounts import ROOT
from credgate.cli.session import SESSIONS, TokenFile
from credgate.service.process import harden

if TYPE_CHECKING:
    from collections.abc import Mapping

START_TIMEOUT = 30.0
"""Seconds in which a private gateway must become ready."""
_POLL_INTERVAL = 0.05
_OK = 200
TWISTD = "import sys; sys.path.insert(0, sys.argv.pop(1)); from twisted.scripts.twistd import run; run()"


@define
class CommandSession:
    """What the supervisor created for one command and must remove again."""

    directory: Path
    control: ControlClient | None = None
    gateway: subprocess.Popen[bytes] | None = None
    """The private gateway."""
    session_id: str = ""
    ports: list[Any] = field(factory=list)

    @property
    def command_directory(self) -> Path:
        """The directory with the command's HOME, its gitconfig and its token file."""
        return self.directory / "command"

    async def start_gateway(self, config: str | None) -> ControlClient:
        """Start a private gateway and wait until it is ready. Raises CommandError with the last line of its log."""
        place, log = self.directory / "gateway", self.directory / "gateway.log"
        words = ["-n", "--pidfile=", "credgate", "--private", str(place), *(["--config", config] if config else [])]
        with log.open("wb") as output:
            # Not in the caller's current directory: files there could be imported by Twisted. With the caller's
            # environment, because credential references may name any variable.
            self.gateway = subprocess.Popen(  # noqa: S603, ASYNC220 - our own program; the start does not block
                [sys.executable, "-P", "-c", TWISTD, str(ROOT), *words],
                cwd=self.directory,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        control = ControlClient(place / "control.sock")
        for _ in range(int(START_TIMEOUT / _POLL_INTERVAL)):
            if self.gateway.poll() is not None:
                raise CommandError(f"the gateway did not start: {_last_line(log)}", UNUSABLE)
            with suppress(GatewayUnreachableError):
                if (await control.request("GET", "/v1/ready"))[0] == _OK:
                    return control
            await control.wait(_POLL_INTERVAL)
        raise CommandError(f"the gateway was not ready within {START_TIMEOUT:g} s: {_last_line(log)}", UNREACHABLE)

    async def create(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Create the directories, the gateway if there is none, and the session; return the result for the wrapper."""
        for directory in (self.command_directory, self.command_directory / "home", self.directory / "gateway"):
            directory.mkdir(mode=0o700)
        (self.command_directory / "gitconfig").touch(mode=0o600)
        if request["socket"]:
            self.control = ControlClient(Path(request["socket"]))
        else:
            self.control = await self.start_gateway(request["config"])
        status = await self.control.ask("GET", "/v1/status")
        listener = status["listeners"]["git"]
        url = listener_url(listener)
        if not url:
            raise CommandError(f"the gateway's git listener ({listener}) is not a TCP port, so git cannot use it")
        # A gateway on loopback sees requests from loopback addresses only: the session is bound to one of these. The
        # address by which a remote gateway sees this machine is not known here.
        bind = "127.0.0.1" if url.startswith("http://127.") else None
        with TokenFile(self.command_directory / "token") as file:
            created = await self.control.ask("POST", SESSIONS, {**request["session"], "bind": bind})
            self.session_id = created["id"]
            file.write(created["token"], created["secret"])
        return {
            "id": created["id"],
            "url": url,
            "address": url.removeprefix("http://"),
            "private": self.gateway is not None,
            "directory": str(self.command_directory),
            "socket": str(self.control.socket),
            "forges": status["forges"],
            "default_forge": status["default_forge"],
        }

    async def accept_from(self, channel: int, address: str) -> None:
        """Receive the listening socket of an isolated command and forward its connections to the gateway."""
        with socket.socket(fileno=channel) as pid1:
            _, received, _, _ = await deferToThread(socket.recv_fds, pid1, 16, 1)
            if not received:
                return  # the command was not started
            # adoptStreamPort does not set this, and accept(2) would block the reactor.
            os.set_blocking(received[0], False)
            host, _, port = address.rpartition(":")
            factory = ProxyFactory(host.strip("[]"), int(port))
            factory.noisy = False
            self.ports.append(reactor.adoptStreamPort(received[0], socket.AF_INET, factory))  # type: ignore[attr-defined]  # it is IReactorSocket
            os.close(received[0])
            pid1.send(b"1")

    async def close(self) -> None:
        """Revoke the session and remove everything else. Raises CommandError if the session could not be revoked."""
        try:
            # The sessions of a private gateway are in its memory and end with it.
            if self.gateway is None and self.session_id and self.control is not None:
                await self.control.ask("DELETE", f"{SESSIONS}/{self.session_id}")
        finally:
            for port in self.ports:
                port.stopListening()
            if self.gateway is not None:
                assert self.gateway.stdin is not None
                self.gateway.stdin.close()  # it stops at the end of its standard input
                with suppress(subprocess.TimeoutExpired):
                    self.gateway.wait(10)
                self.gateway.kill()
            _remove_tree(self.directory)


def _remove_tree(directory: Path) -> None:
    # Programs such as go make directories read-only (its module cache), and rmtree could not empty them.
    for parent, names, _ in os.walk(directory):
        for name in names:
            with suppress(OSError):
                if not (path := Path(parent, name)).is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("credgate: ")[:300] if lines else "its log is empty"


def private_directory() -> str | None:
    """Return the parent for the session's directory: the user's own runtime directory, or None for the default."""
    path = os.environ.get("XDG_RUNTIME_DIR", "")
    return path if path.startswith("/") and os.access(path, os.W_OK) else None


async def supervise(request: Mapping[str, Any]) -> None:
    """Create the session, report it to the wrapper, wait for the wrapper's end, remove everything.

    Raises CommandError.
    """
    session = CommandSession(Path(tempfile.mkdtemp(prefix="credgate-run-", dir=private_directory())))
    try:
        result = await session.create(request)
        _send(result)
        if request["channel"] is not None:
            await session.accept_from(int(request["channel"]), result["address"])
        await deferToThread(wait_for_end_of_input)
    finally:
        await session.close()


def wait_for_end_of_input() -> None:
    """Read and ignore standard input until it ends."""
    while os.read(0, 4096):
        pass


def read_line(file: Any) -> bytes:  # noqa: ANN401 - an unbuffered binary file
    """Read one line, or less if the file ends before. Nothing after the line is read."""
    # Byte by byte: a buffered read could take the end of the pipe, which wait_for_end_of_input waits for.
    line = b""
    while not line.endswith(b"\n") and (byte := file.read(1)):
        line += byte
    return line


def _send(message: Mapping[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def main() -> int:
    """Run the supervisor; return its exit status."""
    harden()
    with os.fdopen(os.dup(0), "rb", buffering=0) as wrapper:
        request = json.loads(read_line(wrapper))
    try:
        run_reactor(lambda: supervise(request))
    except CommandError as error:
        with suppress(OSError):  # the wrapper has ended
            _send({"error": error.format_message(), "exit": error.status})
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
