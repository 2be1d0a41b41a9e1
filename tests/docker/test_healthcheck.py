"""The image's health check with a real gateway."""

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
def addresses() -> Iterator[dict[str, str]]:
    """Start a gateway; return the variables with its addresses."""
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


def check(addresses: dict[str, str]) -> tuple[int, str]:
    """Run the health check with these variables."""
    command = [sys.executable, str(DOCKER / "healthcheck.py")]
    environ = {"PATH": os.environ["PATH"]} | addresses
    ran = subprocess.run(command, env=environ, capture_output=True, check=False, text=True, timeout=60)
    assert ran.stderr == ""
    return ran.returncode, ran.stdout


def test_working_gateway_is_healthy(addresses: dict[str, str]) -> None:
    """All three checks succeed."""
    assert check(addresses) == (0, "healthy\n")


@pytest.mark.parametrize(
    ("name", "address", "check_name"),
    [
        ("CREDGATE_GIT", "127.0.0.1:9", "git"),
        ("CREDGATE_DNS", "127.0.0.1:9", "dns"),
        ("GATEWAY_SOCKET_PATH", "/nonexistent", "control"),
        ("CREDGATE_GIT", "nonsense", "git"),
    ],
)
def test_one_failed_check_is_unhealthy(addresses: dict[str, str], name: str, address: str, check_name: str) -> None:
    """One line names it."""
    code, output = check(addresses | {name: address})
    assert (code, output.count("\n")) == (1, 1)
    assert output.startswith(f"unhealthy: {check_name} at {address}: ")


def test_empty_address_is_not_checked(addresses: dict[str, str]) -> None:
    """For a gateway with DNS switched off."""
    assert check(addresses | {"CREDGATE_DNS": ""}) == (0, "healthy\n")
