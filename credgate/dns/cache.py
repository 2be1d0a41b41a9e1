"""Two caches of a hard size: whole replies for the fast path, and what upstreams answered.

A *reply* is kept under the datagram that asked for it, less its id: flags, question with its letter case, and OPT are
all in the key, so the stored octets behind the id are exactly what the next such datagram gets. Random names or cookies
only turn the cache over: it holds two generations of at most ``size`` replies each, and dropping the older one is one
assignment. An *answer* is kept under name and type for its TTL, and as long again as ``stale_ttl`` for the case that no
upstream answers (RFC 8767); a failure is remembered for a few seconds (RFC 9520). Least recently used goes first.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from credgate.dns.answer import CheckedAnswer
    from credgate.dns.names import Name

MAX_REPLY = 1024
"""Octets of key and reply together; a larger reply is not worth a place."""


class ReplyCache:
    """Replies of the fast path, by datagram."""

    __slots__ = ("_old", "_size", "young")

    def __init__(self, size: int = 8192) -> None:
        self._size = size
        self.young: dict[bytes, tuple[float, bytes]] = {}
        self._old: dict[bytes, tuple[float, bytes]] = {}

    def get(self, key: bytes, now: float) -> bytes | None:
        """Return the reply behind its id, or ``None``."""
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
            self._old, self.young = self.young, {}
        self.young[key] = hit

    def __len__(self) -> int:
        return len(self.young) + len(self._old)


@define
class Known:
    """What is known of one name and type. ``answer`` is ``None`` when only a failure is known."""

    answer: CheckedAnswer | None
    expires: float
    stale_until: float
    retry_at: float = 0.0
    """Until then no upstream is asked again after a failure."""

    def fresh(self, now: float) -> bool:
        """Whether the answer may be given as it is."""
        return self.answer is not None and now < self.expires

    def stale(self, now: float) -> bool:
        """Whether the answer may be given because no upstream answers."""
        return self.answer is not None and now < self.stale_until

    def ttl(self, now: float) -> int:
        """Return the whole seconds left, at least 1."""
        return max(1, ceil(self.expires - now))


Key = tuple["Name", int]


class AnswerCache:
    """Upstream answers by folded name and type, at most ``size``."""

    def __init__(self, *, size: int, max_ttl: float, negative_ttl: float, stale_ttl: float) -> None:
        self._size = max(size, 1)
        self._max_ttl, self._negative_ttl, self._stale_ttl = max_ttl, negative_ttl, stale_ttl
        self._known: dict[Key, Known] = {}

    def get(self, key: Key) -> Known | None:
        """Return what is known, fresh or not, and mark it as used."""
        known = self._known.pop(key, None)
        if known is not None:
            self._known[key] = known
        return known

    def put(self, key: Key, answer: CheckedAnswer, now: float) -> Known:
        """Keep an answer by its TTL, between 1 second and the cap of its kind."""
        cap = self._negative_ttl if answer.negative() else self._max_ttl
        expires = now + max(1.0, min(float(answer.ttl), cap))
        return self._keep(key, Known(answer, expires, expires + self._stale_ttl))

    def fail(self, key: Key, now: float, pause: float) -> Known:
        """Remember that no upstream answered; what was known stays known."""
        known = self.get(key) or Known(None, now, now)
        known.retry_at = now + pause
        return self._keep(key, known)

    def _keep(self, key: Key, known: Known) -> Known:
        self._known.pop(key, None)
        while len(self._known) >= self._size:
            del self._known[next(iter(self._known))]
        self._known[key] = known
        return known

    def clear(self) -> None:
        """Forget everything: the policy has changed."""
        self._known.clear()

    def __len__(self) -> int:
        return len(self._known)
