"""The control API as a Twisted service: binds the socket, and ends its connections at the end.

It binds in ``startService``, after twistd has changed to its final uid, so that the directory and the socket belong to
that user. If the socket cannot be used, ``startService`` raises ConfigError: credgate never runs without its control
socket. At the end the socket is removed first, then idle connections are closed, then the others after their answers or
after ``GRACE`` seconds. Nothing listens on TCP.
"""

# mypy: disable-error-code="no-untyped-call"
# Twisted's endpoints and services are only partly annotated.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from credgate.errors import ConfigError
from credgate.service.control.http_server import ControlSite
from credgate.service.control.peer import PeerRule
from credgate.service.control.routes import ControlAPI
from credgate.service.control.unixsocket import SocketPlace, bind
from credgate.service.sandbox.refused_connections import RefusedConnections

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IReactorTime, IReactorUNIX

    from credgate.service.control.routes import AuditSink
    from credgate.service.gateway import Gateway

    class _Reactor(IReactorTime, IReactorUNIX):
        """The interfaces of the reactor that are used."""


GRACE = 5.0
"""Seconds that requests in progress may take after the service stops."""


def control_service(
    gateway: Gateway, audit: AuditSink, reactor: _Reactor, *, refused: RefusedConnections | None = None
) -> ControlService:
    """Return the service for ``gateway``. ``refused`` counts refused connections; its owner calls ``sweep``."""
    config, refusals = gateway.config, refused or RefusedConnections(audit, gateway.clock)
    api = ControlAPI(gateway, audit, reactor)
    site = ControlSite(api.app.resource(), PeerRule(config.control.allow_uids), reactor, refused=refusals.count)
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
        """Whether the socket accepts connections."""
        return self._port is not None

    def startService(self) -> None:
        """Bind the socket. Raises ConfigError."""
        bind(self.place, self._listen)
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Stop listening, then end the connections; fires when all are closed."""
        super().stopService()
        return Deferred.fromCoroutine(self._end())

    def _listen(self) -> None:
        endpoint = UNIXServerEndpoint(self._reactor, str(self.place.path), mode=self.place.mode, wantPID=False)
        outcome: list[IListeningPort | Failure] = []
        endpoint.listen(self.site).addBoth(outcome.append)  # fires at once
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
        await self.site.drain(GRACE)

    async def _stop_listening(self, port: IListeningPort) -> None:
        try:
            await maybeDeferred(port.stopListening)
        except FileNotFoundError:
            # Twisted unlinks first, and on this error leaves its socket open.
            port.socket.close()  # type: ignore[attr-defined]  # no interface names it
            self._log.warn("the control socket {path} was removed by another program", path=str(self.place.path))


def _why(error: BaseException | None) -> str:
    return str(error.socketError) if isinstance(error, CannotListenError) else str(error)
