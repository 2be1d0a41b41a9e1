"""Builds replies: header, the question as received, records, and OPT with an extended error.

A reply is never longer than the client accepts. To make it fit, ``build`` removes, in this order: the text of the
extended error, the extended error, complete records from the end (and sets TC). It never removes OPT or a part of a
record. No octet of an upstream message is copied. RFC 1035 section 4.1, RFC 2181 section 9 (TC), RFC 2308 (the SOA that
lets a refusal be cached), RFC 6891, RFC 8914.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from attrs import frozen

from credgate.dns import domain_names
from credgate.dns.codes import CD, EDNS_UDP, HEADER, IN, MAX_MESSAGE, QR, RA, RD, TC, ExtendedError, Rcode, RRType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from credgate.dns.domain_names import Name
    from credgate.dns.query import Query

_HEAD = Struct("!6H")
_FIXED = Struct("!HHIH")
_OPT = Struct("!BHHBBHH")
_OPTION = Struct("!HHH")
_EDE = 15
# A compression pointer to the name of the question.
_ASKED = b"\xc0\x0c"

# TTL of a refusal, seconds. After an operator allows a name, sandboxes use it at the latest after this time.
REFUSAL_TTL = 30


@frozen(slots=True)
class ReplyRecord:
    """One record of a reply. ``owner`` ``None``: the queried name."""

    rtype: int
    ttl: int
    rdata: bytes
    owner: Name | None = None

    def wire(self) -> bytes:
        """Return the record's octets, for a message whose question begins at offset 12."""
        owner = _ASKED if self.owner is None else domain_names.encode(self.owner)
        return owner + _FIXED.pack(self.rtype, IN, self.ttl, len(self.rdata)) + self.rdata


@frozen(slots=True)
class Extended:
    """An extended error: a code, and a text that never contains octets of a client."""

    code: ExtendedError
    text: str = ""

    def wire(self, *, text: bool = True) -> bytes:
        """Return the EDNS option."""
        words = self.text.encode() if text else b""
        return _OPTION.pack(_EDE, 2 + len(words), self.code) + words


def soa(ttl: int = REFUSAL_TTL) -> bytes:
    """Return the authority record that lets a negative answer be cached for ``ttl`` seconds."""
    rdata = domain_names.encode((b"credgate", b"invalid")) + domain_names.encode((b"policy", b"credgate", b"invalid"))
    rdata += Struct("!5I").pack(1, 3600, 600, 86400, ttl)
    return domain_names.encode(domain_names.ROOT) + _FIXED.pack(RRType.SOA, IN, ttl, len(rdata)) + rdata


_REFUSAL_SOA = soa()


@frozen(slots=True)
class Content:
    """The content of a reply, independent of the query's id, letter case, EDNS and transport."""

    rcode: int = Rcode.NOERROR
    records: tuple[ReplyRecord, ...] = ()
    negative_ttl: int = 0
    """TTL in the SOA of a negative answer; 0: no SOA."""
    extended: Extended | None = None


def _opt(query: Query, rcode: int, option: bytes) -> bytes:
    assert query.edns is not None
    # RFC 6891 section 6.1.3: OPT has the upper eight bits of the response code.
    return _OPT.pack(0, RRType.OPT, EDNS_UDP, rcode >> 4, 0, query.edns.flags, len(option)) + option


def _options(content: Content) -> Iterator[bytes]:
    """Yield the possible contents of OPT, the longest first."""
    if content.extended is not None:
        yield content.extended.wire()
        yield content.extended.wire(text=False)
    yield b""


def _fit(records: Sequence[bytes], room: int) -> int:
    """Return how many of the first records fit into ``room`` octets."""
    for count, record in enumerate(records):
        room -= len(record)
        if room < 0:
            return count
    return len(records)


def build(query: Query, content: Content, limit: int = MAX_MESSAGE) -> bytes:
    """Return the reply to ``query``, at most ``limit`` octets (``limit`` is at least 512)."""
    records, authority = [record.wire() for record in content.records], b""
    if content.negative_ttl:
        authority = _REFUSAL_SOA if content.negative_ttl == REFUSAL_TTL else soa(content.negative_ttl)
    size = HEADER + len(query.question) + len(authority) + sum(map(len, records))
    opt = b""
    if query.edns is not None:
        for option in _options(content):
            opt = _opt(query, content.rcode, option)
            if size + len(opt) <= limit:
                break
    # A record is kept or dropped as a whole (RFC 2181 section 9); TC tells the client that some are missing.
    kept = _fit(records, limit - HEADER - len(query.question) - len(authority) - len(opt))
    flags = QR | (query.flags & (RD | CD)) | RA | (content.rcode & 0xF) | (TC if kept < len(records) else 0)
    head = _HEAD.pack(query.id, flags, 1, kept, 1 if authority else 0, 1 if opt else 0)
    return b"".join((head, query.question, *records[:kept], authority, opt))


def truncated(query: Query) -> bytes:
    """Return a truncated reply, which makes a client repeat its query over TCP: the question and TC only."""
    flags = QR | (query.flags & (RD | CD)) | RA | TC
    opt = _opt(query, 0, b"") if query.edns else b""
    return _HEAD.pack(query.id, flags, 1, 0, 0, 1 if opt else 0) + query.question + opt
