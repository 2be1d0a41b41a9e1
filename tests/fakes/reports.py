"""A forge's report on two refs, as git's ``receive-pack`` writes it: bare, or cut into side-bands of any size."""

from __future__ import annotations

from credgate.git.pktline import FLUSH, encode

X, Y = b"refs/heads/x", b"refs/heads/y"
LINES = [
    b"unpack ok\n",
    b"ok refs/heads/x\n",
    b"option old-oid " + b"0" * 40 + b"\n",
    b"ng refs/heads/y hook declined\n",
]
BARE = b"".join(map(encode, LINES)) + FLUSH


def banded(inner: bytes, size: int) -> bytes:
    """Cut a report into side-band packets of ``size``, with text and keep-alives between them."""
    pieces = [encode(b"\x01" + inner[at : at + size]) for at in range(0, len(inner), size)]
    return encode(b"\x02hello\n") + (encode(b"\x01") + encode(b"\x02..")).join(pieces) + FLUSH
