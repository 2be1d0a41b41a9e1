"""A sandbox's datagram becomes one question, or is known for what it is. Strict: nothing is repaired.

One question, no answers, no authority, at most one additional record, which is OPT; every octet accounted for.
``decode`` returns a ``Query``; a ``QueryFault`` (the reply to send, header only) for what has an id and cannot be
judged; ``None`` for what must not be answered at all: responses (QR=1, or two servers talk to each other for ever) and
what is too short to hold an id. Opcodes but QUERY are NOTIMP. Whether the question is allowed is for ``policy``. RFC
1035 section 4.1, RFC 6891 (OPT; options are walked, then ignored: cookies, client subnet, padding), RFC 9619.
"""

from __future__ import annotations

from struct import Struct

from attrs import field, frozen

from credgate.dns import names
from credgate.dns.codes import DO, EDNS_UDP, HEADER, OPCODE, PLAIN_UDP, QR, RA, RD, Rcode, RRType
from credgate.dns.names import Name, WireError

MAX_QUERY = 512
"""Octets of a query. The longest name with OPT and a cookie needs 320; what is longer carries something else."""

_HEAD = Struct("!6H")
_PAIR = Struct("!2H")
_OPT = Struct("!HHBBHH")
_NO_COUNTS = bytes(8)


@frozen(slots=True)
class Edns:
    """What the query's OPT said."""

    version: int
    payload: int
    """Octets the client takes over UDP, at least 512."""
    flags: int
    """``DO`` or 0."""


@frozen(slots=True)
class Query:
    """One well-formed question."""

    id: int
    flags: int
    name: Name = field(repr=False)
    """Folded labels, for comparing."""
    question: bytes = field(repr=False)
    """The question section as it came: what the reply echoes, case and all."""
    qtype: int
    qclass: int
    edns: Edns | None = None

    def limit(self) -> int:
        """Return the octets that a UDP reply may have."""
        return min(max(self.edns.payload, PLAIN_UDP), EDNS_UDP) if self.edns else PLAIN_UDP


@frozen(slots=True)
class QueryFault:
    """What cannot be judged, with the reply that says so."""

    reply: bytes
    rcode: Rcode


def _fault(message: bytes, rcode: Rcode) -> QueryFault:
    flags = int.from_bytes(message[2:4].ljust(2, b"\0"))
    flags = QR | (flags & (OPCODE | RD)) | RA | rcode
    return QueryFault(message[:2] + flags.to_bytes(2) + _NO_COUNTS, rcode)


def decode(message: bytes) -> Query | QueryFault | None:
    """Read one message from a sandbox (any octets). Never raises."""
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
        raise WireError("no whole header, or longer than any query")
    ident, flags, questions, answers, authorities, additional = _HEAD.unpack_from(message)
    if questions != 1 or answers or authorities or additional > 1:
        raise WireError("a query has one question and no records but OPT")
    name, offset = names.read(message, HEADER)
    end = offset + _PAIR.size
    if end > len(message):
        raise WireError("the question is cut")
    qtype, qclass = _PAIR.unpack_from(message, offset)
    edns = _edns(message, end) if additional else None
    if not additional and end != len(message):
        raise WireError("octets behind the last record")
    return Query(ident, flags, names.fold(name), message[HEADER:end], qtype, qclass, edns)


def _edns(message: bytes, offset: int) -> Edns:
    """Read the OPT record that ends the message."""
    start = offset + 1
    if message[offset:start] != b"\0" or len(message) < start + _OPT.size:
        raise WireError("the additional record is no whole OPT")
    rtype, payload, _, version, flags, length = _OPT.unpack_from(message, start)
    if rtype != RRType.OPT or start + _OPT.size + length != len(message):
        raise WireError("the additional record is no OPT, or its length lies")
    _walk_options(message, start + _OPT.size)
    return Edns(version, payload, flags & DO)


def _walk_options(message: bytes, offset: int) -> None:
    """See that the options fill their record exactly. What they say is ignored."""
    while offset < len(message):
        if offset + _PAIR.size > len(message):
            raise WireError("an EDNS option is cut")
        offset += _PAIR.size + _PAIR.unpack_from(message, offset)[1]
    if offset != len(message):
        raise WireError("an EDNS option's length lies")
