"""Queries to upstream resolvers, and the parser of their responses.

No octet of the sandbox's message is sent upstream: the query is built anew with a random id, random letter case (0x20)
and no options, so that neither case nor EDNS carries data out. A response is accepted only if its id, the QR bit and
the question, including the letter case, match the query. (``service.dns.resolver`` uses a connected socket, so it also
comes from the right address and port.) It is then parsed strictly: counts, names (pointers point backwards), record
lengths, no trailing octets. Kept are the records of the queried type and the aliases of the answer section, and the
negative TTL of the SOA. Other records are parsed and ignored. RFC 1035, RFC 5452 (forgery), draft-vixie-dnsext-dns0x20,
RFC 2308 (negative TTL).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate.dns import domain_names, svcb
from credgate.dns.codes import HEADER, IN, OPCODE, QR, RCODE, RD, TC, RRType
from credgate.dns.domain_names import WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.dns.domain_names import Name

# Largest upstream message, octets, also over TCP. Answers with addresses are smaller.
MAX_RESPONSE = 8192
MAX_RECORDS = 64

_HEAD = Struct("!6H")
_PAIR = Struct("!2H")
_FIXED = Struct("!HHIH")
# A TTL with the top bit set counts as 0 (RFC 2181 section 8).
_TTL_TOP = 0x80000000


class MismatchError(WireError):
    """A message that is not the response to the query. It is ignored, because the right one may still arrive."""


class CaseMismatchError(MismatchError):
    """Only the letter case of the name differs: the server changes it, or the response is forged. Retry over TCP."""


@frozen(slots=True)
class SentQuestion:
    """A query as sent. ``question``: the octets of the question section, with the random letter case."""

    message: bytes = field(repr=False)
    question: bytes = field(repr=False)
    qtype: int


@frozen(slots=True)
class Resource:
    """One record. ``owner`` is folded, ``rdata`` is uncompressed, ``target`` is the name that it points to."""

    owner: Name
    rtype: int
    ttl: int
    rdata: bytes
    target: Name = domain_names.ROOT


@frozen(slots=True)
class Response:
    """The response of an upstream. ``negative_ttl`` is ``None`` without an SOA."""

    rcode: int
    truncated: bool = False
    answers: tuple[Resource, ...] = ()
    negative_ttl: int | None = None


def ask(name: Name, qtype: int, entropy: Callable[[int], bytes]) -> SentQuestion:
    """Build the query for a folded name. ``entropy(n)`` returns ``n`` random octets."""
    wire = bytearray(domain_names.encode(name))
    # Two octets for the id, then one for the letter case of each octet of the name.
    coins = entropy(2 + len(wire))
    offset = 0
    while length := wire[offset]:
        for at in range(offset + 1, offset + 1 + length):
            if coins[2 + at] & 1 and 0x61 <= wire[at] <= 0x7A:  # noqa: PLR2004 - a to z
                wire[at] -= 0x20
        offset += 1 + length
    question = bytes(wire) + _PAIR.pack(qtype, IN)
    return SentQuestion(coins[:2] + _HEAD.pack(0, RD, 1, 0, 0, 0)[2:] + question, question, qtype)


def read(message: bytes, asked: SentQuestion) -> Response:
    """Parse an upstream message. ``MismatchError``: not the response; other ``WireError``: a malformed response."""
    # RFC 5452 section 9.1: whatever does not match the query is ignored, since it may be forged.
    if len(message) < HEADER or message[:2] != asked.message[:2]:
        raise MismatchError("id mismatch")
    _, flags, questions, *counts = _HEAD.unpack_from(message)
    if not flags & QR or flags & OPCODE or questions != 1:
        raise MismatchError("not a response with one question")
    end = HEADER + len(asked.question)
    if message[HEADER:end] != asked.question:
        if message[HEADER:end].lower() == asked.question.lower():
            raise CaseMismatchError("letter case mismatch")
        raise MismatchError("question mismatch")
    # The records of a truncated message may end anywhere; the query is repeated over TCP.
    if flags & TC:
        return Response(flags & RCODE, truncated=True)
    return _Sections(message, asked.qtype).response(flags & RCODE, end, counts)


@frozen(slots=True)
class _Sections:
    """The sections after the question."""

    message: bytes
    qtype: int

    def response(self, rcode: int, offset: int, counts: list[int]) -> Response:
        if sum(counts) > MAX_RECORDS or len(self.message) > MAX_RESPONSE:
            raise WireError("too many records or octets")
        answers, negative = [], None
        for section, count in enumerate(counts):
            for _ in range(count):
                resource, offset = self.record(offset)
                if resource is None:
                    continue
                if section == 0 and resource.rtype in (self.qtype, RRType.CNAME):
                    answers.append(resource)
                elif section == 1 and resource.rtype == RRType.SOA:
                    # RFC 2308 section 5: the smaller of the SOA's own TTL and its last field.
                    negative = min(resource.ttl, int.from_bytes(resource.rdata))
        if offset != len(self.message):
            raise WireError("trailing octets")
        return Response(rcode, answers=tuple(answers), negative_ttl=negative)

    def record(self, offset: int) -> tuple[Resource | None, int]:
        """Parse one record. Returns ``None`` in place of a record of another class or type, and the next offset."""
        owner, offset = domain_names.decompress(self.message, offset)
        start = offset + _FIXED.size
        if start > len(self.message):
            raise WireError("truncated record")
        rtype, rclass, ttl, length = _FIXED.unpack_from(self.message, offset)
        end = start + length
        if end > len(self.message):
            raise WireError("wrong record length")
        ttl = 0 if ttl & _TTL_TOP else ttl
        read_rdata = _RDATA.get(rtype) if rtype in (self.qtype, RRType.CNAME, RRType.SOA) else None
        if rclass != IN or read_rdata is None:
            return None, end
        rdata, target = read_rdata(self.message, start, end)
        return Resource(domain_names.fold(owner), rtype, ttl, rdata, domain_names.fold(target)), end


Rdata = tuple[bytes, "Name"]


def _fixed(octets: int) -> Callable[[bytes, int, int], Rdata]:
    def read_address(message: bytes, start: int, end: int) -> Rdata:
        if end - start != octets:
            raise WireError("address with a wrong length")
        return message[start:end], domain_names.ROOT

    return read_address


def _named(prefix: int) -> Callable[[bytes, int, int], Rdata]:
    """Parse data of ``prefix`` octets and a name; the name is returned uncompressed."""

    def read_named(message: bytes, start: int, end: int) -> Rdata:
        if start + prefix >= end:
            raise WireError("truncated record data")
        target, after = domain_names.decompress(message, start + prefix)
        if after != end:
            raise WireError("name does not end with its record")
        return message[start : start + prefix] + domain_names.encode(target), target

    return read_named


def _soa(message: bytes, start: int, end: int) -> Rdata:
    """Parse an SOA; the returned data is its last field, the negative TTL."""
    # RFC 1035 section 3.3.13: two names and five numbers of four octets.
    _, after = domain_names.decompress(message, start)
    _, after = domain_names.decompress(message, after)
    if after + 20 != end:
        raise WireError("SOA with a wrong length")
    return message[end - 4 : end], domain_names.ROOT


def _strings(message: bytes, start: int, end: int) -> Rdata:
    # RFC 1035 section 3.3.14: one or more strings, each with its length before it.
    at = start
    while at < end:
        at += 1 + message[at]
    if at != end or start == end:
        raise WireError("TXT record with a wrong length")
    return message[start:end], domain_names.ROOT


def _service(message: bytes, start: int, end: int) -> Rdata:
    service = svcb.read(message[start:end])
    return message[start:end], service.target


def _caa(message: bytes, start: int, end: int) -> Rdata:
    # RFC 8659 section 4.1: flags, the length of the tag, the tag, the value.
    if end - start < 2 or start + 2 + message[start + 1] > end:  # noqa: PLR2004 - flags and a tag's length
        raise WireError("truncated CAA record")
    return message[start:end], domain_names.ROOT


_RDATA: dict[int, Callable[[bytes, int, int], Rdata]] = {
    RRType.A: _fixed(4),
    RRType.AAAA: _fixed(16),
    RRType.CNAME: _named(0),
    RRType.PTR: _named(0),
    RRType.MX: _named(2),
    RRType.SRV: _named(6),
    RRType.SOA: _soa,
    RRType.TXT: _strings,
    RRType.CAA: _caa,
    RRType.HTTPS: _service,
    RRType.SVCB: _service,
}
