"""A request body's ``Content-Encoding``: decoded in bounded steps, or refused.

git compresses fetches with gzip, JGit pushes too; ``x-gzip`` is the same (RFC 9110 section 8.4.1.3). The forge must
read what credgate read, so a push is decoded here and forwarded decoded. Never inflates more at a time than the caller
asks for and never keeps output. Takes exactly one gzip member (as ``git http-backend`` does) with no data after it, and
refuses a body that grows a hundredfold: no request may cost a hundred times its bytes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from credgate.errors import RequestError
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 64 * 1024
"""Bytes of a decoded piece, unless the caller says otherwise."""
# Output bytes for each input byte, after the first :data:`FREE`. Packs hardly compress; lists of refs do, 20-fold.
MAX_GROWTH = 100
FREE = 1024 * 1024

# RFC 9110 section 8.4.1.3: ``x-gzip`` is the same.
_GZIP = frozenset({b"gzip", b"x-gzip"})
_PLAIN = frozenset({b"", b"identity"})
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


def is_gzip(content_encoding: bytes | None) -> bool:
    """Whether the body must be inflated; ``None``, empty and ``identity``: no. Raises :class:`RequestError` (415)."""
    coding = b"" if content_encoding is None else content_encoding.strip(b" \t").lower()
    if coding in _GZIP:
        return True
    if coding in _PLAIN:
        return False
    raise RequestError("only gzip bodies are read", reason=Reason.UNSUPPORTED_CODING, status=415)


class Gunzip:
    """Decodes one gzip member as it passes."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._in = self._out = 0

    def receive(self, data: bytes, limit: int = PIECE) -> Iterator[bytes]:
        """Yield the decoded bytes of ``data`` in pieces of at most ``limit``, each decoded when it is asked for.

        The iterator must be exhausted before the next call. Raises :class:`RequestError`: 400 for bytes that are not
        gzip and for data after its end, 413 for a body that grows too much.
        """
        self._in += len(data)
        while True:
            piece = self._step(data, limit)
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            # Without input left zlib has more output only if it filled this piece.
            if not data and len(piece) < limit:
                return

    def end(self) -> None:
        """Note the end of the body. Raises :class:`RequestError` when the gzip member had not ended."""
        if not self._inflate.eof:
            raise RequestError("the gzip body was cut")

    def _step(self, data: bytes, limit: int) -> bytes:
        if self._inflate.eof and data:
            raise RequestError("data after the end of the gzip body")
        try:
            piece = self._inflate.decompress(data, limit)
        except zlib.error:
            raise RequestError("the body is not gzip") from None
        self._out += len(piece)
        # git http-backend reads one member and drops the rest: two readers would see two bodies.
        if self._inflate.unused_data:
            raise RequestError("data after the end of the gzip body")
        if self._out > FREE + MAX_GROWTH * self._in:
            raise RequestError("the gzip body grows too much when it is decompressed", status=413)
        return piece
