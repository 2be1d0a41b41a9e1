"""The process behind ``credgate run`` that makes the session, and ends it whatever becomes of the wrapper.

The wrapper starts it in a session of its own and holds its standard input, a pipe. On it comes one line, JSON: what to
do. On standard output goes one line: what was made, or ``{"error", "exit"}``. Then it waits for the pipe's end, which
comes however the wrapper ends, ``kill -9`` included: it revokes the session, ends the gateway that it started, and
removes the directory. A gateway of its own hangs on a pipe from here in the same way (``service.private``), so it ends
even if this process is killed. No secret is in anybody's arguments; the caller's tokens go to the gateway alone.
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

from credgate.cli import gitenv
from credgate.cli.control_client import ControlClient, drive
from credgate.cli.output import CommandError, GatewayUnreachable
from credgate.cli.run.isolate import ROOT
from credgate.cli.tokenfile import TokenFile
from credgate.service.process import harden

if TYPE_CHECKING:
    from collections.abc import Mapping

START = 30.0
"""Seconds in which a gateway of our own must be ready."""
_LOOK = 0.05
_READY = 200
TWISTD = "import sys; sys.path.insert(0, sys.argv.pop(1)); from twisted.scripts.twistd import run; run()"


@define
class PrivateSession:
    """What was made, and has to be ended."""

    directory: Path
    control: ControlClient | None = None
    gateway: subprocess.Popen[bytes] | None = None
    session_id: str = ""
    ports: list[Any] = field(factory=list)

    @property
    def box(self) -> Path:
        """The command's own directory."""
        return self.directory / "box"

    async def end(self) -> None:
        """End it all. Raises Failed when the session may live on."""
        try:
            if self.gateway is None and self.session_id and self.control is not None:
                await self.control.ask("DELETE", f"/v1/sessions/{self.session_id}")
        finally:
            for port in self.ports:
                port.stopListening()
            if self.gateway is not None:
                assert self.gateway.stdin is not None
                self.gateway.stdin.close()  # its leash
                with suppress(subprocess.TimeoutExpired):
                    self.gateway.wait(10)
                self.gateway.kill()
            _remove(self.directory)


def _remove(directory: Path) -> None:
    """Remove it, with what a command made read-only in there, as go does with its modules."""
    for place, names, _ in os.walk(directory):
        for name in names:
            with suppress(OSError):
                if not (below := Path(place, name)).is_symlink():
                    below.chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)


async def keep(wanted: Mapping[str, Any]) -> None:
    """Make everything, tell the wrapper, wait for its end, end everything. Raises Failed."""
    kept = PrivateSession(Path(tempfile.mkdtemp(prefix="credgate-run-", dir=_place())))
    try:
        told = await _made(kept, wanted)
        _tell(told)
        if wanted["door"] is not None:
            await _open_door(kept, int(wanted["door"]), told["address"])
        await deferToThread(_until_end)
    finally:
        await kept.end()


async def _made(kept: PrivateSession, wanted: Mapping[str, Any]) -> dict[str, Any]:
    for directory in (kept.box, kept.box / "home", kept.directory / "gateway"):
        directory.mkdir(mode=0o700)
    (kept.box / "gitconfig").touch(mode=0o600)
    kept.control = ControlClient(Path(wanted["socket"])) if wanted["socket"] else await _gateway(kept, wanted["config"])
    status = await kept.control.ask("GET", "/v1/status")
    url = gitenv.reached(status["listeners"]["git"])
    if not url:
        raise CommandError(
            f"the gateway's git listener ({status['listeners']['git']}) is no TCP port that git could reach"
        )
    # A gateway on loopback sees this machine only: nobody else shall use the session.
    local = "127.0.0.1" if url.startswith("http://127.") else None
    with TokenFile(kept.box / "token") as file:
        made = await kept.control.ask("POST", "/v1/sessions", {**wanted["session"], "bind": local})
        kept.session_id = made["id"]
        file.write(made["token"], made["secret"])
    names = {"forges": status["forges"], "default_forge": status["default_forge"]}
    where = {"address": url.removeprefix("http://"), "box": str(kept.box), "socket": str(kept.control.socket)}
    return {"id": made["id"], "url": url, "private": kept.gateway is not None, **where, **names}


async def _gateway(kept: PrivateSession, config: str | None) -> ControlClient:
    """Start a gateway of our own, and wait until it is ready. Raises Failed with its last words."""
    place, log = kept.directory / "gateway", kept.directory / "gateway.log"
    words = ["-n", "--pidfile=", "credgate", "--private", str(place), *(["--config", config] if config else [])]
    command = [sys.executable, "-P", "-c", TWISTD, str(ROOT), *words]
    with log.open("wb") as said:
        # Its directory is not the caller's: what lies there is not trusted. The environment is the caller's: references
        # to credentials may name any variable.
        kept.gateway = subprocess.Popen(  # noqa: S603, ASYNC220 - our own program, and the start does not wait
            command, cwd=kept.directory, stdin=subprocess.PIPE, stdout=said, stderr=said, start_new_session=True
        )
    control = ControlClient(place / "control.sock")
    for _ in range(int(START / _LOOK)):
        if kept.gateway.poll() is not None:
            raise CommandError(f"the gateway did not start: {_last_words(log)}", 2)
        with suppress(GatewayUnreachable):
            if (await control.answer("GET", "/v1/ready"))[0] == _READY:
                return control
        await control.wait(_LOOK)
    raise CommandError(f"the gateway was not ready in {START:g} s: {_last_words(log)}", 3)


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("credgate: ")[:300] if lines else "it said nothing"


async def _open_door(kept: PrivateSession, descriptor: int, address: str) -> None:
    """Take the listening socket of an isolated command, and carry what is said there to the gateway."""
    with socket.socket(fileno=descriptor) as inside:
        _, received, _, _ = await deferToThread(socket.recv_fds, inside, 16, 1)
        if not received:
            return  # the command never started
        os.set_blocking(received[0], False)  # Twisted takes it as it is, and would wait in accept(2)
        host, _, port = address.rpartition(":")
        factory = ProxyFactory(host.strip("[]"), int(port))
        factory.noisy = False
        kept.ports.append(reactor.adoptStreamPort(received[0], socket.AF_INET, factory))  # type: ignore[attr-defined]  # it is IReactorSocket
        os.close(received[0])
        inside.send(b"1")


def _until_end() -> None:
    """Wait for the end of standard input."""
    while os.read(0, 4096):
        pass


def _place() -> str | None:
    """Return where directories for a session are made: of this user alone where there is such a place."""
    run = os.environ.get("XDG_RUNTIME_DIR", "")
    return run if run.startswith("/") and os.access(run, os.W_OK) else None


def _tell(told: Mapping[str, Any]) -> None:
    os.write(1, json.dumps(told).encode() + b"\n")


def main() -> int:
    """Keep one command's session."""
    harden()
    with os.fdopen(os.dup(0), "rb", buffering=0) as wrapper:
        wanted = json.loads(_line(wrapper))
    try:
        drive(lambda: keep(wanted))
    except CommandError as error:
        with suppress(OSError):
            _tell({"error": error.format_message(), "exit": error.status})
        return error.status
    return 0


def _line(file: Any) -> bytes:  # noqa: ANN401 - an unbuffered file: what is read beyond the line would be lost
    line = b""
    while not line.endswith(b"\n"):
        if not (piece := file.read(1)):
            break
        line += piece
    return line


if __name__ == "__main__":
    sys.exit(main())
