"""A running control API for commands, and the shared reactor."""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_twisted

from credgate.audit.chain import Head, Link
from credgate.service.clock import read_lease_clock
from credgate.service.control.overview import Overview
from tests.fakes.cli import borrow_reactor
from tests.fakes.control import config
from tests.fakes.control_gateway import Gateway, gateway_at, within

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Create a HOME with a short path (a socket is in it) and reset the variables that point to others."""
    made = Path(tempfile.mkdtemp(prefix="cg-"))
    monkeypatch.chdir(made)
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(made))
    monkeypatch.setenv("COLUMNS", "200")
    yield made
    shutil.rmtree(made)


@pytest.fixture(autouse=True)
def unmasked() -> Iterator[None]:
    """Restore the signal mask: a command that could not be started leaves signals blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture
def gateway(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Start a gateway's control API and set ``CREDGATE_SOCKET``."""
    settings = config(home / "run" / "control.sock")
    transfers: list[dict[str, object]] = []
    overview = Overview(
        started=read_lease_clock(),
        clock=read_lease_clock,
        config=lambda: settings,
        places=lambda: {"git": made.git, "control": settings.listen.control},
        sessions=lambda: made.registry.count,
        connections=lambda: 0,
        transfers=lambda: len(transfers),
        has_credential=lambda name: name == "github.com",
        dns=dict,
        head=lambda: Head(Link(12, "ab" * 32)),
    )
    held = {"repositories": ["**"], "id": "0a1b2c3d", "kind": "file", "expires_at": None, "trouble": ""}

    async def check(forge: str, repo: str) -> list[dict[str, object]]:
        made.checked.append((forge, repo))
        return made.verdicts

    forges = [{"name": "github.com", "kind": "github", "url": "https://github.com", "credentials": [held]}]
    made = gateway_at(
        settings,
        status=overview,
        transfers=lambda: transfers,
        forges=lambda: forges,
        check=check,
    )
    made.transfers = transfers
    borrow_reactor(monkeypatch)
    monkeypatch.setenv("CREDGATE_SOCKET", str(made.socket))
    made.registry.startService()
    made.service.startService()
    yield made
    pytest_twisted.blockon(within(made.service.stopService()))
    pytest_twisted.blockon(within(made.registry.stopService()))
