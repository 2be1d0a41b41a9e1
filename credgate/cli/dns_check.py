"""``credgate-dns-check NAME [TYPE]``: show how the DNS policy answers a query, and which entry decides.

It reads the configuration and evaluates the policy with the gateway's own code. With ``--client`` it asks the running
gateway for the names of that client's sessions. With ``--ask`` it sends the query to the running server instead and
prints the answer as dig does, including extended errors (RFC 8914). The answer is parsed by dnslib, a second codec.

Exit status: 0 allowed (or NOERROR), 1 refused, 2 invalid query or configuration, or no valid answer.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dnslib
from attrs import frozen

from credgate.cli.gateway_options import ControlSocket
from credgate.cli.output import UNUSABLE, CommandError, printable
from credgate.dns import codes, domain_names, framing, upstreams
from credgate.dns.clients import SessionIndex
from credgate.dns.domain_names import WireError
from credgate.dns.query_policy import NO_ENTRIES, Disposition, make_policy, session_entries
from credgate.dns.upstream_response import MAX_RESPONSE
from credgate.errors import ConfigError
from credgate.loading.load import from_environment, load
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from credgate.config.schema import Config
    from credgate.dns.allowlist import Allowlist
    from credgate.dns.query_policy import QueryPolicy, QueryVerdict
    from credgate.dns.upstreams import Endpoint

TIMEOUT = 6.0
"""Seconds for an answer of the running server, whose own upstream queries may take 4.5."""
_EDE = 15
"""The EDNS option of extended errors (RFC 8914)."""
_WILDCARD_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="credgate-dns-check", description=__doc__.partition("\n\n")[0])
    parser.add_argument("name", help="the name to look up")
    parser.add_argument("type", nargs="?", default="A", help="the record type, such as AAAA (default: A)")
    parser.add_argument("--config", type=Path, help="the gateway's configuration file")
    parser.add_argument("--client", default="", help="apply the sessions of this client address")
    parser.add_argument("--ask", action="store_true", help="query the running server and print its answer")
    parser.add_argument("--server", default="", help="with --ask: address:port (default: the gateway's)")
    parser.add_argument("--tcp", action="store_true", help="with --ask: use TCP")
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
        return _print(f"credgate-dns-check: {error}", status=UNUSABLE)
    except OSError as error:
        return _print(f"credgate-dns-check: no answer: {error}", status=UNUSABLE)


def _print(*lines: str, status: int) -> int:
    # The records come from the server that answered, so control characters are escaped.
    for line in "\n".join(lines).expandtabs().split("\n"):
        print(printable(line), file=sys.stderr if status == UNUSABLE else sys.stdout)
    return status


def _labels(text: str) -> domain_names.Name:
    """Return the labels of a name. Any labels that can be encoded are accepted: the policy decides about host names."""
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
class _BoundSession:
    """The fields of a session that ``SessionIndex`` uses."""

    id: str
    bound_to: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    dns: tuple[str, ...]


def _client(arguments: argparse.Namespace, config: Config) -> tuple[Allowlist, list[str], bool]:
    """Return the names that the client's sessions add, output lines about them, and whether it has no session."""
    if not arguments.client:
        return NO_ENTRIES, [], False
    address = ipaddress.ip_address(arguments.client)
    try:
        sessions = ControlSocket(Path(config.listen.control)).ask("GET", "/v1/sessions")["sessions"]
    except CommandError as error:
        return NO_ENTRIES, [f"  sessions: unknown: {error.format_message()}"], False
    # Any: the index takes objects with these attributes.
    bound: list[Any] = [
        _BoundSession(one["id"], ipaddress.ip_network(one["bind"]) if one["bind"] else None, tuple(one["dns"]))
        for one in sessions
    ]
    found = SessionIndex(bound).find(address)
    if not found:
        return NO_ENTRIES, [f"  sessions: none bound to {address}"], True
    entries = session_entries((name for one in found for name in one.dns), f"session {found[0].id}")
    return entries, [f"  sessions: {', '.join(one.id for one in found)}"], False


def _judge(arguments: argparse.Namespace, qtype: int, config: Config) -> int:
    policy, name = make_policy(config.dns), _labels(arguments.name)
    session, about, unbound = _client(arguments, config)
    verdict = policy.judge(name, qtype, session=session)
    lines = [f"{domain_names.presentation(name)} {codes.type_name(qtype)}: {_outcome(verdict, config, policy, name)}"]
    lines += [f"  decided by: {verdict.decision.rule}"] if verdict.decision.rule else []
    lines += [f"  sent to the client: {verdict.decision.text}"] if verdict.decision.text else []
    lines += [*_hints(policy, name, verdict), *about]
    if config.dns.clients == "sessions" and unbound:
        return _print(*lines, '  but: clients = "sessions" refuses every query from this address', status=1)
    return _print(*lines, status=0 if verdict.decision.allow else 1)


def _outcome(verdict: QueryVerdict, config: Config, policy: QueryPolicy, name: domain_names.Name) -> str:
    match verdict.outcome:
        case Disposition.ASK:
            limit = f", at most {config.dns.names_per_minute} such names per minute and client"
            return "allowed, resolved upstream" + (limit if verdict.wildcard is not None else "")
        case Disposition.STATIC:
            static = [str(address) for address in policy.static.get(name, ())]
            return "static: " + (", ".join(static) or "no addresses")
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
    return [f"  hint: {entry} allows names below it, but not the name itself"] if entry is not None else []


# The running server.


def _ask(arguments: argparse.Namespace, qtype: int, config: Config) -> int:
    if not arguments.server and not config.listen.dns:
        raise ConfigError("DNS is switched off", key="listen.dns")
    host, port = upstreams.endpoint(arguments.server or config.listen.dns)
    server = _WILDCARD_ADDRESSES.get(host, host), port
    question = dnslib.DNSQuestion(dnslib.DNSLabel(list(_labels(arguments.name))), qtype)
    query = dnslib.DNSRecord(dnslib.DNSHeader(id=secrets.randbits(16), rd=1), questions=[question])
    query.add_ar(dnslib.EDNS0(udp_len=codes.EDNS_UDP))
    tcp = arguments.tcp
    answer = _parse((_ask_tcp if tcp else ask_udp)(server, query.pack()))
    # A truncated answer is requested again over TCP, as resolvers do (RFC 7766).
    if not tcp and answer.header.tc:
        tcp, answer = True, _parse(_ask_tcp(server, query.pack()))
    options = [option for record in answer.ar if record.rtype == codes.RRType.OPT for option in record.rdata]
    # RFC 8914, in the format of dig. Escaped here, because a line break in the text would start an output line.
    extended = [
        f"; EDE: {int.from_bytes(option.data[:2])} ({printable(option.data[2:].decode(errors='replace'))})"
        for option in options
        if option.code == _EDE
    ]
    lines = [str(answer), *extended, f";; SERVER: {server[0]}#{server[1]} ({'TCP' if tcp else 'UDP'})"]
    return _print(*lines, status=0 if answer.header.rcode == codes.Rcode.NOERROR else 1)


def _parse(message: bytes) -> dnslib.DNSRecord:
    # For a malformed message dnslib raises exceptions of many types, from the parser and from the conversion to text.
    try:
        record = dnslib.DNSRecord.parse(message)
        str(record)
    except Exception as error:  # noqa: BLE001 - see above
        raise ValueError(f"malformed answer: {error}") from None
    return record


def _socket(server: Endpoint, kind: socket.SocketKind) -> socket.socket:
    client = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, kind)
    client.settimeout(TIMEOUT)
    return client


def ask_udp(server: Endpoint, query: bytes) -> bytes:
    """Send a query over UDP and return the answer. Raises OSError."""
    with _socket(server, socket.SOCK_DGRAM) as client:
        client.connect(server)
        client.send(query)
        return client.recv(MAX_RESPONSE)


def _ask_tcp(server: Endpoint, query: bytes) -> bytes:
    frames = framing.Frames(codes.MAX_MESSAGE)
    with _socket(server, socket.SOCK_STREAM) as client:
        client.connect(server)
        client.sendall(framing.frame(query))
        while octets := client.recv(65536):
            if messages := frames.receive(octets):
                return messages[0]
    raise ConnectionResetError("the server closed the connection without an answer")


if __name__ == "__main__":
    sys.exit(main())
