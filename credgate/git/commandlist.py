"""The command list of a push, written again from what was read: so that the forge reads what was judged.

    list = *pkt("shallow" SP oid) pkt(old SP new SP ref NUL SP capabilities) *pkt(old SP new SP ref) flush

Follows git's ``gitprotocol-pack``. Nothing of the client's own bytes goes on: object ids, refs and capabilities were
matched whole by ``push``. Capabilities are those of ``capabilities.FORWARDED``; any other is left out, since its
meaning at the forge is not known here. They stand on the first command that goes on, whichever came first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.git.capabilities import FORWARDED, name
from credgate.git.pktline import FLUSH, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from credgate.git.push_list import Command

MAX_CAPABILITY = 256
"""Bytes of one: what is longer is left out (only ``agent`` has free text)."""


def encode_commands(
    commands: Sequence[Command], capabilities: Iterable[bytes], shallows: Iterable[bytes] = ()
) -> bytes:
    """Write ``commands``, at least one, with the client's capabilities and shallow lines, up to the flush.

    ``push-options`` among the capabilities announces a list of options: leave it out, or let ``encode_options`` follow.
    """
    first, *rest = [b"%s %s %s" % (one.old, one.new, one.ref) for one in commands]
    kept = [word for word in capabilities if name(word) in FORWARDED and len(word) <= MAX_CAPABILITY]
    lines = [b"shallow " + oid for oid in shallows]
    lines += [first + b"\x00 " + b" ".join(kept), *rest]
    return b"".join(map(encode, lines)) + FLUSH
