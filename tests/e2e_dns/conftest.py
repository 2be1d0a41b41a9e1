"""Fixtures of the DNS end-to-end tests: a real gateway process, real resolvers, real clients."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.fakes import resolvers
from tests.fakes.gateway import Gateway
from tests.fakes.needs import needed
from tests.fakes.resolvers import Resolver

ALLOW = ["ok.test", "chain.test", "priv.test", "mixed.test", "*.wild.test", "big.test", "text.test TXT", "nothing.test"]
HERE = Path(__file__).parent
StartDns = Callable[..., "Served"]


@frozen
class Dug:
    """What dig printed."""

    text: str
    code: int = 0

    @property
    def status(self) -> str:
        """The response code."""
        found = re.search(r"status: (\w+)", self.text)
        return found[1] if found else ""

    @property
    def flags(self) -> set[str]:
        """The header's flags."""
        found = re.search(r"flags: ([a-z ]*);", self.text)
        return set(found[1].split()) if found else set()

    @property
    def answers(self) -> list[str]:
        """The data of the answer section, sorted."""
        section = re.search(r"ANSWER SECTION:\n(.*?)\n\n", self.text, re.DOTALL)
        lines = section[1].splitlines() if section else []
        return sorted(" ".join(line.split()[3:]) for line in lines)

    @property
    def extended(self) -> str:
        """The extended error's line."""
        found = re.search(r"; EDE: (.*)", self.text)
        return found[1] if found else ""


@frozen
class Served:
    """A gateway with DNS, and where it answers."""

    gateway: Gateway
    port: int

    def dig(self, *words: str) -> Dug:
        """Ask it by dig."""
        command = ["dig", "@127.0.0.1", "-p", str(self.port), "+tries=1", "+time=8", *words]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return Dug(ran.stdout, ran.returncode)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ask by dig; the list has those of other folders, too."""
    for item in items:
        if HERE in item.path.parents and {"served", "start_dns"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.needs("dig"))


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Make a short-named folder: the paths of UNIX sockets must be short."""
    folder = Path(tempfile.mkdtemp(prefix="cgd-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session", params=[needed(kind) for kind in resolvers.KINDS])
def upstream(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Resolver]:
    """Start a real resolver: each that is installed, one after the other."""
    folder = Path(tempfile.mkdtemp(prefix=request.param, dir=scratch))
    folder.chmod(0o755)
    resolver = Resolver(request.param, folder).start()
    yield resolver
    resolver.stop()


@pytest.fixture(scope="session")
def served(upstream: Resolver, scratch: Path) -> Iterator[Served]:
    """Start the gateway that most tests share, before that resolver."""
    with contextlib.ExitStack() as stack:
        yield open_gateway(stack, scratch / f"gateway-{upstream.kind}", upstream.port, {})


def open_gateway(stack: contextlib.ExitStack, folder: Path, upstream: int, dns: dict[str, Any]) -> Served:
    """Start a gateway that asks the resolver on port ``upstream``."""
    # A new one each time: pytest makes a parametrized fixture again when tests of another parameter came in between.
    folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    port = resolvers.free_port()
    tables = {
        "listen": {"dns": f"127.0.0.1:{port}"},
        "dns": {"allow": ALLOW, "upstream": [f"127.0.0.1:{upstream}"], "rate": 0} | dns,
        "dns.static": {"gateway": "127.0.0.1", '"git.gateway"': ["10.1.2.3", "fd00::3"]},
    }
    gateway = Gateway(folder, "http://127.0.0.1:9", "unused-" + "x" * 30, tables)
    stack.callback(gateway.stop, signal.SIGKILL)
    gateway.start()
    return Served(gateway, port)


@pytest.fixture
def start_dns(scratch: Path) -> Iterator[StartDns]:
    """Start a gateway, and a resolver, of the test's own: ``start_dns(ttl=..., **dns)``."""
    with contextlib.ExitStack() as stack:

        def start(*, ttl: int = 60, **dns: Any) -> tuple[Served, Resolver]:
            folder = Path(tempfile.mkdtemp(dir=scratch))
            folder.chmod(0o755)
            resolver = Resolver(resolvers.available()[0], folder, ttl).start()
            stack.callback(resolver.stop)
            return open_gateway(stack, folder / "gateway", resolver.port, dns), resolver

        yield start
