"""DNS over TCP: each message has its length before it, in two octets. RFC 1035 section 4.2.2, RFC 7766.

``Frames`` returns messages as they become complete, however the stream is split. A length of 0 or above ``limit``
raises ``WireError`` as soon as it is read: such a message is never buffered, and the connection must be closed, because
the start of the next message is unknown. At most one incomplete message is held.
"""

from __future__ import annotations

from credgate.dns.domain_names import WireError

_LENGTH = 2


class Frames:
    """Splits a byte stream into messages of at most ``limit`` octets."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = b""

    @property
    def partial(self) -> bool:
        """Whether an incomplete message is held."""
        return bool(self._held)

    def receive(self, octets: bytes) -> list[bytes]:
        """Add octets; return the messages that are complete. After a ``WireError`` the connection must be closed."""
        stream, messages, offset = self._held + octets, [], 0
        while len(stream) - offset >= _LENGTH:
            length = int.from_bytes(stream[offset : offset + _LENGTH])
            # Checked before anything of the message is buffered.
            if not 0 < length <= self._limit:
                raise WireError("invalid message length")
            end = offset + _LENGTH + length
            if end > len(stream):
                break
            messages.append(stream[offset + _LENGTH : end])
            offset = end
        self._held = stream[offset:]
        return messages


def frame(message: bytes) -> bytes:
    """Return a message with its length prefix."""
    return len(message).to_bytes(_LENGTH) + message
