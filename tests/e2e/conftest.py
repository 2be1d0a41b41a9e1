"""What end-to-end tests stand on: a forge, a gateway process, sandboxes, and records of both sides.

    sandbox's git -> [recorder: front] -> twistd credgate -> [recorder: forge.plain/tls/public] -> nginx or Python forge

The forge and the common gateway serve the whole run; each test makes its own repositories, sessions and sandboxes,
and starts with empty records. A test that needs another configuration starts its own gateway by ``start_gateway``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import string
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from tests.fakes.authority import Authority
from tests.fakes.forge import PythonForge
from tests.fakes.gateway import Gateway, Lease
from tests.fakes.loop_lag import run_again_after_a_long_turn
from tests.fakes.needs import NOT_SHOWN, demand, required
from tests.fakes.nginx import NginxForge, available, declined
from tests.fakes.recorder import Recorder
from tests.fakes.repositories import Repositories
from tests.fakes.run_caller import Caller
from tests.fakes.sandbox import LOGINS, Sandbox, search_path
from tests.fakes.scratch import make, remove
from tests.fakes.waiting import accepts, wait_until

Enter = Callable[..., "Visit"]
StartGateway = Callable[..., "Door"]


def pytest_report_header() -> list[str]:
    """Say which forge judges, and whose git asks."""
    found = NginxForge.kind if available() else f"{PythonForge.kind} (no nginx and fcgiwrap)"
    return [f"forge: {found}", f"sandboxes' git: {shutil.which('git', path=search_path())}"]


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks of these tests."""
    config.addinivalue_line("markers", "slow: takes minutes; run if CREDGATE_TEST_SLOW is set")


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Repeat what failed by nothing but a long turn of the reactor."""
    return run_again_after_a_long_turn(item, nextitem)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, and say so, what was to be shown with another git if there is none."""
    other = os.environ.get("CREDGATE_TEST_GIT")
    if other and not (Path(other) / "git").exists():
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"{NOT_SHOWN}: no other git in {other}, see .ci/second-git"))


def random_secret() -> str:
    """Make a forge credential in GitHub's form."""
    return "ghp_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(36))


@define(eq=False)
class Forge:
    """The forge, seen through its recorders."""

    server: NginxForge | PythonForge
    repositories: Repositories
    authority: Authority
    plain: Recorder
    tls: Recorder
    public: Recorder

    @property
    def secret(self) -> str:
        """The credential that it demands."""
        return self.server.secret

    @property
    def recorders(self) -> list[Recorder]:
        """All of them."""
        return [self.plain, self.tls, self.public]


@define(eq=False)
class Door:
    """A gateway and the recorder before it."""

    gateway: Gateway
    front: Recorder

    def stop(self) -> None:
        """Send SIGTERM, and wait until it is heeded."""
        assert self.gateway.process is not None
        self.gateway.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not accepts(self.gateway.port), "the listener is closed")

    def ended(self) -> int:
        """Wait for the gateway's end; its status."""
        assert self.gateway.process is not None
        return self.gateway.process.wait(30)


@define(eq=False)
class Visit:
    """A sandbox that holds a session."""

    box: Sandbox
    lease: Lease


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Make the folder of everything that lives as long as the run."""
    folder = make()
    yield folder
    remove(folder)


@pytest.fixture(scope="session")
def forge(scratch: Path) -> Iterator[Forge]:
    """Start the forge of this run."""
    if required() and not declined():
        demand("nginx", "fcgiwrap")
    place, root = scratch / "forge", scratch / "repositories"
    place.mkdir()
    root.mkdir()
    kind = NginxForge if available() else PythonForge
    with contextlib.ExitStack() as stack:
        server = kind(root, random_secret(), place)
        stack.callback(server.close)
        authority = Authority(scratch / "authority")
        targets = [(server.port, None), (server.port, authority.server_context()), (server.public_port, None)]
        recorders = [Recorder(port, tls=tls) for port, tls in targets]
        for recorder in recorders:
            stack.callback(recorder.close)
        yield Forge(server, Repositories(root), authority, *recorders)


@pytest.fixture
def repos(forge: Forge) -> Repositories:
    """Show the forge's repositories."""
    return forge.repositories


@pytest.fixture(scope="session")
def common_door(forge: Forge, scratch: Path) -> Iterator[Door]:
    """Start the gateway that most tests share."""
    with contextlib.ExitStack() as stack:
        yield _open_door(stack, scratch / "gateway", forge.plain.url, forge.secret, {})


def _open_door(
    stack: contextlib.ExitStack,
    folder: Path,
    url: str,
    secret: str,
    settings: dict[str, dict[str, Any]],
    environ: dict[str, str] | None = None,
    prefix: tuple[str, ...] = (),
) -> Door:
    folder.mkdir()
    gateway = Gateway(folder, url, secret, settings, environ=environ or {}, prefix=prefix, measured=True)
    stack.callback(gateway.stop, signal.SIGKILL)
    gateway.start()
    front = Recorder(gateway.port)
    stack.callback(front.close)
    return Door(gateway, front)


@pytest.fixture
def door(common_door: Door, forge: Forge) -> Door:
    """Show the shared gateway, the records of both sides empty."""
    for recorder in [common_door.front, *forge.recorders]:
        recorder.clear()
    common_door.gateway.forget_audit()
    return common_door


@pytest.fixture
def start_gateway(forge: Forge, scratch: Path) -> Iterator[StartGateway]:
    """Start a gateway of the test's own: ``start_gateway(url=..., secret=..., settings=...)``."""
    numbers = itertools.count(1)
    with contextlib.ExitStack() as stack:

        def start(
            url: str = "",
            secret: str = "",
            settings: dict[str, dict[str, Any]] | None = None,
            environ: dict[str, str] | None = None,
            prefix: tuple[str, ...] = (),
        ) -> Door:
            for recorder in forge.recorders:
                recorder.clear()
            folder = scratch / f"own{next(numbers)}-{secrets.token_hex(3)}"
            place = url or forge.plain.url
            return _open_door(stack, folder, place, secret or forge.secret, settings or {}, environ, prefix)

        yield start


@pytest.fixture
def caller(door: Door, forge: Forge) -> Iterator[Caller]:
    """Show a user of the command line whose gateway runs."""
    folder = Path(tempfile.mkdtemp(prefix="cg-"))
    yield Caller(folder / "c", forge.secret, door.gateway)
    shutil.rmtree(folder)


@pytest.fixture(params=LOGINS)
def login(request: pytest.FixtureRequest) -> str:
    """How the sandbox shows its session: both ways must do."""
    return str(request.param)


@pytest.fixture
def homes() -> Iterator[Path]:
    """Make the folder of a test's sandboxes."""
    folder = make()
    yield folder
    remove(folder)


@pytest.fixture
def enter(request: pytest.FixtureRequest, homes: Path) -> Enter:
    """Make a session and a sandbox that holds it: ``enter(["octo/r1"], login=..., door=...)``."""
    numbers = itertools.count(1)

    def visit(repos: Sequence[object], *, login: str = "helper", door: Door | None = None, **more: object) -> Visit:
        place = door or request.getfixturevalue("door")
        lease = place.gateway.grant(repos, **more)
        box = Sandbox(homes / f"sandbox{next(numbers)}", place.front.url, login).enable().show(lease.line)
        return Visit(box, lease)

    return visit
