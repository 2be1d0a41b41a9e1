"""``credgate-dns-check``: output and exit status."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import dnslib
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread

from credgate.cli import dns_check
from credgate.loading.load import load
from credgate.service.dns.dns_service import dns_service
from tests.fakes import dnswire as w
from tests.fakes.cli import asked, borrow_reactor
from tests.fakes.dnsupstream import FakeAudit, FakeRegistry, FakeUpstream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.control_gateway import Gateway

DNS = """\
allow = ["ok.example", "*.wild.example TXT", "!no.wild.example"]
static = { gateway = "10.0.0.2" }
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a configuration; the control socket is in the same directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "credgate.toml"
    file.write_text(f'[listen]\ncontrol = "{tmp_path}/c.sock"\ndns = "127.0.0.1:0"\n[dns]\n{DNS}')
    return file


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def run(config: Path, *words: str) -> int:
    """Run the command with this configuration."""
    return dns_check.main([*words, "--config", str(config)])


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (
            ["ok.example"],
            0,
            "ok.example A: allowed, resolved upstream\n  decided by: ok.example (dns.allow, entry 1)\n",
        ),
        (
            ["A.Wild.example", "txt"],
            0,
            "a.wild.example TXT: allowed, resolved upstream, at most 30 such names per minute",
        ),
        (["gateway"], 0, "gateway A: static: 10.0.0.2\n"),
        (["2.0.0.10.in-addr.arpa", "PTR"], 0, "static: no addresses"),
        (
            ["wild.example"],
            1,
            "hint: *.wild.example (dns.allow, entry 2) allows names below it, but not the name itself\n",
        ),
        (
            ["other.example"],
            1,
            "other.example A: refused with NXDOMAIN (dns-name)\n  sent to the client: credgate: the name",
        ),
        (["no.wild.example"], 1, "NXDOMAIN (dns-denied)\n  decided by: !no.wild.example (dns.allow, entry 3)\n"),
        (["ok.example", "MX"], 1, "refused with NODATA (dns-type)"),
        (["ok.example", "any"], 1, "refused with REFUSED (dns-type)"),
        (["a b.wild.example"], 1, r"a\032b.wild.example A: refused with NXDOMAIN (dns-name-form)"),
        (["a..wild.example"], 0, "a.wild.example A: allowed"),
    ],
)
def test_decision_of_the_policy_is_printed(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, expected: str
) -> None:
    """With the entry that decides."""
    assert run(config, *words) == status
    assert expected in capsys.readouterr().out


def test_refusal_has_the_configured_response_code(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``dns.refused``."""
    _append(config, 'refused = "refused"\n')
    assert run(config, "other.example") == 1
    assert "refused with REFUSED (dns-name)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ok.example", "NOPE"], "unknown record type 'NOPE'"),
        (["a" * 64], "is not a host name"),
        ([".".join(["a b" * 20] * 6)], "longer than 255"),
        (["ok.example", "--client", "nobody"], "'nobody' does not appear to be"),
        (["ok.example", "--ask", "--server", "127.0.0.1:1", "--tcp"], "no answer: "),
    ],
)
def test_invalid_query_is_status_2(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    """With one line on standard error."""
    assert run(config, *words) == 2
    captured = capsys.readouterr()
    assert (expected in captured.err, captured.out) == (True, "")


def test_invalid_configuration_is_reported_with_file_and_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As at the gateway's start."""
    config.write_text('[dns]\nallow = ["*"]\n')
    assert run(config, "ok.example") == 2
    assert f"{config}:2: dns.allow" in capsys.readouterr().err


def test_default_configuration_is_the_environment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It allows no name. With DNS switched off there is no server to query."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dns_check.main(["ok.example"]) == 1
    monkeypatch.setenv("GATEWAY_ENABLE_DNS", "false")
    assert dns_check.main(["ok.example", "--ask"]) == 2
    assert "listen.dns: DNS is switched off" in capsys.readouterr().err


@ensureDeferred
async def test_names_of_the_clients_sessions_are_allowed(
    config: Path, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sessions of another address do not apply."""
    _use_control_socket(config, gateway)
    bound = await asked("session", "create", "--bind", "10.0.0.1", "--dns", "own.example", "--json")
    await asked("session", "create", "--dns", "free.example")
    assert await deferToThread(run, config, "own.example", "--client", "10.0.0.1") == 0
    session_id = bound.json["id"]
    assert f"decided by: own.example (session {session_id})\n  sessions: {session_id}\n" in capsys.readouterr().out
    assert await deferToThread(run, config, "own.example", "--client", "10.0.0.2") == 1
    assert "sessions: none bound to 10.0.0.2" in capsys.readouterr().out
    assert run(config, "own.example") == 1


def _use_control_socket(config: Path, gateway: Gateway) -> None:
    config.write_text(re.sub('control = ".*"', f'control = "{gateway.socket}"', config.read_text()))


@ensureDeferred
async def test_client_without_a_session_is_refused_if_configured(
    config: Path, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """``clients = "sessions"``."""
    _use_control_socket(config, gateway)
    _append(config, 'clients = "sessions"\n')
    assert await deferToThread(run, config, "ok.example", "--client", "10.0.0.2") == 1
    assert "refuses every query from this address" in capsys.readouterr().out


@ensureDeferred
async def test_policy_is_evaluated_without_a_running_gateway(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output says that the sessions are unknown. It is not assumed that there are none."""
    borrow_reactor(monkeypatch)
    _append(config, 'clients = "sessions"\n')
    assert await deferToThread(run, config, "ok.example", "--client", "10.0.0.2") == 0
    assert "sessions: unknown: no gateway answers at" in capsys.readouterr().out


@ensureDeferred
async def test_running_server_is_queried(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over UDP, over TCP, and over TCP after a truncated answer. Extended errors are printed as dig does."""
    many = tuple(w.record(w.ASKED, 1, bytes([1, 1, 1, number])) for number in range(60))
    upstream = FakeUpstream(reactor, lambda query, _: [w.response(query, many)])
    _append(config, f'upstream = ["127.0.0.1:{upstream.number}"]\n')
    service = dns_service(load(config, {"HOME": str(config.parent)}), FakeRegistry(), FakeAudit(), reactor)
    service.privilegedStartService()
    server = f"127.0.0.1:{service.address[1]}"
    for words, status, expected in (
        (["gateway"], 0, "10.0.0.2"),
        (["gateway", "--tcp"], 0, f";; SERVER: 127.0.0.1#{service.address[1]} (TCP)"),
        (["other.example"], 1, "; EDE: 15 (credgate: the name is not in the allowlist; GET /whoami lists"),
        (["ok.example"], 0, f";; SERVER: 127.0.0.1#{service.address[1]} (UDP)"),
    ):
        assert await deferToThread(run, config, *words, "--ask", "--server", server) == status
        assert expected in capsys.readouterr().out
    await maybeDeferred(service.stopService)
    await upstream.stop()


@ensureDeferred
async def test_truncated_answer_is_repeated_over_tcp(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A connection that is closed without an answer is an error."""
    server = FakeUpstream(reactor, lambda query, tcp: [w.response(query, flags=0x8180 if tcp else 0x8380)])
    address = f"127.0.0.1:{server.number}"
    assert await deferToThread(run, config, "ok.example", "--ask", "--server", address) == 0
    assert "(TCP)" in capsys.readouterr().out
    server.script = lambda _query, _tcp: []
    assert await deferToThread(run, config, "ok.example", "--ask", "--server", address, "--tcp") == 2
    assert "without an answer" in capsys.readouterr().err
    await server.stop()


def test_control_characters_in_records_are_escaped(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one byte and of two."""

    def answered(_: object, query: bytes) -> bytes:
        reply = dnslib.DNSRecord.parse(query).reply()
        reply.add_answer(dnslib.RR("ok.example", 16, rdata=dnslib.TXT(b"\x1b[31mred\xc2\x9b2J plain")))
        packed: bytes = reply.pack()
        return packed

    monkeypatch.setattr(dns_check, "ask_udp", answered)
    assert run(config, "ok.example", "TXT", "--ask", "--server", "127.0.0.1:1") == 0
    shown = capsys.readouterr().out
    assert "plain" in shown
    assert all(char == "\n" or (char.isascii() and char.isprintable()) for char in shown)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00" * 5,
        bytes.fromhex("000081800001000000000000") + b"\xc0\x0c\x00\x01\x00\x01",  # a name that points to itself
        bytes.fromhex("000081800000000100000000") + b"\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x01",  # cut rdata
        bytes.fromhex("000081800000000100000000") + b"\x00\x00\x1c\x00\x01\x00\x00\x00\x00\x00\x01\x01",  # a short AAAA
        bytes.fromhex("00008180000000ff00000000"),  # missing records
    ],
)
def test_malformed_answer_is_one_line(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, message: bytes
) -> None:
    """With exit status 2 and without a traceback."""
    monkeypatch.setattr(dns_check, "ask_udp", lambda _server, _query: message)
    assert run(config, "ok.example", "--ask", "--server", "127.0.0.1:1") == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("credgate-dns-check: malformed answer: ")
