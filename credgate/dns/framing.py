"""DNS over TCP: two octets of length, then a message, in any split. RFC 1035 section 4.2.2, RFC 7766.

``Frames`` gives whole messages as they complete. A length no query has (0, or above ``limit``) raises ``WireError`` as
soon as it is read: nothing of such a message is ever buffered, and the connection has to be closed, since what follows
cannot be framed. At most one incomplete message is held.
"""

from __future__ import annotations

from credgate.dns.names import WireError

_LENGTH = 2


class Frames:
    """Cuts a byte stream into messages of at most ``limit`` octets."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = b""

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not whole."""
        return bool(self._held)

    def receive(self, octets: bytes) -> list[bytes]:
        """Take in more octets; return the messages that are whole now. ``WireError``: close."""
        stream, messages, offset = self._held + octets, [], 0
        while len(stream) - offset >= _LENGTH:
            length = int.from_bytes(stream[offset : offset + _LENGTH])
            if not 0 < length <= self._limit:
                raise WireError("a length that no query has")
            end = offset + _LENGTH + length
            if end > len(stream):
                break
            messages.append(stream[offset + _LENGTH : end])
            offset = end
        self._held = stream[offset:]
        return messages


def frame(message: bytes) -> bytes:
    """Return a message with its length before it."""
    return len(message).to_bytes(_LENGTH) + message
