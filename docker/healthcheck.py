"""The health check of the gateway's image: a request to the git port, to the DNS server and to the control API.

The git port must answer ``/health``, the DNS server any answer (also a refusal), the control API that every part is
ready. For the first failure one line is printed and the exit status is 1. The defaults are the addresses in the image.
``CREDGATE_GIT``, ``CREDGATE_DNS`` (``host:port``; an empty one is not checked) and ``GATEWAY_SOCKET_PATH`` change them.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys

import dnslib

TIMEOUT = 3.0
"""Seconds for each request."""


class _ControlConnection(http.client.HTTPConnection):
    """HTTP over the control socket, whose path is ``host``."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self.host)


def _get(connection: http.client.HTTPConnection, path: str) -> None:
    connection.request("GET", path, headers={"Host": "localhost"})
    response = connection.getresponse()
    body = response.read().decode(errors="replace")
    if response.status != http.HTTPStatus.OK:
        raise OSError(f"{path}: HTTP {response.status} {body.strip()}")


def _check_git(address: str) -> None:
    host, _, port = address.rpartition(":")
    _get(http.client.HTTPConnection(host, int(port), timeout=TIMEOUT), "/health")


def _check_dns(address: str) -> None:
    host, _, port = address.rpartition(":")
    query = dnslib.DNSRecord.question("health.credgate.invalid")
    answer = dnslib.DNSRecord.parse(query.send(host, int(port), timeout=TIMEOUT))
    if answer.header.id != query.header.id or not answer.header.qr:
        raise OSError("the message is not an answer to the query")


def _check_control(path: str) -> None:
    _get(_ControlConnection(path), "/v1/ready")


def main() -> int:
    """Make all checks; return the exit status."""
    checks = (
        ("git", _check_git, os.environ.get("CREDGATE_GIT", "127.0.0.1:8080")),
        ("dns", _check_dns, os.environ.get("CREDGATE_DNS", "127.0.0.1:53")),
        ("control", _check_control, os.environ.get("GATEWAY_SOCKET_PATH", "/run/credgate/control.sock")),
    )
    for name, check, address in checks:
        try:
            if address:
                check(address)
        except (OSError, http.client.HTTPException, dnslib.DNSError, ValueError) as error:
            sys.stdout.write(f"unhealthy: {name} at {address}: {error}\n")
            return 1
    sys.stdout.write("healthy\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
