"""Parses the queries of sandboxes. Strict: a malformed message is never repaired.

A query has one question, no answer or authority records, at most one additional record, which is OPT, and no octet
more. ``decode`` returns one of

* a ``Query``;
* a ``QueryFault``, with the reply to send (a header only): FORMERR, or NOTIMP for other opcodes than QUERY;
* ``None`` if there must be no reply: for a response (QR=1; otherwise two servers could answer each other endlessly) and
  for a message that is too short to have an id.

``policy`` decides whether the query is allowed. RFC 1035 section 4.1, RFC 6891 (OPT; the lengths of options are
checked, their contents ignored: cookies, client subnet, padding), RFC 9619 (one question).
"""

from __future__ import annotations

from struct import Struct

from attrs import field, frozen

from credgate.dns import domain_names
from credgate.dns.codes import DO, EDNS_UDP, HEADER, OPCODE, PLAIN_UDP, QR, RA, RD, Rcode, RRType
from credgate.dns.domain_names import Name, WireError

# Largest query, octets. The longest name with OPT and a cookie needs 320.
MAX_QUERY = 512

_HEAD = Struct("!6H")
_PAIR = Struct("!2H")
_OPT = Struct("!HHBBHH")
_NO_COUNTS = bytes(8)


@frozen(slots=True)
class Edns:
    """The OPT record of a query."""

    version: int
    payload: int
    """Largest UDP reply that the client accepts, octets."""
    flags: int
    """``DO`` or 0."""


@frozen(slots=True)
class Query:
    """One well-formed question."""

    id: int
    flags: int
    name: Name = field(repr=False)
    """Folded labels."""
    question: bytes = field(repr=False)
    """The question section as received; the reply repeats it, including the letter case."""
    qtype: int
    qclass: int
    edns: Edns | None = None

    def limit(self) -> int:
        """Return the largest UDP reply, octets."""
        return min(max(self.edns.payload, PLAIN_UDP), EDNS_UDP) if self.edns else PLAIN_UDP


@frozen(slots=True)
class QueryFault:
    """A malformed or unsupported message, with the reply to it."""

    reply: bytes
    rcode: Rcode


def _fault(message: bytes, rcode: Rcode) -> QueryFault:
    flags = int.from_bytes(message[2:4].ljust(2, b"\0"))
    flags = QR | (flags & (OPCODE | RD)) | RA | rcode
    return QueryFault(message[:2] + flags.to_bytes(2) + _NO_COUNTS, rcode)


def decode(message: bytes) -> Query | QueryFault | None:
    """Parse one message from a sandbox. Accepts any octets and never raises."""
    # Octet 2 has QR and the opcode. Nothing else of a message that is refused here is parsed.
    if len(message) < 2 or (len(message) > 2 and message[2] & 0x80):  # noqa: PLR2004 - the id; the octet with QR
        return None
    if len(message) > 2 and message[2] & 0x78:  # noqa: PLR2004 - the opcode's bits
        return _fault(message, Rcode.NOTIMP)
    try:
        return _read(message)
    except WireError:
        return _fault(message, Rcode.FORMERR)


def _read(message: bytes) -> Query:
    if not HEADER <= len(message) <= MAX_QUERY:
        raise WireError("truncated header, or message too long")
    ident, flags, questions, answers, authorities, additional = _HEAD.unpack_from(message)
    if questions != 1 or answers or authorities or additional > 1:
        raise WireError("not exactly one question, or other records than OPT")
    name, offset = domain_names.read(message, HEADER)
    end = offset + _PAIR.size
    if end > len(message):
        raise WireError("truncated question")
    qtype, qclass = _PAIR.unpack_from(message, offset)
    edns = _edns(message, end) if additional else None
    if not additional and end != len(message):
        raise WireError("trailing octets")
    return Query(ident, flags, domain_names.fold(name), message[HEADER:end], qtype, qclass, edns)


def _edns(message: bytes, offset: int) -> Edns:
    """Parse the OPT record, which must end the message."""
    start = offset + 1
    if message[offset:start] != b"\0" or len(message) < start + _OPT.size:
        raise WireError("truncated OPT record")
    rtype, payload, _, version, flags, length = _OPT.unpack_from(message, start)
    if rtype != RRType.OPT or start + _OPT.size + length != len(message):
        raise WireError("additional record is not OPT, or has a wrong length")
    _check_options(message, start + _OPT.size)
    return Edns(version, payload, flags & DO)


def _check_options(message: bytes, offset: int) -> None:
    """Check that the options fill their record exactly. Their contents are ignored."""
    while offset < len(message):
        if offset + _PAIR.size > len(message):
            raise WireError("truncated EDNS option")
        offset += _PAIR.size + _PAIR.unpack_from(message, offset)[1]
    if offset != len(message):
        raise WireError("EDNS option with a wrong length")
