"""Whether the gateway in this container works: asked at each of its three doors, as those would who come in by them.

The git port answers ``/health``; the DNS server answers a question (a refusal is an answer); the control socket says
that everything is ready. One line and exit status 1 for the first that does not. Paths and ports are the image's own;
``CREDGATE_GIT`` and ``CREDGATE_DNS`` (``host:port``; an empty one is not asked) and ``GATEWAY_SOCKET_PATH`` say others.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys

import dnslib

TIMEOUT = 3.0
"""Seconds for each door."""


class _Control(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self.host)


def _ok(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path, headers={"Host": "localhost"})
    answer = connection.getresponse()
    said = answer.read().decode(errors="replace")
    if answer.status != http.HTTPStatus.OK:
        raise OSError(f"{path}: HTTP {answer.status} {said.strip()}")


def _ask_git(place: str) -> None:
    host, _, port = place.rpartition(":")
    _ok(http.client.HTTPConnection(host, int(port), timeout=TIMEOUT), "/health")


def _ask_dns(place: str) -> None:
    host, _, port = place.rpartition(":")
    question = dnslib.DNSRecord.question("health.credgate.invalid")
    answer = dnslib.DNSRecord.parse(question.send(host, int(port), timeout=TIMEOUT))
    if answer.header.id != question.header.id or not answer.header.qr:
        raise OSError("what came back is no answer")


def _ask_control(place: str) -> None:
    _ok(_Control(place), "/v1/ready")


def main() -> int:
    """Ask at all doors; the exit status."""
    doors = (
        ("git", _ask_git, os.environ.get("CREDGATE_GIT", "127.0.0.1:8080")),
        ("dns", _ask_dns, os.environ.get("CREDGATE_DNS", "127.0.0.1:53")),
        ("control", _ask_control, os.environ.get("GATEWAY_SOCKET_PATH", "/run/credgate/control.sock")),
    )
    for name, ask, place in doors:
        try:
            if place:
                ask(place)
        except (OSError, http.client.HTTPException, dnslib.DNSError, ValueError) as error:
            sys.stdout.write(f"unhealthy: {name} at {place}: {error}\n")
            return 1
    sys.stdout.write("healthy\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
