"""The image's health check against a real gateway: healthy only if all three doors answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docker.shipped import DOCKER
from tests.fakes.gateway import Gateway
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def doors() -> Iterator[dict[str, str]]:
    """Start a gateway with all its doors; where they are."""
    dns = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="cg-") as folder:
        settings = {"listen": {"dns": dns}, "dns": {"upstream": ["127.0.0.1:9"]}}
        gateway = Gateway(Path(folder), "http://127.0.0.1:9", "ghp_nobody", settings)
        try:
            gateway.start()
            yield {
                "CREDGATE_GIT": f"127.0.0.1:{gateway.port}",
                "CREDGATE_DNS": dns,
                "GATEWAY_SOCKET_PATH": str(gateway.control_socket),
            }
        finally:
            gateway.stop(signal.SIGKILL)


def check(doors: dict[str, str]) -> tuple[int, str]:
    """Run the health check."""
    command = [sys.executable, str(DOCKER / "healthcheck.py")]
    environ = {"PATH": os.environ["PATH"]} | doors
    ran = subprocess.run(command, env=environ, capture_output=True, check=False, text=True, timeout=60)
    assert ran.stderr == ""
    return ran.returncode, ran.stdout


def test_a_gateway_that_works_is_healthy(doors: dict[str, str]) -> None:
    """The positive control."""
    assert check(doors) == (0, "healthy\n")


@pytest.mark.parametrize(
    ("name", "place", "door"),
    [
        ("CREDGATE_GIT", "127.0.0.1:9", "git"),
        ("CREDGATE_DNS", "127.0.0.1:9", "dns"),
        ("GATEWAY_SOCKET_PATH", "/nonexistent", "control"),
        ("CREDGATE_GIT", "nonsense", "git"),
    ],
)
def test_one_door_that_is_shut_is_unhealthy(doors: dict[str, str], name: str, place: str, door: str) -> None:
    """In one line that names it: the ancestor's was green while a port was dead."""
    code, said = check(doors | {name: place})
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith(f"unhealthy: {door} at {place}: ")


def test_a_door_that_is_not_there_is_not_asked(doors: dict[str, str]) -> None:
    """Who switches DNS off says so."""
    assert check(doors | {"CREDGATE_DNS": ""}) == (0, "healthy\n")
