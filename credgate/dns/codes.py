"""Names for the numbers of the DNS protocol: record types, response codes, flags, extended errors.

Constants that the fast path compares are plain ``int``; the others are enums. Sources:
IANA "Domain Name System (DNS)
Parameters"; RFC 1035 (the header), RFC 6891 (EDNS), RFC 8914 (extended errors), RFC 9460 (SVCB, HTTPS).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class RRType(IntEnum):
    """Record types that credgate knows by name. Any other type is never answered."""

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
    """Response codes that credgate sends or interprets."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class ExtendedError(IntEnum):
    """Info-codes of RFC 8914 that credgate sends."""

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

# Flag in OPT: the client wants DNSSEC records. It is copied to the reply and otherwise ignored.
DO: Final = 0x8000

# Largest UDP message for a client without EDNS, octets (RFC 1035).
PLAIN_UDP: Final = 512
# Largest UDP message that credgate announces and sends, octets: small enough to avoid IP fragments.
EDNS_UDP: Final = 1232
MAX_MESSAGE: Final = 65535


def type_name(number: int) -> str:
    """Return the text form of a record type: its name, or ``TYPE123`` (RFC 3597)."""
    try:
        return RRType(number).name
    except ValueError:
        return f"TYPE{number}"


def type_number(text: str) -> int:
    """Parse a record type, a name or ``TYPE123``. Raises ``ValueError``."""
    if text.startswith("TYPE") and text[4:].isascii() and text[4:].isdigit() and int(text[4:]) <= MAX_MESSAGE:
        return int(text[4:])
    try:
        return RRType[text].value
    except KeyError:
        raise ValueError(f"unknown record type {text!r}") from None
