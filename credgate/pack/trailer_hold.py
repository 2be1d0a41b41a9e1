"""Holds back the checksum of a push's pack until the verdict: a forge cannot act on a pack without its checksum.

Receives the pack's bytes as they arrive and releases them up to the offset that the walk has parsed, which never
reaches into the checksum. When the walk has found the end, only the checksum is held. If the push is allowed,
:meth:`TrailerHold.release` returns it. Otherwise the checksum is never sent, and the caller ends the request to the
forge without the last chunk. A byte after the checksum refuses the push: ``receive-pack`` would act before it read that
byte, and other servers might not read it at all.

Follows git-over-http section 3.4. It never parses a byte, and holds only bytes that the walk has not parsed yet.
"""

from __future__ import annotations

from collections import deque

from credgate.pack.objects import PackError


class TrailerHold:
    """Splits the stream of one pack. Positions count from the pack's first byte."""

    def __init__(self, trailer: int) -> None:
        """``trailer``: size of the checksum, 20 or 32."""
        self._trailer = trailer
        self._pieces: deque[bytes] = deque()
        self._start = self._received = 0
        self._end: int | None = None

    @property
    def held(self) -> int:
        """Bytes received and not yet released."""
        return self._received - self._start

    @property
    def whole(self) -> bool:
        """Whether the pack's end is known and every byte up to it has arrived."""
        return self._end == self._received

    def receive(self, data: bytes) -> None:
        """Take the next bytes. Raises :class:`PackError` for a byte after the checksum."""
        self._received += len(data)
        if data:
            self._pieces.append(data)
        self._check()

    def advance(self, passed: int, *, done: bool) -> list[bytes]:
        """Release the bytes before ``passed``. ``done``: the checksum starts there.

        Raises :class:`PackError` for a byte after the checksum.
        """
        if done:
            # The pack's end is known now, and bytes after it may already have arrived.
            self._end = passed + self._trailer
            self._check()
        released = []
        while self._pieces and self._start < passed:
            piece = self._pieces.popleft()
            room = passed - self._start
            if len(piece) > room:  # the walk stopped inside this piece
                self._pieces.appendleft(piece[room:])
                piece = piece[:room]
            released.append(piece)
            self._start += len(piece)
        return released

    def release(self) -> bytes:
        """Release the checksum: the push is allowed. Raises :class:`PackError` if the pack is incomplete."""
        if not self.whole or self.held != self._trailer:
            raise PackError("truncated pack")
        trailer = b"".join(self._pieces)
        self._pieces.clear()
        self._start = self._received
        return trailer

    def _check(self) -> None:
        if self._end is not None and self._received > self._end:
            raise PackError("trailing data after the pack")
