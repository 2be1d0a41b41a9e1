"""The worst inputs of the DNS server: queries of sandboxes, answers of resolvers."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import struct
from typing import TYPE_CHECKING

from tests.attacks.siege import MIB
from tests.attacks.worst_inputs import Case
from tests.fakes.dnswire import header, name

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.attacks.worst_inputs import Stage

A, HTTPS = 1, 65
numbers = itertools.count()
"""Makes names that were not asked about before."""


def question(qname: bytes, qtype: int = A, ident: int = 1) -> bytes:
    """Write a query."""
    return header(ident) + qname + struct.pack("!HH", qtype, 1)


LONGEST = b"\x01a" * 126 + b"\0"
LABELS = name("x" * 63 + "." + "y" * 63 + "." + "z" * 63 + ".ok.test")


def streamed(message: bytes, size: int = MIB) -> Callable[[Stage], str]:
    """Send queries over one TCP connection, all at once, and read while they are answered."""

    def run(stage: Stage) -> str:
        framed = struct.pack("!H", len(message)) + message
        count, at, got = size // len(framed), 0, bytearray()
        data = framed * count
        with socket.create_connection(("127.0.0.1", stage.dns_port)) as client:
            client.settimeout(0)
            with contextlib.suppress(OSError):
                while (answered := frames(got)) < count:
                    readable, writable, _ = select.select([client], [client] if at < len(data) else [], [], 10)
                    if writable:
                        at += client.send(data[at : at + 65536])
                    piece = client.recv(65536) if readable else b""
                    if not piece and not writable:
                        return f"closed after {answered}"
                    got += piece
                return f"{answered} answered"
        return "closed"

    return run


def frames(stream: bytearray) -> int:
    """Count the whole messages in a stream, all of which are as long as the first."""
    return len(stream) // (2 + int.from_bytes(stream[:2])) if len(stream) > 1 else 0


def datagrams(message: bytes, size: int = MIB) -> Callable[[Stage], str]:
    """Send a megabyte of queries by UDP, as fast as it goes."""

    def run(stage: Stage) -> str:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", stage.dns_port))
            for _ in range(size // len(message)):
                client.send(message)
        return "sent"

    return run


def resolved(qtype: int, script: Callable[[bytes], tuple[int, bytes]]) -> Callable[[Stage], str]:
    """Ask about an allowed name and have the resolver answer by ``script``."""

    def run(stage: Stage) -> str:
        stage.dns.script = script
        qname = name(f"n{next(numbers)}.wild.test")
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(15)
            client.connect(("127.0.0.1", stage.dns_port))
            client.send(question(qname, qtype))
            return f"rcode {client.recv(65535)[3] & 15}"

    return run


def record(owner: bytes, rtype: int, rdata: bytes) -> bytes:
    """Write a record."""
    return owner + struct.pack("!HHIH", rtype, 1, 60, len(rdata)) + rdata


def pointers(asked: bytes) -> tuple[int, bytes]:
    """Write chains of pointers: each record's name leads through all before it."""
    at, out = 12 + len(asked), b""
    out = record(b"\xc0\x0c", A, b"\x08\x08\x08\x08")
    while len(out) < 64 * 1024 - 600:
        out += record(struct.pack("!H", 0xC000 | min(0x3FFF, at + len(out) - 16)), A, b"\x08\x08\x08\x08")
    return 4000, out


def addresses(_asked: bytes) -> tuple[int, bytes]:
    """Write as many addresses as fit into 64 KiB."""
    one = record(b"\xc0\x0c", A, b"\x08\x08\x08\x08")
    return 4000, one * 4000


def parameters(_asked: bytes) -> tuple[int, bytes]:
    """Write a service record with as many parameters as fit into what is read."""
    params = b"".join(struct.pack("!HH", 1000 + at, 0) for at in range(1950))
    return 1, record(b"\xc0\x0c", HTTPS, b"\0\1\0" + params)


DNS = (
    Case("DNS query", "TCP: 1 MiB of queries at once", streamed(question(name("no.test"))), r"\d+ answered"),
    Case("DNS query", "TCP: names of 126 labels", streamed(question(LONGEST)), r"\d+ answered"),
    Case("DNS query", "TCP: a message of 64 KiB", streamed(bytes(65535)), "closed"),
    Case("DNS query", "UDP: 1 MiB of refused names", datagrams(question(name("no.test"))), "sent"),
    Case("DNS query", "UDP: names of 126 labels", datagrams(question(LONGEST)), "sent"),
    Case("DNS query", "UDP: labels of 63 octets", datagrams(question(LABELS)), "sent"),
    Case("DNS query", "UDP: 512 octets of pointers", datagrams(header() + b"\xc0\x0c" * 250), "sent"),
    Case("DNS answer", "64 KiB of chained pointers", resolved(A, pointers), r"rcode \d"),
    Case("DNS answer", "4,000 addresses", resolved(A, addresses), r"rcode \d"),
    Case("DNS answer", "1,950 service parameters", resolved(HTTPS, parameters), r"rcode \d"),
)
