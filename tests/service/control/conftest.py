"""A control service that listens, for each test that asks for one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.logger import globalLogPublisher

from tests.fakes.control import config
from tests.fakes.control_gateway import NOBODY, Gateway, gateway_at, within

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def home() -> Iterator[Path]:
    """Make a short-named directory that others may enter: who gets further is what is tested."""
    made = Path(tempfile.mkdtemp(prefix="cg-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def gateway(home: Path) -> Iterator[Gateway]:
    """Start a gateway; end it after the test."""
    made = gateway_at(config(home / "run" / "control.sock"))
    yield from _running(made)


@pytest.fixture
def shared_gateway(home: Path) -> Iterator[Gateway]:
    """Start one that admits another user, too."""
    yield from _running(gateway_at(config(home / "run" / "control.sock", allow_uids=(NOBODY,))))


def _running(made: Gateway) -> Iterator[Gateway]:
    """Start, lend and stop."""
    made.registry.startService()
    made.service.startService()
    yield made
    pytest_twisted.blockon(within(made.service.stopService()))
    pytest_twisted.blockon(within(made.registry.stopService()))


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """Everything that is logged meanwhile."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)
