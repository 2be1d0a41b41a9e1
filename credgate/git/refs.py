r"""Asking the forge for its refs: the protocol version 2 advertisement and ``ls-refs``.

    advertisement = ["# service=git-upload-pack" flush] "version 2" *capability flush
    request       = "command=ls-refs" "object-format=..." 0001 ["symrefs"] *("ref-prefix " name) 0000
    answer        = *(oid SP name [SP "symref-target:" name]) flush

Follows git's ``gitprotocol-v2``. Both answers are read whole (their sizes are bounded by whoever fetches them) and
strictly; a forge that answers in version 0 or 1 cannot be asked. Object ids are hexadecimal here, as on the wire.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from credgate.errors import ResponseError
from credgate.git.pktline import DELIMITER, FLUSH, Packet, PacketError, PacketReader, Special, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from credgate.pack.objects import ObjectFormat

MAX_CAPABILITIES = 1000
"""Lines of an advertisement of version 2; git itself has about ten."""

_REF = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) ([^\x00-\x20\x7f]+)(?: [ -~]+)*")


def read_capabilities(body: bytes) -> list[bytes]:
    """Return the capability lines of an advertisement. Raises ResponseError if it is not of version 2."""
    lines = list(islice(_lines(body), MAX_CAPABILITIES + 1))
    if len(lines) > MAX_CAPABILITIES:
        raise ResponseError("the forge's advertisement has too many capabilities")
    if lines and lines[0].startswith(b"# service="):
        lines = lines[1:]
        if lines[:1] == [b""]:
            lines = lines[1:]
    if lines[:1] != [b"version 2"] or lines[-1] != b"":
        raise ResponseError("the forge does not speak git's protocol version 2")
    return lines[1:-1]


def refs_request(object_format: ObjectFormat | None, names: Iterable[bytes]) -> bytes:
    """Return the body that asks for the refs ``names``; ``object_format`` as in ``ask.fetch_request``."""
    head = [b"command=ls-refs", *([b"object-format=" + object_format.name] if object_format else [])]
    return b"".join((*map(encode, head), DELIMITER, *(encode(b"ref-prefix " + name) for name in names), FLUSH))


def read_refs(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Give the answer's refs with their ids, one by one; a ref without an id (unborn) is left out.

    A caller may take them by turns: a megabyte holds 200,000 packets. Raises ResponseError, at the end as well.
    """
    ended = False
    for line in _lines(body):
        match = None if ended else _REF.fullmatch(line)
        if match is not None:
            yield match[2], match[1]
        elif line == b"" and not ended:
            ended = True
        elif ended or not line.startswith(b"unborn "):
            raise ResponseError("the forge's list of refs cannot be read")
    if not ended:
        raise ResponseError("the forge's list of refs is cut")


def _lines(body: bytes) -> Iterator[bytes]:
    """Split into packets without their line feeds; a flush is an empty one."""
    reader, at = PacketReader(), 0
    try:
        while at < len(body):
            packet, at = reader.next(body, at)
            if packet is None:
                raise ResponseError("the forge's answer is cut")
            yield _text(packet)
    except PacketError as error:
        raise ResponseError(f"the forge's answer cannot be read: {error}") from None


def _text(packet: Packet) -> bytes:
    if packet is Special.FLUSH:
        return b""
    if isinstance(packet, Special):
        raise ResponseError("the forge's answer holds a packet that does not belong there")
    if packet.startswith(b"ERR "):
        raise ResponseError("the forge refused to answer")
    return packet.removesuffix(b"\n") or b"\n"
