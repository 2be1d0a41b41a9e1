"""The DNS server as a service: binds UDP and TCP before privileges are dropped, answers, reloads, proves it answers.

A bind that fails stops the start. ``[listen] dns = ""`` is off: then nothing is bound and ``enabled`` says so. One line
a minute tells what was refused or malformed, if anything was; never a line a packet.
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

from credgate.dns import policy, response, upstreams
from credgate.dns.codes import RRType
from credgate.dns.query import MAX_QUERY
from credgate.errors import ConfigError
from credgate.service.dns.listeners import Datagrams, StreamFactory
from credgate.service.dns.probe import answers
from credgate.service.dns.queries import QueryHandler
from credgate.service.dns.resolver import UpstreamResolver

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort

    from credgate.config.schema import Config
    from credgate.dns.policy import QueryPolicy
    from credgate.dns.upstreams import Endpoint
    from credgate.service.audit.log import AuditLog
    from credgate.service.registry import SessionRegistry

MAX_THROUGHPUT = 2048
"""Octets one readable datagram socket may hold the reactor for: with Twisted's 256 KiB a flood starves the relay."""
SUMMARY = 60.0
"""Seconds between two lines about what was refused."""
BIND_TRIES = 16
"""For port 0: a port that is free for both protocols has to be found."""
RESOLV_CONF = Path("/etc/resolv.conf")


def _is_mine(address: str) -> bool:
    """Whether an address is one of this machine's: whether a socket can be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def _servers(config: Config, listening: Endpoint) -> list[Endpoint]:
    try:
        system = RESOLV_CONF.read_text(encoding="utf-8", errors="replace")
    except OSError:
        system = ""
    return upstreams.choose(config.dns.upstream, system, listening, _is_mine)


class DnsService(Service):
    """The server. ``address`` is where it is bound, once it is."""

    name = "dns"
    log = Logger()

    def __init__(self, config: Config, registry: SessionRegistry, audit: AuditLog, reactor: Any) -> None:  # noqa: ANN401 - every interface of a reactor
        self._config, self._reactor = config, reactor
        self.enabled = bool(config.listen.dns)
        self.address = upstreams.endpoint(config.listen.dns) if self.enabled else ("", 0)
        self.upstream = UpstreamResolver(_servers(config, self.address) if self.enabled else (), reactor)
        self.desk = QueryHandler(config.dns, policy.make_policy(config.dns), self.upstream, registry, audit)
        self._factory = StreamFactory(
            self.desk, reactor, config.dns.tcp_connections, config.dns.tcp_connections_per_address
        )
        self._ports: list[IListeningPort] = []
        self._summary = LoopingCall(self._tell)
        self._summary.clock = reactor
        self._told = 0

    def privilegedStartService(self) -> None:
        """Bind both protocols; raises ``CannotListenError``."""
        super().privilegedStartService()
        if self.enabled:
            self._bind()

    def startService(self) -> None:
        """Begin to answer."""
        super().startService()
        if not self.enabled:
            return
        if not self._ports:
            self._bind()
        if not self.upstream.servers:
            self.log.warn(  # noqa: G010 - Twisted has no other
                "dns: no upstream resolver is known; only static names are answered"
            )
        self._summary.start(SUMMARY, now=False)

    def _bind(self) -> None:
        for last in reversed(range(BIND_TRIES if self.address[1] == 0 else 1)):
            try:
                self._bind_both()
            except CannotListenError:
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
            number, Datagrams(self.desk, self._reactor), interface=host, maxPacketSize=MAX_QUERY + 1
        )
        datagrams.maxThroughput = MAX_THROUGHPUT
        self._ports.append(datagrams)
        number = datagrams.getHost().port
        self._ports.append(self._reactor.listenTCP(number, self._factory, interface=host))
        self.address = (host, number)

    def stopService(self) -> Deferred[Any] | None:
        """Close both doors and give up what is in flight."""
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
        """Take up ``[dns]`` of a new configuration. Fails with ``ConfigError``; then the old one stays whole.

        Where to listen and the connection caps are taken up by a restart only.
        """
        return ensureDeferred(self._reload(config))

    async def _reload(self, config: Config) -> None:
        if not self.enabled:
            return
        try:
            made: QueryPolicy = await deferToThread(policy.make_policy, config.dns)
            self.upstream.servers = tuple(_servers(config, self.address))
        except ConfigError as error:
            raise _placed(error, config) from None
        self.desk.replace(config.dns, made)

    async def ready(self) -> bool:
        """Whether the server answers a question over each of its own sockets."""
        if not self.enabled or not self._ports:
            return False
        host, number = self.address
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - bound nowhere here: asked instead
        asked = response.ask(policy.READY, RRType.A, os.urandom)
        return await answers((loopback.get(host, host), number), asked, self._reactor)

    def counters(self) -> dict[str, int]:
        """Return what happened since the start, for metrics."""
        return asdict(self.desk.responder.counters) | {"connections_refused": self._factory.refused}

    def _tell(self) -> None:
        now = self.counters()
        odd = now["faults"] + now["silent"] + now["limited"] + now["refused"] + now["failed"]
        if odd != self._told:
            self._told = odd
            self.log.info(
                "dns: since the start {counters}; the last malformed: {sample}",
                counters=now,
                sample=self.desk.responder.sample or "none",
            )


def dns_service(config: Config, registry: SessionRegistry, audit: AuditLog, reactor: Any) -> DnsService:  # noqa: ANN401 - every interface of a reactor
    """Return the DNS server of a configuration; ``ConfigError`` for a bad entry, with file and line. Blocking."""
    try:
        return DnsService(config, registry, audit, reactor)
    except ConfigError as error:
        raise _placed(error, config) from None


def _placed(error: ConfigError, config: Config) -> ConfigError:
    """Return the error with the place of its key; one that has a file (the allowlist's) knows its own."""
    return error if error.file else config.error(error.text, *error.key.split("."))
