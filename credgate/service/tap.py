"""``twistd credgate``: options, and the tree of services that is the gateway.

Everything that can be wrong before the reactor runs (configuration, secrets, store, sockets) stops the start with one
line on stderr and exit status 1. The order of the tree is the order of starting and, reversed, of stopping: the audit
log first and last, then sessions, then what serves. Nothing is decided here.
"""

from __future__ import annotations

import gc
import os
import secrets
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from attrs import evolve
from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python import usage

import credgate
from credgate.errors import CredgateError
from credgate.forges.place import Place
from credgate.forges.registry import driver_for
from credgate.git.authorize import Authorizer
from credgate.lfs.handles import Handles
from credgate.loading.load import config_hash, from_environment, load
from credgate.metrics import gauges
from credgate.metrics.counters import EventCounters
from credgate.metrics.exposition import MetricsPage
from credgate.metrics.gauges import Gauges
from credgate.service.audit.audited import SessionAudit
from credgate.service.audit.log import AuditLog
from credgate.service.clock import read_lease_clock
from credgate.service.control.overview import Overview
from credgate.service.control.readiness import Check, Readiness
from credgate.service.control.service import control_service
from credgate.service.credentials.acceptance_check import CredentialCheck
from credgate.service.credentials.forge_credentials import Credentials
from credgate.service.credentials.source_factory import ShortLivedFactory
from credgate.service.dns.dns_service import dns_service
from credgate.service.dns.resolver import MAX_FLIGHTS as DNS_FLIGHTS
from credgate.service.drain import Drain
from credgate.service.gateway import Gateway
from credgate.service.gc import GarbageCollector
from credgate.service.inspect.pack_reader import WalkThreads
from credgate.service.metrics.scrape import Scrape
from credgate.service.metrics.server import MetricsService
from credgate.service.private import ParentPipe, private
from credgate.service.process import harden, most_connections
from credgate.service.registry import SessionRegistry
from credgate.service.reload import Reload
from credgate.service.sandbox.listener import SandboxFactory, SandboxListener, Sweep
from credgate.service.sandbox.refused_connections import RefusedConnections
from credgate.service.sandbox.request_judge import RequestJudge
from credgate.service.sandbox.services import Services
from credgate.service.sandbox.transfers import Transfers
from credgate.service.upstream.endpoints import forge_endpoints
from credgate.service.upstream.pool import ForgePool
from credgate.sessions.login_throttle import LoginThrottle
from credgate.sessions.rate_limits import Rates
from credgate.sessions.stores import store_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.application.service import IService
    from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint

    from credgate.config.schema import Config, Limits
    from credgate.forges.driver import Driver
    from credgate.service.dns.dns_service import DnsService

_log = Logger()


class Options(usage.Options):
    """What ``twistd credgate`` takes."""

    synopsis = "[options]"
    longdesc = (
        "Gives sandboxes git without credentials. Without --config, github.com is served with the token in "
        "GITHUB_TOKEN (or GH_TOKEN). See docs/configuration.md."
    )
    optParameters = [  # noqa: RUF012, N815 - Twisted's form
        ["config", "c", None, "The configuration file (TOML)."],
        ["private", None, None, "Live in this directory alone, until standard input ends (credgate run)."],
    ]

    def opt_version(self) -> NoReturn:
        """Print credgate's version and exit."""
        sys.stdout.write(f"credgate {credgate.__version__}\n")
        raise SystemExit(0)


class GatewayService(MultiService):
    """The gateway. An error that an operator can correct ends the start with one line, not with a traceback."""

    def privilegedStartService(self) -> None:
        _or_exit(super().privilegedStartService)

    def startService(self) -> None:
        _or_exit(super().startService)
        # The objects that exist now stay until the end: 80,000 of modules, and every stored session. A full collection
        # would walk them all in one turn of the reactor (30 ms; seconds with 100,000 sessions) and free nothing.
        gc.collect()
        gc.freeze()

    def stopService(self) -> Deferred[None]:
        """Stop one part after the other: the last answer of the control socket needs the store."""
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        Service.stopService(self)
        # Parts depend on those before them, so they stop in reverse order.
        for part in reversed(list(self)):
            try:
                await maybeDeferred(part.stopService)
            except Exception:  # noqa: BLE001 - the other parts must still close connections and write rows and lines
                _log.failure("a part of the gateway did not stop well: {part}", part=type(part).__name__)


def _or_exit(step: Any) -> Any:  # noqa: ANN401 - whatever the step returns
    try:
        return step()
    except CredgateError as error:
        _exit(str(error))
    except CannotListenError as error:
        _exit(f"cannot listen on {error.interface or '*'}:{error.port}: {error.socketError}")


def _exit(text: str) -> NoReturn:
    raise SystemExit(f"credgate: {text}")


def makeService(options: Options) -> IService:
    """Return the gateway that ``options`` describe; exits with one line if it cannot be."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one

    def read() -> Config:
        config = _config(options["config"])
        return private(config, options["private"]) if options["private"] else config

    gateway = _or_exit(lambda: _gateway(read(), reactor, read))
    if options["private"]:
        ParentPipe(reactor).setServiceParent(gateway)
    return gateway  # type: ignore[no-any-return]  # _or_exit takes any step


def _config(path: str | None) -> Config:
    return load(Path(path), os.environ) if path else from_environment(os.environ)


def _gateway(config: Config, reactor: Any, read: Callable[[], Config]) -> MultiService:  # noqa: ANN401 - every interface of a reactor
    harden()  # before the process holds a credential
    tally = EventCounters(config.forges)
    audit = AuditLog(config.audit, reactor, observe=tally.observe)
    store = store_for(config.sessions.store)
    registry = SessionRegistry(store, config.sessions, clock=read_lease_clock, reactor=reactor)
    drivers = {name: driver_for(forge) for name, forge in config.forges.items()}
    endpoints = forge_endpoints(reactor, config.limits.connect_timeout)
    minting = ShortLivedFactory.of(config, reactor, endpoints, audit, read_lease_clock)
    credentials = Credentials(config, drivers, mint=minting.source, reactor=reactor)
    credentials.read()  # before anything listens: a reference that cannot be used stops the start
    minting.forget_variables()
    registry.on_end(credentials.session_ended)
    walkers = WalkThreads(reactor)
    services = _services(
        config,
        reactor,
        drivers=drivers,
        endpoints=endpoints,
        registry=registry,
        credentials=credentials,
        audit=audit,
        walkers=walkers,
    )
    judge, transfers = services.judge, services.transfers
    few = services.limits.max_connections < config.limits.max_connections
    factory = SandboxFactory(services, few_descriptors=few)
    rounds = GarbageCollector(registry, config.sessions.gc_interval, reactor)
    git = SandboxListener(_endpoint(config, reactor), factory, reactor)
    audited = SessionAudit(audit, read_lease_clock, f"configuration {config_hash(config)}")
    registry.on_end(audited.ended)

    dns = dns_service(config, registry, audit, reactor)

    checks: dict[str, Check] = {
        "serving": lambda: not transfers.closing,
        "git": git.accepts,
        "sessions": lambda: registry.writable,
        "audit": lambda: audit.writable,
        **({"dns": dns.ready} if dns.enabled else {}),
    }
    ready = Readiness(checks, reactor)

    parts = {"dns": dns.reload, "policy": judge.apply_config}  # in this order: a list of names may still be refused
    reloading = Reload(config, read, parts, reactor)
    overview = Overview(
        started=read_lease_clock(),
        clock=read_lease_clock,
        config=lambda: reloading.config,
        places=lambda: {
            "git": git.address,
            **_dns_place(dns),
            "control": config.listen.control,
            **({"metrics": metrics.address} if config.listen.metrics else {}),
        },
        sessions=lambda: registry.count,
        connections=lambda: len(transfers.connections),
        transfers=lambda: transfers.running,
        has_credential=credentials.serves,
        dns=lambda: dns.counters() if dns.enabled else {},
        resolvers=lambda: dns.upstream.servers,
        head=lambda: audit.head,
    )
    page = MetricsPage(tally, _gauges(config, services, rounds, dns, reactor), credgate.__version__)
    scrape = Scrape(page, ready, reactor)
    metrics = MetricsService(config.listen.metrics, scrape, reactor)
    facade = Gateway(
        config=config,
        registry=registry,
        drivers=judge.authorizer.drivers,
        clock=read_lease_clock,
        readiness=ready,
        policy=lambda: judge.authorizer.policy,
        has_credential=credentials.configured,
        reload=reloading.reload,
        status=overview,
        transfers=transfers.snapshot,
        forges=credentials.overview,
        scrape=scrape,
        check=CredentialCheck(drivers, credentials, reactor, endpoints, lambda: read_lease_clock().wall),
    )
    control = control_service(facade, audit, reactor, refused=services.refused)
    gateway = GatewayService()
    for part in (
        audit,
        registry,
        audited,
        rounds,
        credentials,
        walkers,
        dns,
        Sweep(services),
        reloading,
        control,
        metrics,
        Drain(transfers, reactor, config.limits.drain_timeout),
        git,
    ):
        part.setServiceParent(gateway)
    return gateway


def _gauges(config: Config, services: Services, rounds: GarbageCollector, dns: DnsService, reactor: Any) -> Gauges:  # noqa: ANN401 - as above
    """Return the sources of the metrics that are not counted from events."""
    audit, pool, transfers = services.audit, services.pool, services.transfers
    return Gauges(
        sessions=lambda: services.registry.count,
        max_sessions=config.sessions.max_sessions,
        connections=lambda: len(transfers.connections),
        transfers=lambda: transfers.running,
        pool=lambda: gauges.Pool(busy=pool.count() - pool.idle(), idle=pool.idle()),
        dns=lambda: dns.counters() if dns.enabled else {},
        rounds=lambda: gauges.GcGauges(rounds.succeeded, rounds.failed, rounds.last_success),
        audit=lambda: gauges.AuditState(audit.lines, audit.lost, audit.writable),
        credentials=services.credentials.held,
        timers=lambda: len(reactor.getDelayedCalls()),
        threads=threading.active_count,
        refused=services.refused.totals,
    )


def _dns_place(dns: DnsService) -> dict[str, str]:
    host, port = dns.address
    return {"dns": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"} if dns.enabled else {}


def _endpoint(config: Config, reactor: Any) -> IStreamServerEndpoint:  # noqa: ANN401 - as above
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, config.listen.git)
    except (ValueError, TypeError, KeyError) as error:
        raise config.error(f"not a Twisted endpoint string: {error}", "listen", "git") from None
    except IndexError:
        raise config.error("systemd has passed no such socket", "listen", "git") from None
    return endpoint


def _affordable(config: Config) -> Limits:
    """Return the limits with no more connections than the process has descriptors for. Raises ConfigError."""
    limits, dns = config.limits, config.dns
    serves_dns = DNS_FLIGHTS + dns.tcp_connections if config.listen.dns else 0
    most = most_connections(limits.max_connections, serves_dns)
    if limits.max_connections <= most:
        return limits
    _log.warn(
        "max_connections = {asked} needs more file descriptors than the hard limit (RLIMIT_NOFILE) allows: "
        "{most} is used instead",
        asked=limits.max_connections,
        most=most,
    )
    return evolve(limits, max_connections=most)


def _services(  # noqa: PLR0913 - where the parts meet
    config: Config,
    reactor: Any,  # noqa: ANN401 - as above
    *,
    drivers: Mapping[str, Driver],
    endpoints: Callable[[Place], IStreamClientEndpoint],
    registry: SessionRegistry,
    credentials: Credentials,
    audit: AuditLog,
    walkers: WalkThreads,
) -> Services:
    limits = _affordable(config)
    for name in drivers:
        if not credentials.serves(name):
            _log.warn("{forge} has no credential: anonymous reads only, pushes are refused", forge=name)
    authorizer = Authorizer(
        drivers,
        config.default_forge,
        registry,
        LoginThrottle(limits.wrong_credentials_per_minute),
        credentials.configured,
        config.policy,
        Handles(lambda: secrets.token_urlsafe(32)),
    )
    for driver in drivers.values():
        endpoints(Place.of(driver))  # an unreadable ca_file stops the start, not the first request
    rates = Rates(limits.requests_per_minute, limits.requests_per_minute_per_address, limits.bytes_per_minute)
    transfers, clock = Transfers(), read_lease_clock
    return Services(
        reactor=reactor,
        limits=limits,
        registry=registry,
        credentials=credentials,
        pool=ForgePool(reactor, limits.connect_timeout, endpoints),
        audit=audit,
        clock=clock,
        judge=RequestJudge(authorizer, limits, rates, transfers, registry, credentials, audit, clock),
        transfers=transfers,
        rates=rates,
        refused=RefusedConnections(audit, clock),
        lane=walkers.lane,
        public_url=config.listen.public_url,
    )
