"""The DNS service: bind, answer, reload, stop."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher

from credgate.config.schema import Config, DnsConfig, ListenConfig
from credgate.errors import ConfigError
from credgate.loading.load import load
from credgate.service.dns import dns_service as module
from credgate.service.dns import resolver
from credgate.service.dns.dns_service import DnsService, dns_service
from tests.fakes import dnswire as w
from tests.fakes.dnsupstream import FakeAudit, FakeRegistry, FakeUpstream
from tests.fakes.waiting import free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for the readiness check: the test machine may be busy."""
    monkeypatch.setattr(resolver, "PROBE_TIMEOUT", 5.0)


def made(listen: str = "127.0.0.1:0", **settings: Any) -> DnsService:
    """Make a service."""
    config = Config(listen=ListenConfig(dns=listen), dns=DnsConfig(**({"upstream": ("127.0.0.1:9",)} | settings)))
    return dns_service(config, FakeRegistry(), FakeAudit(), reactor)


def start(service: DnsService) -> DnsService:
    """Start as twistd does."""
    service.privilegedStartService()
    service.startService()
    return service


async def stop(service: DnsService) -> None:
    """Stop, and wait for it."""
    await maybeDeferred(service.stopService)


def exchange(address: tuple[str, int], message: bytes) -> bytes:
    """Send one datagram and wait for one; blocking."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(message, address)
        return client.recv(4096)


async def ask(service: DnsService, name: str, qtype: int = 1) -> bytes:
    """Ask the running service over UDP."""
    return await deferToThread(exchange, service.address, w.question(name, qtype, edns=w.opt()))  # type: ignore[no-any-return]


@ensureDeferred
async def test_service_answers_and_is_ready() -> None:
    """UDP and TCP on one port; after the stop neither."""
    service = start(made(static={"gateway": ("10.0.0.2",)}))
    assert w.answers(await ask(service, "gateway")) == [("gateway.", "A", "10.0.0.2")]
    assert await service.ready()
    assert service.counters()["judged"] >= 2
    assert service.counters()["connections_refused"] == 0
    await stop(service)
    assert not await service.ready()
    with socket.socket() as client:
        assert client.connect_ex(service.address) != 0


@ensureDeferred
async def test_service_resolves_names() -> None:
    """From a real socket to a real socket and back."""
    upstream = FakeUpstream(reactor, lambda query, _: [w.response(query, (w.record(w.ASKED, 1, b"\1\2\3\4"),))])
    service = start(made(allow=("ok.example",), upstream=(f"127.0.0.1:{upstream.number}",)))
    assert w.answers(await ask(service, "ok.example")) == [("ok.example.", "A", "1.2.3.4")]
    await stop(service)
    await upstream.stop()


@ensureDeferred
async def test_datagram_throughput_is_limited() -> None:
    """With Twisted's 256 KiB a turn other work waited 2.6 seconds."""
    service = start(made())
    assert service._ports[0].maxThroughput == 2048
    await stop(service)


@ensureDeferred
async def test_all_addresses_can_be_bound_and_are_ready() -> None:
    """For 0.0.0.0 and :: the check uses loopback."""
    for listen in ("0.0.0.0:0", "[::1]:0", "[::]:0"):
        service = start(made(listen))
        assert await service.ready()
        await stop(service)


# Twisted's UDP port does not close the socket that it could not bind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
@ensureDeferred
async def test_a_failed_bind_stops_the_start(kind: int) -> None:
    """For either protocol; and the other port is released."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        number = taken.getsockname()[1]
        service = made(f"127.0.0.1:{number}")
        with pytest.raises(CannotListenError):
            service.privilegedStartService()
        assert service._ports == []
        await stop(service)


@ensureDeferred
async def test_without_privileged_start_it_binds_at_the_start() -> None:
    """A service tree that is started by hand."""
    service = made()
    service.startService()
    assert await service.ready()
    await stop(service)


@ensureDeferred
async def test_disabled_server_listens_nowhere() -> None:
    """``dns = ""``: nothing is bound or resolved, and a reload succeeds."""
    service = start(made(""))
    assert (service.enabled, service._ports, await service.ready()) == (False, [], False)
    await service.reload(Config(listen=ListenConfig(dns="")))
    await stop(service)


@ensureDeferred
async def test_a_reload_takes_effect_at_once_or_not_at_all(tmp_path: Path) -> None:
    """An invalid list leaves the old one in effect."""
    file = tmp_path / "allowlist.conf"
    file.write_text("one.example\n")
    settings: dict[str, Any] = {"allowlist_file": str(file), "upstream": (f"127.0.0.1:{free_port()}",)}
    service = start(made(**settings))
    assert w.rcode(await ask(service, "one.example")) == "SERVFAIL"
    assert w.rcode(await ask(service, "two.example")) == "NXDOMAIN"
    config = Config(listen=ListenConfig(dns="127.0.0.1:0"), dns=DnsConfig(**settings))
    file.write_text("two.example\n")
    await service.reload(config)
    assert w.rcode(await ask(service, "one.example")) == "NXDOMAIN"
    assert w.rcode(await ask(service, "two.example")) == "SERVFAIL"
    file.write_text("three.example\nnot a good line\n")
    with pytest.raises(ConfigError, match=r"allowlist\.conf:2"):
        await service.reload(config)
    itself = evolve(config, dns=DnsConfig(upstream=(f"127.0.0.1:{service.address[1]}",)))
    with pytest.raises(ConfigError, match=r"^dns\.upstream: .* is this gateway itself"):
        await service.reload(itself)
    assert w.rcode(await ask(service, "two.example")) == "SERVFAIL"
    assert w.rcode(await ask(service, "three.example")) == "NXDOMAIN"
    await stop(service)


def test_invalid_entry_is_reported_with_file_and_line(tmp_path: Path) -> None:
    """The configuration's file and line for its own keys, the allowlist's for its lines."""
    listed, file = tmp_path / "list", tmp_path / "credgate.toml"
    listed.write_text("ok.example\n*\n")
    file.write_text(f'[dns]\nupstream = ["127.0.0.1:5353"]\nallowlist_file = "{listed}"\n')
    config = load(file, {"HOME": str(tmp_path)})
    with pytest.raises(ConfigError) as own:
        dns_service(config, FakeRegistry(), FakeAudit(), reactor)
    assert (own.value.file, own.value.line, own.value.key) == (str(file), 2, "dns.upstream")
    file.write_text(file.read_text().replace("5353", "5354"))
    with pytest.raises(ConfigError) as other:
        dns_service(load(file, {"HOME": str(tmp_path)}), FakeRegistry(), FakeAudit(), reactor)
    assert (other.value.file, other.value.line) == (str(listed), 2)
    assert made("").address == ("", 0)


@ensureDeferred
async def test_counters_are_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred malformed packets, lookups over UDP and TCP, a readiness check: one summary line."""
    lines: list[dict[str, Any]] = []

    def note(event: dict[str, Any]) -> None:
        lines.append(event)

    upstream = FakeUpstream(reactor, lambda query, tcp: [w.response(query, flags=0x8180 if tcp else 0x8380)])
    service = start(made(allow=("ok.example",), upstream=(f"127.0.0.1:{upstream.number}",)))
    globalLogPublisher.addObserver(note)
    try:
        assert await service.ready()
        assert w.rcode(await ask(service, "ok.example")) == "NOERROR"
        for _ in range(100):
            service.handler.take(b"\x12\x34junk", "10.0.0.1", lambda _: None)
        assert lines == []
        service.log_counters()
        service.log_counters()
    finally:
        globalLogPublisher.removeObserver(note)
    assert [event["counters"]["faults"] for event in lines] == [100]
    assert lines[0]["sample"] == "NOTIMP to 10.0.0.1 for 6 octets"
    assert [tcp for _, tcp, _ in upstream.asked] == [False, True]
    await stop(service)
    await upstream.stop()


@ensureDeferred
async def test_a_system_without_resolvers_still_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Static names are answered; one log line says that there is no upstream."""
    monkeypatch.setattr(module, "RESOLV_CONF", tmp_path / "missing")
    service = start(made(upstream=(), allow=("ok.example",), static={"gateway": ("10.0.0.2",)}))
    assert service.upstream.servers == ()
    assert w.rcode(await ask(service, "gateway")) == "NOERROR"
    assert w.rcode(await ask(service, "ok.example")) == "SERVFAIL"
    await stop(service)
    (tmp_path / "there").write_text("nameserver 192.0.2.53\nnameserver 127.0.0.2\n")
    monkeypatch.setattr(module, "RESOLV_CONF", tmp_path / "there")
    # Bound to all addresses on port 53, the loopback resolver on that port is this gateway.
    assert made("0.0.0.0:53", upstream=()).upstream.servers == (("192.0.2.53", 53),)


@ensureDeferred
async def test_stopping_ends_connections() -> None:
    """An open client connection does not delay the stop."""
    service = start(made())
    with socket.socket() as client:
        await deferToThread(client.connect, service.address)
        await service.ready()
        await stop(service)
        client.settimeout(5)
        with pytest.raises(ConnectionResetError):
            await deferToThread(client.recv, 1)
