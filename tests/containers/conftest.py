"""Real containers: skipped, loudly, where podman cannot run; from there on every failure is one.

``tox run -e containers`` sets CREDGATE_CONTAINERS, without which nothing is installed and nothing is run here: these
tests install packages, and make networks and containers of the host's. Their networks are 10.77.0.0/24, 10.77.1.0/24,
10.77.4.0/24, 10.78.0.0/24 and 10.78.4.0/24; nothing outside of them is ever sent a byte (192.0.2.1 has no route there).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.containers.machine import Unfit, prepare
from tests.containers.outside import Outside
from tests.containers.stand import IMAGES, Stand, engine
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

DROPPED = ("docker/credentials/github", "docker/state/sessions.db", ".env", ".git/config")
"""Where a credential may lie about in a source tree that is built from."""
skipped: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it so that nobody takes a skip for a pass."""
    for reason in skipped:
        terminalreporter.section("REAL CONTAINERS WERE NOT TRIED", sep="!", red=True, bold=True)
        terminalreporter.line(reason)


@pytest.fixture(scope="session")
def base() -> str:
    """Get podman and a base image."""
    if not os.environ.get("CREDGATE_CONTAINERS"):
        pytest.skip("run by `tox run -e containers`")
    try:
        return prepare()
    except Unfit as reason:
        skipped.append(str(reason))
        pytest.skip(f"no containers here: {reason}")


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Make a short-named folder, which the gateway's user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="cgc-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def outside(base: str, scratch: Path) -> Iterator[Outside]:
    """Start the forge and the resolver."""
    folder = scratch / "outside"
    folder.mkdir()
    started = Outside(folder, "ghp_" + secrets.token_hex(18))
    yield started
    started.close()


@pytest.fixture(scope="session")
def built(base: str, scratch: Path, outside: Outside) -> Iterator[Stand]:
    """Build both images, once, and lay out what an operator would."""
    stand = Stand(scratch, base, outside)
    stand.plant(DROPPED)
    stand.build()
    stand.lay_out()
    yield stand
    engine("rmi", "-f", *IMAGES.values())


@pytest.fixture(scope="session")
def stand(built: Stand) -> Iterator[Stand]:
    """Start the shipped compose files with two sandboxes."""
    built.outside.repositories.seeded("octo/hello")
    built.outside.repositories.seeded("octo/docs")
    built.outside.repositories.seeded("octo/secret-plans")
    with contextlib.ExitStack() as stack:
        stack.callback(built.compose, "down", "--timeout", "5")
        built.compose("down", "--timeout", "1")  # what an interrupted run left
        built.compose("up", "-d", SANDBOX_GATEWAY_ENABLED="true").fine()
        try:
            wait_until(lambda: healthy(built), "the gateway is healthy", seconds=60)
        except AssertionError:
            pytest.fail(f"the gateway is not healthy:\n{built.audit()}")
        yield built


def healthy(stand: Stand) -> bool:
    """Run the image's own health check, as an engine with a service manager would by itself."""
    return engine("healthcheck", "run", stand.container("gateway")).code == 0


@pytest.fixture(scope="session")
def session(stand: Stand) -> str:
    """Set up a session for each sandbox by the shipped ``gateway.sh``; the first one's line ``TOKEN:SECRET``."""
    said = stand.host(
        f"setup_gateway_session {stand.container('dev2')} octo/docs\n"
        f"setup_gateway_session {stand.container('dev')} octo/hello\n"
        'printf "%s:%s" "$GATEWAY_TOKEN" "$GATEWAY_SECRET"'
    ).fine()
    for service in ("dev", "dev2"):
        for key, value in (("user.name", "A U Thor"), ("user.email", "author@example.com")):
            stand.inside(service, "git", "config", "--global", key, value).fine()
    return said
