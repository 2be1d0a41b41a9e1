"""The clients of the DNS server: their addresses, the sessions bound to them, and their rate limits.

A client is looked up for every datagram, so this is one dictionary access: host -> ``Client``. When a bound session
begins or ends, that dictionary is emptied, and each client's scope is computed again at its next datagram. The index of
sessions is updated by that one session, so no datagram iterates over all sessions.

A scope has its own reply cache, so that names of one session are never answered from another's cache. Clients whose
sessions add no names share one. The table of clients has a fixed size and is emptied when it is full, rate limits
included: what limits a flood of forged addresses is ``maxThroughput`` of the socket, not this table.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from credgate.dns import addresses
from credgate.dns.cache import ReplyCache
from credgate.dns.limits import TokenBucket
from credgate.dns.query_policy import NO_ENTRIES, session_entries
from credgate.sessions.address import rate_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from credgate.dns.allowlist import Allowlist
    from credgate.sessions.model import Network, Session

MAX_CLIENTS = 4096

_Key = tuple[int, int, int]
"""A network: IP version, prefix length, the prefix as a number."""


@frozen(slots=True)
class ClientScope:
    """What a client's sessions allow it. ``session`` is the public id for the audit line, ``""`` without a session."""

    session: str = ""
    entries: Allowlist = NO_ENTRIES
    replies: ReplyCache = field(factory=ReplyCache, repr=False)


@define(eq=False)
class Client:
    """One client address. Limits are counted by ``key``: the address, or the /64 of an IPv6 address."""

    host: str
    key: str
    bucket: TokenBucket
    scope: ClientScope
    replies: ReplyCache = field(repr=False)
    """The cache of ``scope``; a copy of the reference saves the fast path one lookup."""
    pending: int = 0
    """Queries of this client that wait for an upstream."""


class SessionIndex:
    """Sessions by the network they are bound to. A lookup takes one step for each prefix length in use."""

    def __init__(self, sessions: Iterable[Session] = ()) -> None:
        self._bound: dict[_Key, dict[str, Session]] = {}
        # The sessions that add names.
        self._named: dict[_Key, dict[str, Session]] = {}
        # The number of networks by IP version and prefix length.
        self._lengths: Counter[tuple[int, int]] = Counter()
        for session in sessions:
            self.add(session)

    def add(self, session: Session) -> None:
        """Add or replace a session, if it is bound to a network."""
        if session.bound_to is None:
            return
        key = _key(session.bound_to)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = {}
            self._lengths[key[:2]] += 1
        bound[session.id] = session
        if session.dns:
            self._named.setdefault(key, {})[session.id] = session

    def remove(self, session: Session) -> None:
        """Remove a session, if it is in the index."""
        if session.bound_to is None:
            return
        key = _key(session.bound_to)
        if _drop(self._bound, key, session.id):
            self._lengths[key[:2]] -= 1
            if not self._lengths[key[:2]]:
                del self._lengths[key[:2]]
        _drop(self._named, key, session.id)

    def find(self, address: addresses.Address) -> list[Session]:
        """Return the sessions bound to the address or to a network that contains it, the longest prefix first."""
        return [session for key in self._containing(address) for session in self._bound[key].values()]

    def first(self, address: addresses.Address) -> str:
        """Return the id of the first of these sessions, or ``""``."""
        return next((session_id for key in self._containing(address) for session_id in self._bound[key]), "")

    def named(self, address: addresses.Address) -> list[Session]:
        """Return those of these sessions that add names."""
        return [session for key in self._containing(address) for session in self._named.get(key, {}).values()]

    def _containing(self, address: addresses.Address) -> Iterator[_Key]:
        version, number, bits = address.version, int(address), address.max_prefixlen
        for of, length in sorted(self._lengths, reverse=True):
            if of == version and (key := (version, length, number >> (bits - length))) in self._bound:
                yield key


def _drop(table: dict[_Key, dict[str, Session]], key: _Key, session_id: str) -> bool:
    """Remove a session; return whether it was the last one with its key."""
    found = table.get(key)
    if found is None:
        return False
    found.pop(session_id, None)
    if found:
        return False
    del table[key]
    return True


def _key(network: Network) -> _Key:
    number = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
    return network.version, network.prefixlen, number


class Clients:
    """The table of clients. ``unbound`` is the scope of clients without a session."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        # Clients whose scope is current, by host as the socket reports it. The fast path uses only this.
        self.current: dict[str, Client] = {}
        self._known: dict[str, Client] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self.use(SessionIndex())

    def use(self, index: SessionIndex) -> None:
        """Replace the sessions; cached replies are dropped, because they depend on the old ones."""
        self.index = index
        self._scopes: dict[tuple[str, ...], ClientScope] = {}
        self._common, self.unbound = ReplyCache(), ClientScope()
        self.current = {}

    def session_began(self, session: Session) -> None:
        """Add a session. A session without a network changes nothing."""
        if session.bound_to is not None:
            self.index.add(session)
            self._forget_scopes()

    def session_ended(self, session: Session) -> None:
        """Remove a session and the cached scopes that depend on it."""
        if session.bound_to is not None:
            self.index.remove(session)
            self._forget_scopes()

    def _forget_scopes(self) -> None:
        # Without a client there is nothing to drop. A start that loads thousands of sessions relies on this.
        if self.current or self._scopes:
            self.use(self.index)

    def of(self, host: str, now: float) -> Client:
        """Return the client at ``host`` (as the socket reports it), with a current scope."""
        client = self.current.get(host)
        if client is None:
            client = self._known.get(host) or self._admit(host, now)
            client.scope = self._scope(addresses.client(host))
            client.replies = client.scope.replies
            self.current[host] = client
        return client

    def _admit(self, host: str, now: float) -> Client:
        if len(self._known) >= MAX_CLIENTS:
            # Limits are lost too: what limits a flood of forged addresses is ``maxThroughput`` of the socket.
            for table in (self._known, self._buckets, self.current):
                table.clear()
        key = rate_key(host)
        bucket = self._buckets.setdefault(key, TokenBucket(self._rate, self._burst, now))
        self._known[host] = client = Client(host, key, bucket, self.unbound, self.unbound.replies)
        return client

    def _scope(self, address: addresses.Address) -> ClientScope:
        first, named = self.index.first(address), self.index.named(address)
        if not first:
            return self.unbound
        ids = (first, *(session.id for session in named))
        if ids not in self._scopes:
            entries = session_entries((name for one in named for name in one.dns), f"session {first}")
            # Names of one session must never be answered from another's cache; without own names nothing can differ.
            replies = ReplyCache(1024) if entries.allows else self._common
            self._scopes[ids] = ClientScope(first, entries, replies)
        return self._scopes[ids]
