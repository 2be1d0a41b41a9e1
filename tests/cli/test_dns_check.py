"""What the command says, and with which exit status."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from typing import TYPE_CHECKING, Any

import dnslib
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread

from credgate.cli import dns_check
from credgate.config.load import load
from credgate.service.dns.dns_service import dns_service
from tests.fakes import dnswire as w
from tests.fakes.dnsupstream import FakeAudit, FakeRegistry, FakeUpstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DNS = """\
allow = ["ok.example", "*.wild.example TXT", "!no.wild.example"]
static = { gateway = "10.0.0.2" }
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a configuration; the control socket is in the same folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "credgate.toml"
    file.write_text(f'[listen]\ncontrol = "{tmp_path}/c.sock"\ndns = "127.0.0.1:0"\n[dns]\n{DNS}')
    return file


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def run(config: Path, *words: str) -> int:
    """Run the command."""
    return dns_check.main([*words, "--config", str(config)])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (
            ["ok.example"],
            0,
            "ok.example A: allowed, looked up upstream\n  decided by: ok.example (dns.allow, entry 1)\n",
        ),
        (
            ["A.Wild.example", "txt"],
            0,
            "a.wild.example TXT: allowed, looked up upstream, at most 30 such names a minute",
        ),
        (["gateway"], 0, "gateway A: static: 10.0.0.2\n"),
        (["2.0.0.10.in-addr.arpa", "PTR"], 0, "static: known, without addresses"),
        (["wild.example"], 1, "hint: *.wild.example (dns.allow, entry 2) allows names below it, not itself\n"),
        (
            ["other.example"],
            1,
            "other.example A: refused with NXDOMAIN (dns-name)\n  told to the client: credgate: the name",
        ),
        (["no.wild.example"], 1, "NXDOMAIN (dns-denied)\n  decided by: !no.wild.example (dns.allow, entry 3)\n"),
        (["ok.example", "MX"], 1, "refused with NODATA (dns-type)"),
        (["ok.example", "any"], 1, "refused with REFUSED (dns-type)"),
        (["a b.wild.example"], 1, r"a\032b.wild.example A: refused with NXDOMAIN (dns-name-form)"),
        (["a..wild.example"], 0, "a.wild.example A: allowed"),
    ],
)
def test_it_says_what_the_policy_does(
    config: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, said: str
) -> None:
    """And which entry decides."""
    assert run(config, *words) == status
    assert said in capsys.readouterr().out


def test_refused_as_configured(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The code that a client gets."""
    _append(config, 'refused = "refused"\n')
    assert run(config, "other.example") == 1
    assert "refused with REFUSED (dns-name)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ok.example", "NOPE"], "unknown record type 'NOPE'"),
        (["a" * 64], "is not a host name"),
        ([".".join(["a b" * 20] * 6)], "longer than 255"),
        (["ok.example", "--client", "nobody"], "'nobody' does not appear to be"),
        (["ok.example", "--ask", "--server", "127.0.0.1:1", "--tcp"], "no answer: "),
    ],
)
def test_what_cannot_be_used(config: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    """Exit status 2, one line on standard error."""
    assert run(config, *words) == 2
    captured = capsys.readouterr()
    assert (said in captured.err, captured.out) == (True, "")


def test_a_bad_configuration_is_told_with_its_place(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the start would."""
    config.write_text('[dns]\nallow = ["*"]\n')
    assert run(config, "ok.example") == 2
    assert f"{config}:2: dns.allow" in capsys.readouterr().err


def test_without_a_file_the_environment_is_the_configuration(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is allowed then; with DNS off there is nobody to ask."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dns_check.main(["ok.example"]) == 1
    monkeypatch.setenv("GATEWAY_ENABLE_DNS", "false")
    assert dns_check.main(["ok.example", "--ask"]) == 2
    assert "listen.dns: DNS is switched off" in capsys.readouterr().err


class _Server(socketserver.UnixStreamServer):
    def get_request(self) -> tuple[Any, Any]:
        """Give the handler an address, as it wants one."""
        return super().get_request()[0], ("", 0)


@pytest.fixture
def control(config: Path) -> Iterator[list[dict[str, Any]]]:
    """Serve ``GET /v1/sessions`` on the control socket."""
    sessions: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the sessions."""
            body = json.dumps({"sessions": sessions}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    server = _Server(str(config.parent / "c.sock"), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield sessions
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_clients_sessions_count(
    config: Path, control: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Their names are asked of the running gateway; another address has none of them."""
    control += [
        {"id": "s-1", "bind": "10.0.0.1/32", "dns": ["own.example"]},
        {"id": "s-2", "bind": None, "dns": ["free.example"]},
    ]
    assert run(config, "own.example", "--client", "10.0.0.1") == 0
    assert "decided by: own.example (session s-1)\n  sessions: s-1\n" in capsys.readouterr().out
    assert run(config, "own.example", "--client", "10.0.0.2") == 1
    assert "sessions: none is bound to 10.0.0.2" in capsys.readouterr().out
    assert run(config, "own.example") == 1


def test_a_stranger_may_be_refused_altogether(
    config: Path, control: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """``clients = "sessions"``."""
    _append(config, 'clients = "sessions"\n')
    assert run(config, "ok.example", "--client", "10.0.0.2") == 1
    assert "refuses this address altogether" in capsys.readouterr().out
    assert control == []


def test_no_gateway_runs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The policy is told all the same."""
    assert run(config, "ok.example", "--client", "10.0.0.2") == 0
    assert "sessions: not asked, no gateway answers at" in capsys.readouterr().out


@ensureDeferred
async def test_the_running_server_is_asked(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over UDP, over TCP, and over TCP when UDP does not hold it; the extended error is printed as dig does."""
    many = tuple(w.record(w.ASKED, 1, bytes([1, 1, 1, number])) for number in range(60))
    upstream = FakeUpstream(reactor, lambda query, _: [w.response(query, many)])
    _append(config, f'upstream = ["127.0.0.1:{upstream.number}"]\n')
    service = dns_service(load(config, {"HOME": str(config.parent)}), FakeRegistry(), FakeAudit(), reactor)
    service.privilegedStartService()
    server = f"127.0.0.1:{service.address[1]}"
    for words, status, said in (
        (["gateway"], 0, "10.0.0.2"),
        (["gateway", "--tcp"], 0, f";; SERVER: 127.0.0.1#{service.address[1]} (TCP)"),
        (["other.example"], 1, "; EDE: 15 (credgate: the name is not in the allowlist; GET /whoami lists"),
        (["ok.example"], 0, f";; SERVER: 127.0.0.1#{service.address[1]} (UDP)"),
    ):
        assert await deferToThread(run, config, *words, "--ask", "--server", server) == status
        assert said in capsys.readouterr().out
    await maybeDeferred(service.stopService)
    await upstream.stop()


@ensureDeferred
async def test_truncated_over_udp_is_asked_over_tcp(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As dig does; and a server that only closes has given no answer."""
    server = FakeUpstream(reactor, lambda query, tcp: [w.response(query, flags=0x8180 if tcp else 0x8380)])
    address = f"127.0.0.1:{server.number}"
    assert await deferToThread(run, config, "ok.example", "--ask", "--server", address) == 0
    assert "(TCP)" in capsys.readouterr().out
    server.script = lambda _query, _tcp: []
    assert await deferToThread(run, config, "ok.example", "--ask", "--server", address, "--tcp") == 2
    assert "without an answer" in capsys.readouterr().err
    await server.stop()


def test_an_answer_moves_no_terminal(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters in records are escaped, of one byte and of two; the rest is shown as it is."""

    def answered(_: object, query: bytes) -> bytes:
        reply = dnslib.DNSRecord.parse(query).reply()
        reply.add_answer(dnslib.RR("ok.example", 16, rdata=dnslib.TXT(b"\x1b[31mred\xc2\x9b2J plain")))
        packed: bytes = reply.pack()
        return packed

    monkeypatch.setattr(dns_check, "_datagram", answered)
    assert run(config, "ok.example", "TXT", "--ask", "--server", "127.0.0.1:1") == 0
    shown = capsys.readouterr().out
    assert "plain" in shown
    assert all(char == "\n" or (char.isascii() and char.isprintable()) for char in shown)
