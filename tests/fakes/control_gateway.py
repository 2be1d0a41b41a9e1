"""A control service on a real socket, with the real registry, and clients for it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from credgate.service import gateway as facade
from credgate.service.clock import read_lease_clock
from credgate.service.control.service import ControlService, control_service
from credgate.service.registry import SessionRegistry
from credgate.sessions.stores import MemoryStore
from tests.fakes.control import Auditor, drivers
from tests.fakes.needs import demand

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.config.schema import Config

DEADLINE = 20.0
NOBODY = 65534


@define
class Gateway:
    """A control service that listens, and what it works on."""

    service: ControlService
    registry: SessionRegistry
    audit: Auditor
    socket: Path
    ready: dict[str, bool]
    transfers: list[dict[str, object]] = field(factory=list)
    """What ``GET /v1/transfers`` lists, where it was told to list these."""
    checked: list[tuple[str, str]] = field(factory=list)
    """Forges that were to be asked, each with the repository."""
    verdicts: list[dict[str, object]] = field(factory=list)
    """What they are to have answered."""
    git: str = "127.0.0.1:8080"
    """Where it says that git is served; nothing here listens there."""

    async def curl(self, *arguments: str, stdin: bytes = b"", **options: Any) -> tuple[int, dict[str, str], bytes]:
        """Run curl on the socket; return status, fields and body."""
        demand("curl")
        line = ["curl", "-sS", "-i", "--max-time", "15", "--unix-socket", str(self.socket), *arguments]
        run = await within(deferToThread(subprocess.run, line, input=stdin, capture_output=True, cwd="/", **options))
        assert run.returncode == 0, run.stderr
        head, _, body = run.stdout.rpartition(b"\r\n\r\n") if b"\r\n\r\n" in run.stdout else (b"", b"", b"")
        lines = head.rpartition(b"\r\n\r\n")[2].decode().split("\r\n")  # the last head: there may be a 100 before it
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split(" ")[1]), fields, body


def within(work: Deferred[Any]) -> Deferred[Any]:
    """Give ``work`` a deadline."""
    return work.addTimeout(DEADLINE, reactor)  # type: ignore[arg-type]


def gateway_at(settings: Config, **more: Any) -> Gateway:
    """Make a gateway that is not started. ``more`` is what its control service is given besides."""
    registry = SessionRegistry(MemoryStore(), settings.sessions, clock=read_lease_clock, reactor=reactor)  # type: ignore[arg-type]
    audit, ready = Auditor(), {"git": True}
    parts = facade.Gateway(
        config=settings,
        registry=registry,
        drivers=drivers(settings),
        clock=read_lease_clock,
        **{"readiness": lambda: succeed(ready), **more},
    )
    service = control_service(parts, audit, reactor)  # type: ignore[arg-type]
    return Gateway(service, registry, audit, Path(settings.listen.control), ready)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, path: Path) -> None:
        self.path = path

    def endpointForURI(self, _uri: object) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(reactor, str(self.path))


def treq_on(gateway: Gateway) -> HTTPClient:
    """Return a treq client whose every connection goes to the socket."""
    return HTTPClient(Agent.usingEndpointFactory(reactor, _Endpoints(gateway.socket)))


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait, letting the reactor turn, until ``condition`` holds."""
    for _ in range(2000):
        if condition():
            return
        await deferLater(reactor, 0.005, lambda: None)  # type: ignore[arg-type]
    raise AssertionError(f"waited in vain: {what}")
