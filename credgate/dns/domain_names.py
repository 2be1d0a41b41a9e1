r"""Domain names: parse, write, compare and display them. A name is a tuple of labels, never a string with dots.

The single label ``git.example.com`` (15 octets, two of them dots) and the three labels ``git``, ``example``, ``com``
are different names. They stay different from the wire to the policy, because labels are never joined to compare them.

* ``fold`` returns the form that is compared (ASCII case only, RFC 4343). A reply repeats the query's own letter case,
  so the wire form is kept beside the folded one.
* ``presentation`` is for people and logs: the escapes of RFC 1035 section 5.1, printable ASCII. It is never parsed.
* ``parse`` reads a name that an operator wrote: letters, digits, hyphen and underscore after IDNA (A-labels, UTS 46),
  so that an entry contains only what a host name may contain.
"""

from __future__ import annotations

import re

import idna

from credgate.errors import CredgateError

Name = tuple[bytes, ...]

ROOT: Name = ()
MAX_LABEL = 63
# Octets of a whole name on the wire, including the length octets and the root's zero.
MAX_NAME = 255

# A folded label of a host or service name: letters, digits, hyphen, and the underscore of RFC 8552.
HOST_LABEL = re.compile(rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


class WireError(CredgateError):
    """A malformed DNS message. Its text is for counters and tests; no client sees it."""


def fold(name: Name) -> Name:
    """Return the form in which names are compared: ASCII letters in lower case, other octets unchanged."""
    return tuple([label.lower() for label in name])


def encode(name: Name) -> bytes:
    """Return the uncompressed wire form."""
    return b"".join([len(label).to_bytes() + label for label in name]) + b"\0"


def read(message: bytes, offset: int) -> tuple[Name, int]:
    """Read an uncompressed name, as in a question. Return its labels and the offset after it.

    Raises ``WireError`` for a pointer, the reserved label types 0x40 and 0x80, more than 255 octets, a truncated name.
    """
    start, labels = offset, []
    try:
        while length := message[offset]:
            if length > MAX_LABEL:
                raise WireError("compression pointer or reserved label type in a question")
            labels.append(message[offset + 1 : offset + 1 + length])
            offset += 1 + length
    except IndexError:
        raise WireError("truncated name") from None
    if offset + 1 - start > MAX_NAME:
        raise WireError("name longer than 255 octets")
    return tuple(labels), offset + 1


# Compression pointers that are followed in one name; a normal message has a few.
_JUMPS = 64


def decompress(message: bytes, offset: int) -> tuple[Name, int]:
    """Read a name that may be compressed; return its labels and the offset after it. Raises ``WireError``."""
    labels: list[bytes] = []
    end, lowest, octets, jumps = 0, offset, 1, 0
    try:
        while length := message[offset]:
            if length > MAX_LABEL:
                target = ((length & 0x3F) << 8) | message[offset + 1]
                # Each pointer must point below the previous one, so a loop is impossible.
                jumps += 1
                if length < 0xC0 or target >= lowest or jumps > _JUMPS:  # noqa: PLR2004 - the two top bits
                    raise WireError("reserved label type, or a pointer that does not point backwards")
                end, offset, lowest = end or offset + 2, target, target
                continue
            labels.append(message[offset + 1 : offset + 1 + length])
            offset += 1 + length
            octets += 1 + length
            if octets > MAX_NAME:
                raise WireError("name longer than 255 octets")
    except IndexError:
        raise WireError("truncated name") from None
    return tuple(labels), end or offset + 1


def _escape(octet: int) -> str:
    char = chr(octet)
    if char in '."\\();@$':
        return "\\" + char
    return char if 0x21 <= octet <= 0x7E else f"\\{octet:03d}"  # noqa: PLR2004 - printable ASCII


def presentation(name: Name) -> str:
    """Return the name for people and logs: escaped, printable ASCII, without a final dot (the root is ``.``)."""
    return ".".join("".join(map(_escape, label)) for label in name) or "."


# The characters that separate labels in text (UTS 46).
_DOTS = re.compile("[.\u3002\uff0e\uff61]")


def _a_label(text: str) -> bytes:
    """Return one folded label in wire form; a label that is not ASCII is converted to its A-label."""
    if text.isascii():
        return text.lower().encode()
    try:
        return idna.encode(text, uts46=True)
    except idna.IDNAError as error:
        raise ValueError(f"{text!r} is not a valid IDNA label: {error}") from None


def parse(text: str) -> Name:
    """Return the folded labels of a host name that an operator wrote; one final dot is allowed.

    Raises ``ValueError`` for an empty or overlong label, a character that host names do not have, or an address.
    """
    labels = tuple(_a_label(part) for part in _DOTS.split(text.removesuffix(".")))
    for label in labels:
        if not HOST_LABEL.fullmatch(label):
            raise ValueError(f"{text!r} is not a host name: invalid label {label.decode(errors='replace')!r}")
    if labels[-1].isdigit():
        raise ValueError(f"{text!r} is not a host name: its last label is a number, as in an address")
    if len(encode(labels)) > MAX_NAME:
        raise ValueError(f"{text[:40]!r}... is longer than 255 octets")
    return labels
