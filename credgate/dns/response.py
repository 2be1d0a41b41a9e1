"""The question that goes upstream, and what may pass for its answer.

Nothing of the sandbox's message goes out: the question is built anew with an id, letter cases (0x20) and no options of
our own, so that neither case nor EDNS carries anything. An answer counts only if its id, the QR bit and the question,
case included, are those of the asked; the shell adds that it came from the asked address and port to the asking one.
Then it is read strictly: counts, names (pointers backwards), record lengths, no octet left over. Only the answer
section's records of the asked type and aliases are kept, and of the authority section the SOA's time. The additional
section is walked and forgotten. RFC 1035, RFC 5452 (forgery), draft-vixie-dnsext-dns0x20, RFC 2308 (negative times).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate.dns import names, svcb
from credgate.dns.codes import HEADER, IN, OPCODE, QR, RCODE, RD, TC, RRType
from credgate.dns.names import WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.dns.names import Name

MAX_RESPONSE = 8192
"""Octets of an upstream message, TCP included. Addresses need less; what is larger is not asked for."""
MAX_RECORDS = 64

_HEAD = Struct("!6H")
_PAIR = Struct("!2H")
_FIXED = Struct("!HHIH")
_TTL_TOP = 0x80000000
"""A TTL with the top bit is 0 (RFC 2181 section 8)."""


class MismatchError(WireError):
    """A message that is not the answer to what was asked: left alone, the right one may still come."""


class CaseMismatchError(MismatchError):
    """All but the letter case of the name is right: the server folds, or someone guesses. Ask again over TCP."""


@frozen(slots=True)
class SentQuestion:
    """A question as it was sent. ``question`` is the section's octets, with the random case."""

    message: bytes = field(repr=False)
    question: bytes = field(repr=False)
    qtype: int


@frozen(slots=True)
class Resource:
    """One record of an answer. ``owner`` is folded, ``rdata`` without compression, ``target`` what an alias names."""

    owner: Name
    rtype: int
    ttl: int
    rdata: bytes
    target: Name = names.ROOT


@frozen(slots=True)
class Response:
    """What an upstream said. ``negative_ttl`` is ``None`` without an SOA."""

    rcode: int
    truncated: bool = False
    answers: tuple[Resource, ...] = ()
    negative_ttl: int | None = None


def ask(name: Name, qtype: int, entropy: Callable[[int], bytes]) -> SentQuestion:
    """Build the question for a folded name; ``entropy(n)`` gives ``n`` random octets."""
    wire = bytearray(names.encode(name))
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
    """Read an upstream's message. ``MismatchError``: not the answer; other ``WireError``: the answer, but broken."""
    if len(message) < HEADER or message[:2] != asked.message[:2]:
        raise MismatchError("another id")
    _, flags, questions, *counts = _HEAD.unpack_from(message)
    if not flags & QR or flags & OPCODE or questions != 1:
        raise MismatchError("no response to one question")
    end = HEADER + len(asked.question)
    if message[HEADER:end] != asked.question:
        if message[HEADER:end].lower() == asked.question.lower():
            raise CaseMismatchError("the letter case differs")
        raise MismatchError("another question")
    if flags & TC:
        return Response(flags & RCODE, truncated=True)
    return _Sections(message, asked.qtype).response(flags & RCODE, end, counts)


@frozen(slots=True)
class _Sections:
    """The records behind the question."""

    message: bytes
    qtype: int

    def response(self, rcode: int, offset: int, counts: list[int]) -> Response:
        if sum(counts) > MAX_RECORDS or len(self.message) > MAX_RESPONSE:
            raise WireError("more records or octets than any answer needs")
        answers, negative = [], None
        for section, count in enumerate(counts):
            for _ in range(count):
                resource, offset = self.record(offset)
                if resource is None:
                    continue
                if section == 0 and resource.rtype in (self.qtype, RRType.CNAME):
                    answers.append(resource)
                elif section == 1 and resource.rtype == RRType.SOA:
                    negative = min(resource.ttl, int.from_bytes(resource.rdata))
        if offset != len(self.message):
            raise WireError("octets behind the last record")
        return Response(rcode, answers=tuple(answers), negative_ttl=negative)

    def record(self, offset: int) -> tuple[Resource | None, int]:
        """Read one record; ``None`` for a class or type that this answer does not need: that is walked over."""
        owner, offset = names.decompress(self.message, offset)
        start = offset + _FIXED.size
        if start > len(self.message):
            raise WireError("a record is cut")
        rtype, rclass, ttl, length = _FIXED.unpack_from(self.message, offset)
        end = start + length
        if end > len(self.message):
            raise WireError("a record's length lies")
        ttl = 0 if ttl & _TTL_TOP else ttl
        read_rdata = _RDATA.get(rtype) if rtype in (self.qtype, RRType.CNAME, RRType.SOA) else None
        if rclass != IN or read_rdata is None:
            return None, end
        rdata, target = read_rdata(self.message, start, end)
        return Resource(names.fold(owner), rtype, ttl, rdata, names.fold(target)), end


Rdata = tuple[bytes, "Name"]


def _fixed(octets: int) -> Callable[[bytes, int, int], Rdata]:
    def read_address(message: bytes, start: int, end: int) -> Rdata:
        if end - start != octets:
            raise WireError("an address of a wrong length")
        return message[start:end], names.ROOT

    return read_address


def _named(prefix: int) -> Callable[[bytes, int, int], Rdata]:
    """Read data that is ``prefix`` octets and a name; the name comes out uncompressed."""

    def read_named(message: bytes, start: int, end: int) -> Rdata:
        if start + prefix >= end:
            raise WireError("a record's data is cut")
        target, after = names.decompress(message, start + prefix)
        if after != end:
            raise WireError("a name that does not end with its record")
        return message[start : start + prefix] + names.encode(target), target

    return read_named


def _soa(message: bytes, start: int, end: int) -> Rdata:
    """Read an SOA; the data returned is its last field, the negative time."""
    _, after = names.decompress(message, start)
    _, after = names.decompress(message, after)
    if after + 20 != end:
        raise WireError("an SOA of a wrong length")
    return message[end - 4 : end], names.ROOT


def _strings(message: bytes, start: int, end: int) -> Rdata:
    at = start
    while at < end:
        at += 1 + message[at]
    if at != end or start == end:
        raise WireError("a text record's length lies")
    return message[start:end], names.ROOT


def _service(message: bytes, start: int, end: int) -> Rdata:
    service = svcb.read(message[start:end])
    return message[start:end], service.target


def _caa(message: bytes, start: int, end: int) -> Rdata:
    if end - start < 2 or start + 2 + message[start + 1] > end:  # noqa: PLR2004 - flags and a tag's length
        raise WireError("a CAA record is cut")
    return message[start:end], names.ROOT


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
