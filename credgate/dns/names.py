r"""A name is a tuple of labels, never a string with dots.

The single label ``git.example.com`` (one label of 15 octets with dots inside) and the three labels are different
values here and stay so from the wire to the policy: joining labels to a string is what let one pass for the other
elsewhere. ``fold`` gives the form that is compared (ASCII case only, RFC 4343); the wire form is kept beside it by
whoever must echo the query's own case. ``presentation`` is for people and logs alone: RFC 1035 section 5.1 escapes,
printable ASCII, nothing reads it back. ``parse`` is for names that an operator wrote: letters, digits, hyphen and
underscore after IDNA (A-labels, UTS 46), so that no entry can hold what a host name cannot.
"""

from __future__ import annotations

import re

import idna

from credgate.errors import CredgateError

Name = tuple[bytes, ...]

ROOT: Name = ()
MAX_LABEL = 63
MAX_NAME = 255
"""Octets of a whole name on the wire, length octets and the root's zero included."""

HOST_LABEL = re.compile(rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
"""A folded label that a host or service name may have: LDH and the underscore of RFC 8552."""


class WireError(CredgateError):
    """Octets that are no well-formed DNS message; the text is for counters and tests."""


def fold(name: Name) -> Name:
    """Return the form that names are compared in: ASCII letters lower-cased, all else as it is."""
    return tuple([label.lower() for label in name])


def encode(name: Name) -> bytes:
    """Return the uncompressed wire form."""
    return b"".join([len(label).to_bytes() + label for label in name]) + b"\0"


def read(message: bytes, offset: int) -> tuple[Name, int]:
    """Read an uncompressed name as a question holds it; return its labels and the offset behind it.

    Raises ``WireError`` for pointers, the reserved label types 0x40 and 0x80, more than 255 octets, a cut name.
    """
    start, labels = offset, []
    try:
        while length := message[offset]:
            if length > MAX_LABEL:
                raise WireError("a compression pointer or reserved label type in a question")
            labels.append(message[offset + 1 : offset + 1 + length])
            offset += 1 + length
    except IndexError:
        raise WireError("the name is cut") from None
    if offset + 1 - start > MAX_NAME:
        raise WireError("the name is longer than 255 octets")
    return tuple(labels), offset + 1


_JUMPS = 64
"""Compression pointers followed in one name; an honest message needs a few."""


def decompress(message: bytes, offset: int) -> tuple[Name, int]:
    """Read a name that may be compressed; return its labels and the offset behind it in the record.

    Pointers go backwards only, strictly below where the name so far began, so no loop exists. Raises ``WireError``.
    """
    labels: list[bytes] = []
    end, lowest, octets, jumps = 0, offset, 1, 0
    try:
        while length := message[offset]:
            if length > MAX_LABEL:
                target = ((length & 0x3F) << 8) | message[offset + 1]
                jumps += 1
                if length < 0xC0 or target >= lowest or jumps > _JUMPS:  # noqa: PLR2004 - the two top bits
                    raise WireError("a reserved label type or a pointer that does not go backwards")
                end, offset, lowest = end or offset + 2, target, target
                continue
            labels.append(message[offset + 1 : offset + 1 + length])
            offset += 1 + length
            octets += 1 + length
            if octets > MAX_NAME:
                raise WireError("the name is longer than 255 octets")
    except IndexError:
        raise WireError("the name is cut") from None
    return tuple(labels), end or offset + 1


def _escape(octet: int) -> str:
    char = chr(octet)
    if char in '."\\();@$':
        return "\\" + char
    return char if 0x21 <= octet <= 0x7E else f"\\{octet:03d}"  # noqa: PLR2004 - printable ASCII


def presentation(name: Name) -> str:
    """Return the name as people and logs read it: escaped, printable ASCII, no final dot but for the root."""
    return ".".join("".join(map(_escape, label)) for label in name) or "."


_DOTS = re.compile("[.\u3002\uff0e\uff61]")
"""What separates labels where people write them (UTS 46)."""


def _a_label(text: str) -> bytes:
    """Return one label as it goes on the wire: folded, IDNA applied where it is not ASCII."""
    if text.isascii():
        return text.lower().encode()
    try:
        return idna.encode(text, uts46=True)
    except idna.IDNAError as error:
        raise ValueError(f"the label {text!r} is no IDNA label: {error}") from None


def parse(text: str) -> Name:
    """Return the folded labels of a host name that an operator wrote; one final dot is allowed.

    ``ValueError`` says what is wrong: an empty or overlong label, a character no host name has, an address.
    """
    labels = tuple(_a_label(part) for part in _DOTS.split(text.removesuffix(".")))
    for label in labels:
        if not HOST_LABEL.fullmatch(label):
            raise ValueError(f"{text!r} is no host name: the label {label.decode(errors='replace')!r} cannot be one")
    if labels[-1].isdigit():
        raise ValueError(f"{text!r} is no host name: its last label is a number, as an address's is")
    if len(encode(labels)) > MAX_NAME:
        raise ValueError(f"{text[:40]!r}... is longer than 255 octets")
    return labels
