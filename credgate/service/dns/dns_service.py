"""The DNS server as a Twisted service: binds its UDP and TCP ports, applies a new configuration, checks its readiness.

The ports are bound before privileges are dropped, and a bind that fails stops the start. With ``[listen] dns = ""``
nothing is bound, and ``enabled`` is false. Refused and malformed messages are logged as one line a minute with
counters.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict
from twisted.application.service import Service
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from credgate.dns import query_policy, upstream_response, upstreams
from credgate.dns.codes import RRType
from credgate.dns.query import MAX_QUERY
from credgate.errors import ConfigError
from credgate.service.dns.listeners import Datagrams, StreamFactory
from credgate.service.dns.queries import QueryHandler
from credgate.service.dns.resolver import UpstreamResolver, probe

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort

    from credgate.config.schema import Config
    from credgate.dns.query_policy import QueryPolicy
    from credgate.dns.upstreams import Endpoint
    from credgate.service.audit.log import AuditLog
    from credgate.service.registry import SessionRegistry

MAX_THROUGHPUT = 2048
"""Octets of datagrams that are read in one turn of the reactor."""
SUMMARY = 60.0
"""Seconds between two log lines with counters."""
BIND_TRIES = 16
"""With port 0, tries until a port is free for both UDP and TCP."""
RESOLV_CONF = Path("/etc/resolv.conf")


def _is_local(address: str) -> bool:
    """Whether an address belongs to this machine, so that a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as test:
        try:
            test.bind((address, 0))
        except OSError:
            return False
        return True


def _servers(config: Config, listening: Endpoint) -> list[Endpoint]:
    try:
        system = RESOLV_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError:
        system = ""
    return upstreams.choose(config.dns.upstream, system, listening, _is_local)


class DnsService(Service):
    """The DNS server. ``address`` is the address that it is bound to."""

    name = "dns"
    log = Logger()

    def __init__(self, config: Config, registry: SessionRegistry, audit: AuditLog, reactor: Any) -> None:  # noqa: ANN401 - every interface of a reactor
        self._config, self._reactor = config, reactor
        self.enabled = bool(config.listen.dns)
        self.address = upstreams.endpoint(config.listen.dns) if self.enabled else ("", 0)
        self.upstream = UpstreamResolver(_servers(config, self.address) if self.enabled else (), reactor)
        self.handler = QueryHandler(config.dns, query_policy.make_policy(config.dns), self.upstream, registry, audit)
        self._factory = StreamFactory(
            self.handler, reactor, config.dns.tcp_connections, config.dns.tcp_connections_per_address
        )
        self._ports: list[IListeningPort] = []
        self._summary = LoopingCall(self.log_counters)
        self._summary.clock = reactor
        self._logged = 0

    def privilegedStartService(self) -> None:
        """Bind both protocols; raises ``CannotListenError``."""
        super().privilegedStartService()
        if self.enabled:
            self._bind()

    def startService(self) -> None:
        super().startService()
        if not self.enabled:
            return
        if not self._ports:  # started without ``privilegedStartService``
            self._bind()
        if not self.upstream.servers:
            self.log.warn(  # noqa: G010 - Twisted has no other
                "dns: there is no upstream resolver; only static names are answered"
            )
        self._summary.start(SUMMARY, now=False)

    def _bind(self) -> None:
        for last in reversed(range(BIND_TRIES if self.address[1] == 0 else 1)):
            try:
                self._bind_both()
            except CannotListenError:
                # With port 0 the kernel chose a UDP port whose number is in use for TCP: try another one.
                for port in self._ports:
                    port.stopListening()
                self._ports.clear()
                if not last:
                    raise
            else:
                return

    def _bind_both(self) -> None:
        host, number = self.address
        datagrams = self._reactor.listenUDP(
            number, Datagrams(self.handler, self._reactor), interface=host, maxPacketSize=MAX_QUERY + 1
        )
        # With Twisted's 256 KiB one readable UDP socket can hold the reactor, and with it the relay.
        datagrams.maxThroughput = MAX_THROUGHPUT
        self._ports.append(datagrams)
        number = datagrams.getHost().port
        self._ports.append(self._reactor.listenTCP(number, self._factory, interface=host))
        self.address = (host, number)

    def stopService(self) -> Deferred[Any] | None:
        super().stopService()
        if self._summary.running:
            self._summary.stop()
        self.upstream.stop()
        for connection in list(self._factory.connections):
            connection.transport.abortConnection()
        closing = [port.stopListening() for port in self._ports]
        self._ports = []
        return DeferredList([one for one in closing if one is not None])

    def reload(self, config: Config) -> Deferred[None]:
        """Apply ``[dns]`` of a new configuration. Fails with ``ConfigError``; the old one then stays in effect."""
        # The address and the limits on connections change only with a restart.
        return ensureDeferred(self._reload(config))

    async def _reload(self, config: Config) -> None:
        if not self.enabled:
            return
        try:
            made: QueryPolicy = await deferToThread(query_policy.make_policy, config.dns)
            self.upstream.servers = tuple(_servers(config, self.address))
        except ConfigError as error:
            raise _placed(error, config) from None
        self.handler.replace(config.dns, made)

    async def ready(self) -> bool:
        """Whether the server answers a query over UDP and over TCP."""
        if not self.enabled or not self._ports:
            return False
        host, number = self.address
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        asked = upstream_response.ask(query_policy.READY, RRType.A, os.urandom)
        return await probe((loopback.get(host, host), number), asked, self._reactor)

    def counters(self) -> dict[str, int]:
        """Return the counters since the start, for the metrics."""
        return asdict(self.handler.responder.counters) | {"connections_refused": self._factory.refused}

    def log_counters(self) -> None:
        """Log the counters, if anything was refused or malformed since the last line."""
        now = self.counters()
        events = now["faults"] + now["silent"] + now["limited"] + now["refused"] + now["failed"]
        # Counters, not a line for each packet: a sandbox must not be able to fill the disk.
        if events != self._logged:
            self._logged = events
            self.log.info(
                "dns: since the start {counters}; the last malformed: {sample}",
                counters=now,
                sample=self.handler.responder.sample or "none",
            )


def dns_service(config: Config, registry: SessionRegistry, audit: AuditLog, reactor: Any) -> DnsService:  # noqa: ANN401 - every interface of a reactor
    """Return the DNS server of a configuration. Blocks. Raises ``ConfigError`` with file and line."""
    try:
        return DnsService(config, registry, audit, reactor)
    except ConfigError as error:
        raise _placed(error, config) from None


def _placed(error: ConfigError, config: Config) -> ConfigError:
    """Return the error with the file and line of its key. An error of the allowlist file has its own."""
    return error if error.file else config.error(error.text, *error.key.split("."))
