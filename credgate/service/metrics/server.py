"""A loopback listener that serves only the page of metrics, for Prometheus, which cannot read UNIX sockets.

``[listen] metrics`` must be a loopback address (``config`` refuses others). It answers ``GET /metrics`` with the strict
server of the control API and accepts few connections.
"""

# mypy: disable-error-code="no-untyped-call"
# Twisted's endpoints and services are only partly annotated.

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define
from klein import Klein
from twisted.application.service import Service
from twisted.internet.defer import ensureDeferred, maybeDeferred
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from credgate.dns.upstreams import endpoint
from credgate.service.control import json_reply
from credgate.service.control.http_server import ControlSite
from credgate.service.control.peer import PeerRule
from credgate.service.metrics.scrape import send_page

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP, IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest

    from credgate.service.control.peer import Peer
    from credgate.service.metrics.scrape import MetricsExposition

    class _Reactor(IReactorTime, IReactorTCP):
        """The interfaces of the reactor that are used."""


MAX_CONNECTIONS = 8
GRACE = 1.0
"""Seconds that a scrape in progress may take after the service stops."""


@define(slots=False, eq=False)  # Klein binds itself to an instance by an attribute and a weak reference
class MetricsAPI:
    """The single route."""

    scrape: MetricsExposition

    app = Klein()
    app.url_map.merge_slashes = False

    @app.route("/metrics", methods=["GET"])
    async def metrics(self, request: IRequest) -> bytes:
        """Return the page of metrics."""
        return send_page(request, await self.scrape())

    @app.handle_errors(HTTPException)
    def not_routed(self, request: IRequest, failure: Failure) -> bytes:
        """Answer a request without a route."""
        known = isinstance(failure.value, MethodNotAllowed)
        return json_reply.send(request, 405 if known else 404, json_reply.error("only GET /metrics is served here"))


class _AnyPeer(PeerRule):
    """Admits every peer: the listener is on a loopback address and the page contains no secret."""

    def admits(self, peer: Peer | None) -> bool:
        return True


class _Site(ControlSite):
    """Accepts a few connections; more are closed at once."""

    def buildProtocol(self, addr: IAddress | None) -> object:  # type: ignore[override]  # None is allowed: it closes
        return super().buildProtocol(addr) if len(self.channels) < MAX_CONNECTIONS else None


class MetricsService(Service):
    """Listens on ``[listen] metrics`` between ``startService`` and ``stopService``; ``""``: off."""

    name = "metrics"

    def __init__(self, listen: str, scrape: MetricsExposition, reactor: _Reactor) -> None:
        self._listen, self._reactor = listen, reactor
        resource = MetricsAPI(scrape).app.resource()
        self._site = _Site(
            resource, _AnyPeer(), reactor, refused=lambda _limit, _client: None, read_peer=lambda _: None
        )
        self._port: IListeningPort | None = None

    @property
    def address(self) -> str:
        """The address that is bound, or ""."""
        if self._port is None:
            return ""
        bound = self._port.getHost()
        host, port = getattr(bound, "host", ""), getattr(bound, "port", 0)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def startService(self) -> None:
        """Bind the listener. Raises ``CannotListenError``."""
        super().startService()
        if self._listen:
            host, port = endpoint(self._listen)
            self._port = self._reactor.listenTCP(port, self._site, interface=host)  # type: ignore[arg-type]  # a Site is a Factory

    def stopService(self) -> Deferred[None]:
        """Stop listening, then end the connections."""
        super().stopService()
        return ensureDeferred(self._end())

    async def _end(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        await self._site.drain(GRACE)
