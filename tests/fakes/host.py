"""The host that starts sandboxes: a shell that sources ``gateway.sh``, and a script in place of docker.

The script runs the commands for a container on this machine, with ``/run/secrets`` replaced by a directory of the test.
It and a wrapper around curl record all arguments, which every user of a host can read.
"""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define

from tests.fakes.needs import demand, found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.gateway import Gateway

SCRIPT = Path(__file__).resolve().parents[2] / "helpers" / "gateway.sh"
ADDRESS = "10.77.0.9"
"""The address of every container."""
MANAGEMENT_KEY = "c2VjcmV0+key/=="

# inspect answers for one network; exec runs the command here; the output of port is in a file.
DOCKER = """#!/bin/sh
printf '%s\\n' "$@" >> "$STUB/argv"
[ ! -e "$STUB/gone" ] || exit 1
case $1 in
    inspect)
        case $3 in
            *'"'"$(cat "$STUB/network")"'"'*) cat "$STUB/address" ;;
            *compose.project*) echo box ;;
            *range*) echo "$(cat "$STUB/network") 10.77.0.9"; echo "egress 10.78.0.9" ;;
        esac
        ;;
    port) cat "$STUB/port" ;;
    exec)
        shift
        while :; do
            case $1 in
                -i) shift ;;
                -u) user=$2; shift 2 ;;
                *) break ;;
            esac
        done
        [ "$user" != 0 ] || [ ! -e "$STUB/rootless" ] || exit 1
        shift
        if [ "$2" = -c ]; then
            script=$(printf '%s' "$3" | sed "s|/run/secrets|$STUB/secrets|g")
            exec sh -c "$script" sh "$5"
        fi
        exec cat "$STUB/secrets/gateway_token"
        ;;
esac
"""
CURL = """#!/bin/sh
printf '%s\\n' "$@" >> "$STUB/argv"
exec {curl} "$@"
"""


@define
class Host:
    """A host with the stubs on its path, and one shell."""

    shell: list[str]
    folder: Path
    gateway: Gateway

    def equip(self) -> None:
        """Lay the stubs where they are found first."""
        demand("curl")
        binaries = self.folder / "bin"
        binaries.mkdir()
        (self.folder / "network").write_text("credential-isolation\n")
        (self.folder / "address").write_text(f"{ADDRESS}\n")
        for name, text in (("docker", DOCKER), ("curl", CURL.format(curl=found("curl")))):
            (binaries / name).write_text(text)
            (binaries / name).chmod(0o755)

    @property
    def secrets(self) -> Path:
        """What stands for the container's /run/secrets."""
        return self.folder / "secrets"

    @property
    def token_file(self) -> Path:
        """What stands for the container's token file."""
        return self.secrets / "gateway_token"

    @property
    def argv(self) -> str:
        """Every argument that docker and curl were given."""
        path = self.folder / "argv"
        return path.read_text() if path.exists() else ""

    def run(self, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Source the file under ``set -eu`` and run a script; ``NAME=""`` unsets a variable's effect."""
        given = {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
            "STUB": str(self.folder),
            "GATEWAY_SOCKET_PATH": str(self.gateway.control_socket),
            "GATEWAY_TOKEN_OWNER": f"{os.getuid()}:{os.getgid()}",
        } | environ
        command = [*self.shell, "-c", f"set -eu\n. {SCRIPT}\n{script}"]
        return subprocess.run(command, env=given, capture_output=True, check=False, text=True, timeout=60)

    def sessions(self) -> list[str]:
        """Labels of the live sessions."""
        return [session["label"] for session in self.gateway.control("GET", "/v1/sessions").json["sessions"]]


class Published(BaseHTTPRequestHandler):
    """A control API that an operator has published on TCP, behind a key."""

    gateway: Gateway

    def do_GET(self) -> None:
        """Pass on a GET."""
        self._pass_on()

    def do_POST(self) -> None:
        """Pass on a POST."""
        self._pass_on()

    def do_DELETE(self) -> None:
        """Pass on a DELETE."""
        self._pass_on()

    def _pass_on(self) -> None:
        if self.headers.get("X-Session-Mgmt-Key") != MANAGEMENT_KEY:
            self.send_error(403)
            return
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        reply = self.gateway.control(self.command, self.path, body)
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.text)))
        self.end_headers()
        self.wfile.write(reply.text.encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def publish(gateway: Gateway) -> Iterator[str]:
    """Publish a gateway's control API on TCP; its URL."""
    served = type("Bound", (Published,), {"gateway": gateway})
    with socketserver.TCPServer(("127.0.0.1", 0), served) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
