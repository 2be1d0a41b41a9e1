"""``credgate-dns-check NAME [TYPE]``: what the DNS policy does with a question, and which entry decides.

Reads the configuration as the gateway does and judges with the gateway's own core; the names of running sessions are
asked for over the control socket when ``--client`` says whose. ``--ask`` puts the question to the running server
instead and prints its answer as dig would, extended error included, read by dnslib: an independent codec. Exit status:
0 allowed (or NOERROR), 1 refused, 2 the question or the configuration cannot be used.
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dnslib
from attrs import frozen

from credgate.cli.output import printable
from credgate.config.load import from_environment, load
from credgate.dns import codes, domain_names, framing, upstreams
from credgate.dns.clients import SessionIndex
from credgate.dns.domain_names import WireError
from credgate.dns.query_policy import NO_ENTRIES, Disposition, make_policy, session_entries
from credgate.dns.upstream_response import MAX_RESPONSE
from credgate.errors import ConfigError
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credgate.config.schema import Config
    from credgate.dns.allowlist import Allowlist
    from credgate.dns.query_policy import QueryPolicy, QueryVerdict
    from credgate.dns.upstreams import Endpoint

TIMEOUT = 6.0
"""Seconds for an answer of the running server, which may ask upstream for 4.5."""
_EDE = 15
_UNUSABLE = 2
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="credgate-dns-check", description=__doc__.partition("\n\n")[0])
    parser.add_argument("name", help="the name a sandbox asks for")
    parser.add_argument("type", nargs="?", default="A", help="the record type, such as AAAA (default: A)")
    parser.add_argument("--config", type=Path, help="the gateway's configuration file")
    parser.add_argument("--client", default="", help="judge for this client address, with its sessions' names")
    parser.add_argument("--ask", action="store_true", help="ask the running server and print its answer")
    parser.add_argument("--server", default="", help="with --ask: address:port (default: where the gateway listens)")
    parser.add_argument("--tcp", action="store_true", help="with --ask: over TCP")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = _arguments(argv)
    try:
        qtype = codes.type_number(arguments.type.upper())
        config = load(arguments.config, os.environ) if arguments.config else from_environment(os.environ)
        if arguments.ask:
            return _ask(arguments, qtype, config)
        return _judge(arguments, qtype, config)
    except (ConfigError, ValueError, WireError) as error:
        return _say(f"credgate-dns-check: {error}", status=_UNUSABLE)
    except OSError as error:
        return _say(f"credgate-dns-check: no answer: {error}", status=_UNUSABLE)


def _say(*lines: str, status: int) -> int:
    # Records are the answering server's words: no control character of theirs reaches the terminal.
    for line in "\n".join(lines).expandtabs().split("\n"):
        print(printable(line), file=sys.stderr if status == _UNUSABLE else sys.stdout)
    return status


def _labels(text: str) -> domain_names.Name:
    """Return the labels of a name as typed, a host name or not: what is none is for the policy to refuse."""
    try:
        return domain_names.parse(text)
    except ValueError:
        parts = text.removesuffix(".").encode().split(b".")
        if max(map(len, parts)) > domain_names.MAX_LABEL:
            raise
        name, _ = domain_names.read(domain_names.encode(tuple(filter(None, parts))), 0)
        return domain_names.fold(name)


# The policy.


@frozen(slots=True)
class _Bound:
    """A session as the control API shows it, as far as ``SessionIndex`` needs it."""

    id: str
    bound_to: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    dns: tuple[str, ...]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _sessions(control: str) -> list[Any]:
    """Return the running gateway's sessions; ``OSError`` when none answers."""
    connection = _UnixConnection(control)
    try:
        connection.request("GET", "/v1/sessions")
        shown = json.loads(connection.getresponse().read())["sessions"]
    finally:
        connection.close()
    return [
        _Bound(one["id"], ipaddress.ip_network(one["bind"]) if one["bind"] else None, tuple(one["dns"]))
        for one in shown
    ]


def _client(arguments: argparse.Namespace, config: Config) -> tuple[Allowlist, str]:
    """Return the names that the client's sessions add, and a line about them."""
    if not arguments.client:
        return NO_ENTRIES, ""
    address = ipaddress.ip_address(arguments.client)
    try:
        found = SessionIndex(_sessions(config.listen.control)).find(address)
    except OSError as error:
        return NO_ENTRIES, f"  sessions: not asked, no gateway answers at {config.listen.control} ({error.strerror})"
    if not found:
        return NO_ENTRIES, f"  sessions: none is bound to {address}"
    ids = ", ".join(session.id for session in found)
    return session_entries((name for one in found for name in one.dns), f"session {found[0].id}"), f"  sessions: {ids}"


def _judge(arguments: argparse.Namespace, qtype: int, config: Config) -> int:
    policy, name = make_policy(config.dns), _labels(arguments.name)
    session, about = _client(arguments, config)
    verdict = policy.judge(name, qtype, session=session)
    lines = [f"{domain_names.presentation(name)} {codes.type_name(qtype)}: {_outcome(verdict, config, policy, name)}"]
    lines += [f"  decided by: {verdict.decision.rule}"] if verdict.decision.rule else []
    lines += [f"  told to the client: {verdict.decision.text}"] if verdict.decision.text else []
    lines += _hints(policy, name, verdict) + ([about] if about else [])
    if config.dns.clients == "sessions" and "none" in about:
        return _say(*lines, '  but: clients = "sessions" refuses this address altogether', status=1)
    return _say(*lines, status=0 if verdict.decision.allow else 1)


def _outcome(verdict: QueryVerdict, config: Config, policy: QueryPolicy, name: domain_names.Name) -> str:
    match verdict.outcome:
        case Disposition.ASK:
            counted = f", at most {config.dns.names_per_minute} such names a minute and client"
            return "allowed, looked up upstream" + (counted if verdict.wildcard is not None else "")
        case Disposition.STATIC:
            static = [str(address) for address in policy.static.get(name, ())]
            return "static: " + (", ".join(static) or "known, without addresses")
        case Disposition.NO_TYPE:
            code = "NODATA"
        case Disposition.NO_NAME:
            code = config.dns.refused.upper()
        case Disposition.REFUSED:
            code = "REFUSED"
    return f"refused with {code} ({verdict.decision.reason})"


def _hints(policy: QueryPolicy, name: domain_names.Name, verdict: QueryVerdict) -> list[str]:
    if verdict.decision.reason is not Reason.DNS_NAME:
        return []
    entry = policy.entries.allows.get((name, True))
    return [f"  hint: {entry} allows names below it, not itself"] if entry is not None else []


# The running server.


def _ask(arguments: argparse.Namespace, qtype: int, config: Config) -> int:
    if not arguments.server and not config.listen.dns:
        raise ConfigError("DNS is switched off", key="listen.dns")
    host, port = upstreams.endpoint(arguments.server or config.listen.dns)
    server = _EVERY_ADDRESS.get(host, host), port
    question = dnslib.DNSQuestion(dnslib.DNSLabel(list(_labels(arguments.name))), qtype)
    query = dnslib.DNSRecord(dnslib.DNSHeader(id=secrets.randbits(16), rd=1), questions=[question])
    query.add_ar(dnslib.EDNS0(udp_len=codes.EDNS_UDP))
    reply, tcp = b"", arguments.tcp
    if not tcp:
        reply = _datagram(server, query.pack())
        tcp = bool(dnslib.DNSRecord.parse(reply).header.tc)
    answer = dnslib.DNSRecord.parse(_stream(server, query.pack()) if tcp else reply)
    lines = [str(answer), *_extended(answer), f";; SERVER: {server[0]}#{server[1]} ({'TCP' if tcp else 'UDP'})"]
    return _say(*lines, status=0 if answer.header.rcode == codes.Rcode.NOERROR else 1)


def _extended(answer: dnslib.DNSRecord) -> list[str]:
    """Return the extended errors as dig shows them."""
    options = [option for record in answer.ar if record.rtype == codes.RRType.OPT for option in record.rdata]
    found = [option.data for option in options if option.code == _EDE]
    return [f"; EDE: {int.from_bytes(data[:2])} ({_words(data)})" for data in found]


def _words(data: bytes) -> str:
    text = data[2:].decode(errors="replace")
    return "".join(char if char.isprintable() else "?" for char in text)


def _socket(server: Endpoint, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, kind)
    made.settimeout(TIMEOUT)
    return made


def _datagram(server: Endpoint, query: bytes) -> bytes:
    with _socket(server, socket.SOCK_DGRAM) as asking:
        asking.connect(server)
        asking.send(query)
        return asking.recv(MAX_RESPONSE)


def _stream(server: Endpoint, query: bytes) -> bytes:
    frames = framing.Frames(codes.MAX_MESSAGE)
    with _socket(server, socket.SOCK_STREAM) as asking:
        asking.connect(server)
        asking.sendall(framing.frame(query))
        while octets := asking.recv(65536):
            if messages := frames.receive(octets):
                return messages[0]
    raise ConnectionResetError("the server closed the connection without an answer")


if __name__ == "__main__":
    sys.exit(main())
