"""The control API as a Twisted service: its socket, its connections, its start and its end.

Binds in ``startService``, after twistd has taken its final uid, so that the directory and the socket belong to whom the
process then is. A place that cannot be used raises ConfigError out of ``startService``: credgate never runs on
without its control socket. At the end the socket goes first, then idle connections, then, after their answers or
``GRACE`` seconds, the rest. Nothing listens on TCP.

What changes rights, and who was turned away, is told to the audit log here; the end of a session is told by whoever
listens to the registry.
"""

# mypy: disable-error-code="no-untyped-call"
# Twisted's endpoints and services are only partly annotated.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from credgate.audit.event import Event, Happening
from credgate.errors import ConfigError
from credgate.service.control.http_server import ControlSite
from credgate.service.control.peer import PeerRule
from credgate.service.control.routes import ControlAPI
from credgate.service.control.unixsocket import SocketPlace, bind
from credgate.service.sandbox.refused_connections import RefusedConnections
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IListeningPort, IReactorTime, IReactorUNIX

    from credgate.config.schema import Config, PushPolicy
    from credgate.forges.driver import Driver
    from credgate.service.control.peer import Peer
    from credgate.service.control.routes import Check, Forges, Readiness, Registry, Reload, Status, Transfers
    from credgate.service.metrics.scrape import MetricsExposition
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session
    from credgate.values import RepoPath

    class _Reactor(IReactorTime, IReactorUNIX):
        """What is needed of the reactor."""


GRACE = 5.0
"""Seconds that requests may still take once the service ends."""


class AuditSink(Protocol):
    """What is used of ``service.audit.log.AuditLog``."""

    def write(self, event: Event) -> None:
        """Take an event; never fails."""
        ...


def control_service(  # noqa: PLR0913 - the one place where the parts meet
    config: Config,
    registry: Registry,
    readiness: Readiness,
    drivers: Mapping[str, Driver],
    audit: AuditSink,
    *,
    clock: Callable[[], LeaseReading],
    reactor: _Reactor,
    reload: Reload | None = None,
    policy: Callable[[], PushPolicy] | None = None,
    has_credential: Callable[[RepoPath], bool] = lambda _repo: True,
    status: Status | None = None,
    transfers: Transfers = list,
    forges: Forges = list,
    scrape: MetricsExposition | None = None,
    check: Check | None = None,
    refused: RefusedConnections | None = None,
) -> ControlService:
    """Return the service for a configuration. ``policy`` is the one in force; by default the configuration's.

    ``refused`` is told of connections that are refused; whoever gives it also calls its ``sweep``.
    """
    told = refused or RefusedConnections(audit, clock)

    def created(session: Session, peer: Peer | None) -> None:
        audit.write(_granted(Happening.SESSION_CREATED, clock().wall, session, peer))

    def extended(session: Session, peer: Peer | None) -> None:
        audit.write(_granted(Happening.SESSION_EXTENDED, clock().wall, session, peer))

    api = ControlAPI(
        config,
        registry,
        readiness,
        drivers,
        clock,
        reactor,
        created,
        reload,
        policy or (lambda: config.policy),
        has_credential,
        status,
        transfers,
        extended,
        forges,
        scrape,
        check,
    )
    site = ControlSite(api.app.resource(), PeerRule(config.control.allow_uids), reactor, refused=told.count)
    place = SocketPlace(
        Path(config.listen.control),
        shared=bool(config.control.allow_uids),
        complain=lambda text: config.error(text, "listen", "control"),
    )
    return ControlService(place, site, reactor)


class ControlService(Service):
    """Listens on the socket between ``startService`` and ``stopService``."""

    name = "control"
    _log = Logger()

    def __init__(self, place: SocketPlace, site: ControlSite, reactor: _Reactor) -> None:
        self.place, self.site, self._reactor = place, site, reactor
        self._port: IListeningPort | None = None

    @property
    def listening(self) -> bool:
        """Whether the socket accepts connections: a check of readiness."""
        return self._port is not None

    def startService(self) -> None:
        """Bind. Raises ConfigError."""
        bind(self.place, self._listen)
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Stop listening, then end the connections; fires when all are gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._end())

    def _listen(self) -> None:
        endpoint = UNIXServerEndpoint(self._reactor, str(self.place.path), mode=self.place.mode, wantPID=False)
        outcome: list[IListeningPort | Failure] = []
        endpoint.listen(self.site).addBoth(outcome.append)  # binds at once, well or not
        if isinstance(outcome[0], Failure):
            raise self.place.wrong(_why(outcome[0].value))
        try:
            self.place.check()
        except ConfigError:
            outcome[0].stopListening()
            raise
        self._port = outcome[0]

    async def _end(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await self._stop_listening(port)
            self.place.release()
        await self.site.retire(GRACE)

    async def _stop_listening(self, port: IListeningPort) -> None:
        try:
            await maybeDeferred(port.stopListening)
        except FileNotFoundError:
            # Twisted unlinks first, and then forgets the socket that it still holds.
            port.socket.close()  # type: ignore[attr-defined]  # no interface names it
            self._log.warn("the control socket {path} had been removed by somebody else", path=str(self.place.path))


def _why(error: BaseException | None) -> str:
    return str(error.socketError) if isinstance(error, CannotListenError) else str(error)


def _granted(happening: Happening, wall: float, session: Session, peer: Peer | None) -> Event:
    return Event(
        wall=wall,
        event=happening,
        session=session.id,
        peer=str(peer),
        allow=True,
        reason=Reason.ALLOWED,
        text=session.label,
    )
