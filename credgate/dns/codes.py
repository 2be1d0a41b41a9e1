"""The numbers of the DNS, by name: record types, response codes, flags, extended errors.

Plain ``int`` constants where the fast path compares them, enums where people read them. Nothing here decides.
Numbers: IANA "Domain Name System (DNS) Parameters"; RFC 1035 (the header), RFC 6891 (EDNS), RFC 8914 (extended
errors), RFC 9460 (SVCB, HTTPS).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class RRType(IntEnum):
    """Record types that credgate knows by name. Any other is a number, and never answered."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    NULL = 10
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    DS = 43
    RRSIG = 46
    NSEC = 47
    DNSKEY = 48
    TLSA = 52
    SVCB = 64
    HTTPS = 65
    SPF = 99
    TKEY = 249
    TSIG = 250
    IXFR = 251
    AXFR = 252
    ANY = 255
    CAA = 257


class Rcode(IntEnum):
    """Response codes that credgate gives or reads."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class ExtendedError(IntEnum):
    """RFC 8914 info-codes that credgate gives."""

    OTHER = 0
    STALE_ANSWER = 3
    BLOCKED = 15
    PROHIBITED = 18
    STALE_NXDOMAIN_ANSWER = 19
    NO_REACHABLE_AUTHORITY = 22


IN: Final = 1
HEADER: Final = 12
"""Octets of a message header."""

QR: Final = 0x8000
OPCODE: Final = 0x7800
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
CD: Final = 0x0010
RCODE: Final = 0x000F

DO: Final = 0x8000
"""In the OPT record's flags: DNSSEC records wanted. Echoed, never acted on."""

PLAIN_UDP: Final = 512
"""What a client without EDNS takes over UDP, octets."""
EDNS_UDP: Final = 1232
"""What we say we take and the most we send over UDP: fits every path without fragments."""
MAX_MESSAGE: Final = 65535


def type_name(number: int) -> str:
    """Return how people write a record type: its name, or ``TYPE123`` (RFC 3597)."""
    try:
        return RRType(number).name
    except ValueError:
        return f"TYPE{number}"


def type_number(text: str) -> int:
    """Return the number of a record type written as a name or as ``TYPE123``; ``ValueError`` if it is neither."""
    if text.startswith("TYPE") and text[4:].isascii() and text[4:].isdigit() and int(text[4:]) <= MAX_MESSAGE:
        return int(text[4:])
    try:
        return RRType[text].value
    except KeyError:
        raise ValueError(f"{text!r} is no record type that credgate knows") from None
