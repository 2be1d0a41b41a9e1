"""Two caches of fixed size: complete replies for the fast path, and the answers of upstreams.

``ReplyCache``: the key is the query datagram without its id. Flags, the question with its letter case, and OPT are all
part of the key, so the stored octets are exactly what the next such datagram gets. The cache has two generations of at
most ``size`` replies each; removing the older one is one assignment, so a flood of random names or cookies is cheap.

``AnswerCache``: the key is name and type. An answer is kept for its TTL, and for ``stale_ttl`` longer in case no
upstream answers (RFC 8767). A failure is remembered for a few seconds (RFC 9520). The least recently used entry is
removed first.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from credgate.dns.answer import CheckedAnswer
    from credgate.dns.domain_names import Name

# Octets of key and reply together; a larger reply is not cached.
MAX_REPLY = 1024


class ReplyCache:
    """Replies of the fast path, by query datagram."""

    __slots__ = ("_old", "_size", "young")

    def __init__(self, size: int = 8192) -> None:
        self._size = size
        self.young: dict[bytes, tuple[float, bytes]] = {}
        self._old: dict[bytes, tuple[float, bytes]] = {}

    def get(self, key: bytes, now: float) -> bytes | None:
        """Return the reply without its id, or ``None``."""
        hit = self.young.get(key)
        if hit is None:
            hit = self._old.get(key)
            if hit is None:
                return None
            self._put(key, hit)
        return hit[1] if now < hit[0] else None

    def put(self, key: bytes, reply: bytes, expires: float) -> None:
        """Keep a reply (without its id) until ``expires``."""
        if len(key) + len(reply) <= MAX_REPLY:
            self._put(key, (expires, reply))

    def _put(self, key: bytes, hit: tuple[float, bytes]) -> None:
        if len(self.young) >= self._size:
            # One assignment removes the older generation, so a flood of random names or cookies is cheap.
            self._old, self.young = self.young, {}
        self.young[key] = hit

    def __len__(self) -> int:
        return len(self.young) + len(self._old)


@define
class AnswerEntry:
    """The cache entry of one name and type. ``answer`` is ``None`` if there is only a remembered failure."""

    answer: CheckedAnswer | None
    expires: float
    stale_until: float
    retry_at: float = 0.0
    """After a failure, no upstream is asked again before this time."""

    def fresh(self, now: float) -> bool:
        """Whether the answer is within its TTL."""
        return self.answer is not None and now < self.expires

    def stale(self, now: float) -> bool:
        """Whether the answer may be given if no upstream answers."""
        return self.answer is not None and now < self.stale_until

    def ttl(self, now: float) -> int:
        """Return the whole seconds left, at least 1."""
        return max(1, ceil(self.expires - now))


Key = tuple["Name", int]


class AnswerCache:
    """At most ``size`` upstream answers, by folded name and type."""

    def __init__(self, *, size: int, max_ttl: float, negative_ttl: float, stale_ttl: float) -> None:
        self._size = max(size, 1)
        self._max_ttl, self._negative_ttl, self._stale_ttl = max_ttl, negative_ttl, stale_ttl
        self._known: dict[Key, AnswerEntry] = {}

    def get(self, key: Key) -> AnswerEntry | None:
        """Return the entry, fresh or not, and mark it as used."""
        known = self._known.pop(key, None)
        if known is not None:
            self._known[key] = known
        return known

    def put(self, key: Key, answer: CheckedAnswer, now: float) -> AnswerEntry:
        """Keep an answer for its TTL: at least 1 second, at most ``max_ttl`` or ``negative_ttl``."""
        cap = self._negative_ttl if answer.negative() else self._max_ttl
        expires = now + max(1.0, min(float(answer.ttl), cap))
        return self._keep(key, AnswerEntry(answer, expires, expires + self._stale_ttl))

    def fail(self, key: Key, now: float, pause: float) -> AnswerEntry:
        """Remember that no upstream answered; an earlier answer stays in the entry."""
        known = self.get(key) or AnswerEntry(None, now, now)
        known.retry_at = now + pause
        return self._keep(key, known)

    def _keep(self, key: Key, known: AnswerEntry) -> AnswerEntry:
        self._known.pop(key, None)
        # Entries are inserted again when they are used, so the first one is the least recently used.
        while len(self._known) >= self._size:
            del self._known[next(iter(self._known))]
        self._known[key] = known
        return known

    def __len__(self) -> int:
        return len(self._known)
