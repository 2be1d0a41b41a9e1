"""The audit log of a real process: one chain over rotations, kills and restarts, judged by the shipped command."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from credgate.audit import log_files as kept
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from tests.e2e.conftest import Door, Enter, StartGateway
    from tests.fakes.repositories import Repositories


def verify(door: Door, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``credgate audit verify``, which asks the gateway where the log is."""
    program = Path(sys.executable).with_name("credgate")
    command = [program, "--socket", door.gateway.control_socket, "audit", "verify", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_audit_log_is_one_chain_over_kills_and_rotations(
    repos: Repositories, enter: Enter, start_gateway: StartGateway
) -> None:
    """``credgate audit verify`` accepts it while the gateway writes, and finds a change."""
    path = repos.seeded()
    door = start_gateway(settings={"audit": {"max_bytes": 4000}})
    visit = enter([path], door=door)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        for _ in range(4):
            visit.box.git("ls-remote", address(path)).fine()
        door.gateway.audited(repo=path, decision="allow")
        door.gateway.stop(number)
        door.gateway.start()
    files = [file for _, file in kept.rotated(door.gateway.audit_file)]
    assert files
    ran = verify(door)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f" in {len(files) + 1} files, number 1 to " in ran.stdout
    files[0].write_bytes(files[0].read_bytes().replace(b"allow", b"deny", 1))
    ran = verify(door)
    assert ran.returncode == 1
    assert f"{files[0].name}:" in ran.stdout
