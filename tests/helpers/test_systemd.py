"""The systemd units, checked with systemd's tools, and a gateway that is started by socket activation."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.fakes.gateway import Gateway
from tests.fakes.needs import not_here
from tests.fakes.waiting import accepts, free_port

UNITS = Path(__file__).resolve().parents[2] / "helpers" / "systemd"
# As systemd does (sd_listen_fds(3)): descriptor 3 is the listening socket, and environment variables say so.
ACTIVATE = """
import os, socket, sys
made = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(made.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "credgate.socket", "LISTEN_PID": str(os.getpid())}
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.needs("systemd-analyze")
def test_service_exposure_level_is_below_2() -> None:
    """docs/operations.md names this level."""
    command = ["systemd-analyze", "security", "--offline=true", str(UNITS / "credgate.service")]
    ran = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    found = re.search(r"exposure level for credgate\.service: ([0-9.]+)", ran.stdout)
    if not found:
        not_here(f"this systemd-analyze cannot check a unit that is not installed: {ran.stderr.strip()}")
    assert float(found[1]) < 2


def test_service_loads_its_credential_and_can_read_the_boot_id() -> None:
    """The credential is not an environment variable. Sessions survive a restart because of the boot id."""
    lines = (UNITS / "credgate.service").read_text().splitlines()
    assert "LoadCredential=github:/etc/credgate/github" in lines
    assert not [line for line in lines if line.startswith(("Environment", "ProcSubset"))]
    assert "CapabilityBoundingSet=" in lines


def test_gateway_serves_the_port_of_socket_activation() -> None:
    """With the endpoint named in the unit file."""
    assert 'git = "systemd:domain=INET:index=0"' in (UNITS / "credgate.socket").read_text()
    port = free_port()
    settings = {"listen": {"git": "systemd:domain=INET:index=0"}}
    with tempfile.TemporaryDirectory(prefix="cg-") as folder:
        prefix = (sys.executable, "-c", ACTIVATE, str(port))
        gateway = Gateway(Path(folder), "http://127.0.0.1:9", "ghp_nobody", settings, port=port, prefix=prefix)
        try:
            gateway.start()
            assert gateway.control("GET", "/v1/ready").json["checks"]["git"] is True
            assert accepts(port)
        finally:
            gateway.stop(signal.SIGKILL)
