"""DNS messages made and read by hand or by independent codecs, for tests: credgate's own codec is what they judge."""

from __future__ import annotations

import struct
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

IN = 1


def name(text: str) -> bytes:
    """Write a dotted name on the wire; labels cannot hold dots here."""
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".") if part) + b"\0"


def header(ident: int = 0x1234, flags: int = 0x0100, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    """Write a header; RD and one question by default."""
    return struct.pack("!6H", ident, flags, *counts)


def opt(payload: int = 1232, version: int = 0, flags: int = 0, options: bytes = b"") -> bytes:
    """Write an OPT record."""
    return b"\0" + struct.pack("!HHBBHH", 41, payload, 0, version, flags, len(options)) + options


def option(code: int, content: bytes) -> bytes:
    """Write an EDNS option."""
    return struct.pack("!HH", code, len(content)) + content


def question(
    asked: str | bytes,
    qtype: int = 1,
    *,
    ident: int = 0x1234,
    flags: int = 0x0100,
    qclass: int = IN,
    edns: bytes | None = None,
) -> bytes:
    """Write a query with one question; ``edns`` is the OPT record from ``opt``."""
    wire = name(asked) if isinstance(asked, str) else asked
    counts = (1, 0, 0, 1 if edns else 0)
    return header(ident, flags, counts) + wire + struct.pack("!HH", qtype, qclass) + (edns or b"")


def record(owner: bytes, rtype: int, rdata: bytes, ttl: int = 60, rclass: int = IN) -> bytes:
    """Write a record; ``owner`` is wire octets (``ASKED`` points at the question)."""
    return owner + struct.pack("!HHIH", rtype, rclass, ttl, len(rdata)) + rdata


ASKED = b"\xc0\x0c"


def response(
    asked: bytes,
    answers: tuple[bytes, ...] = (),
    authority: tuple[bytes, ...] = (),
    additional: tuple[bytes, ...] = (),
    *,
    rcode: int = 0,
    flags: int = 0x8180,
) -> bytes:
    """Write what an upstream replies to the query ``asked``: its id and question, then these records."""
    counts = (1, len(answers), len(authority), len(additional))
    head = header(int.from_bytes(asked[:2]), flags | rcode, counts)
    return head + asked[12:] + b"".join((*answers, *authority, *additional))


def soa_record(owner: bytes = b"\0", ttl: int = 60, minimum: int = 30) -> bytes:
    """Write an SOA."""
    return record(owner, 6, b"\0\0" + struct.pack("!5I", 1, 2, 3, 4, minimum), ttl)


def read(reply: bytes) -> Any:
    """Read a reply with dnspython: an independent judge of its form."""
    return dns.message.from_wire(reply)


def rcode(reply: bytes) -> str:
    """Say a reply's response code by name, the extended ones too."""
    return dns.rcode.to_text(read(reply).rcode())


def flags(reply: bytes) -> set[str]:
    """Say a reply's flags."""
    return set(dns.flags.to_text(read(reply).flags).split())


def answers(reply: bytes) -> list[tuple[str, str, str]]:
    """Say a reply's answer section as (owner, type, data)."""
    return [
        (str(rrset.name), dns.rdatatype.to_text(rrset.rdtype), str(rdata))
        for rrset in read(reply).answer
        for rdata in rrset
    ]


def extended_error(reply: bytes) -> tuple[int, str] | None:
    """Say a reply's extended error: code and text."""
    for one in read(reply).options:
        if one.otype == 15:
            return int(one.code), one.text or ""
    return None
