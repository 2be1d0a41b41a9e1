"""Who asks: a client's address, the sessions bound to it and the names they add, its share of the rate.

Looked up once a datagram, so one dictionary decides: host -> ``Client``. When sessions come or go that dictionary is
emptied, and a client's scope is found anew at its next datagram. A scope holds the replies that may be given within it:
clients without names of their own share one, so that a session's names are never answered from another's cache. The
table is bounded; when it is full it starts over, buckets too: a flood of forged addresses is bounded by
``maxThroughput``, not here.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from credgate.dns import addresses
from credgate.dns.cache import ReplyCache
from credgate.dns.policy import NO_ENTRIES, session_entries
from credgate.dns.rate import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from credgate.dns.allowlist import Allowlist
    from credgate.sessions.model import Network, Session

MAX_CLIENTS = 4096


@frozen(slots=True)
class Scope:
    """What a client's sessions make of it. ``session`` is the public id for the audit line, ``""`` for none."""

    session: str = ""
    entries: Allowlist = NO_ENTRIES
    replies: ReplyCache = field(factory=ReplyCache, repr=False)


@define(eq=False)
class Client:
    """One address that asks. ``key`` is what limits count by: the address, or an IPv6 address's /64."""

    host: str
    key: str
    bucket: Bucket
    scope: Scope
    replies: ReplyCache = field(repr=False)
    """The scope's; here to spare the fast path a step."""
    pending: int = 0
    """Questions of this client that wait for an upstream."""


def counted_as(address: addresses.Address) -> str:
    """Return what an address is counted as: one IPv6 host has a whole /64."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class SessionIndex:
    """Sessions by the addresses they are bound to."""

    def __init__(self, sessions: Iterable[Session] = ()) -> None:
        self._single: dict[str, list[Session]] = {}
        self._wide: list[tuple[Network, Session]] = []
        for session in sessions:
            bound = session.bound_to
            if bound is None:
                continue
            if bound.num_addresses == 1:
                self._single.setdefault(str(bound.network_address), []).append(session)
            else:
                self._wide.append((bound, session))

    def find(self, address: addresses.Address) -> list[Session]:
        """Return the sessions bound to the address or to a network around it."""
        wide = [session for network, session in self._wide if address in network]
        return self._single.get(str(address), []) + wide


class Clients:
    """The table of clients. ``strangers`` get a scope of their own, since they may be refused altogether."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self.current: dict[str, Client] = {}
        """By host as the socket gives it, the scope up to date: what the fast path looks at."""
        self._known: dict[str, Client] = {}
        self._buckets: dict[str, Bucket] = {}
        self.use(tuple)

    def use(self, sessions: Callable[[], Iterable[Session]]) -> None:
        """Take up the sessions there are now; replies given under the old ones are forgotten.

        ``sessions`` is called at the next datagram, not before: a thousand that begin at once are listed once.
        """
        self._sessions = sessions
        self._index: SessionIndex | None = None
        self._scopes: dict[tuple[str, ...], Scope] = {}
        self._common, self.strangers = ReplyCache(), Scope()
        self.current = {}

    def of(self, host: str, now: float) -> Client:
        """Return the client at ``host`` (as the socket gives it) with its scope up to date."""
        client = self.current.get(host)
        if client is None:
            client = self._known.get(host) or self._admit(host, now)
            client.scope = self._scope(addresses.client(host))
            client.replies = client.scope.replies
            self.current[host] = client
        return client

    def _admit(self, host: str, now: float) -> Client:
        if len(self._known) >= MAX_CLIENTS:
            for table in (self._known, self._buckets, self.current):
                table.clear()
        key = counted_as(addresses.client(host))
        bucket = self._buckets.setdefault(key, Bucket(self._rate, self._burst, now))
        self._known[host] = client = Client(host, key, bucket, self.strangers, self.strangers.replies)
        return client

    def _scope(self, address: addresses.Address) -> Scope:
        if self._index is None:
            self._index = SessionIndex(self._sessions())
        sessions = self._index.find(address)
        if not sessions:
            return self.strangers
        ids = tuple(session.id for session in sessions)
        if ids not in self._scopes:
            entries = session_entries((name for one in sessions for name in one.dns), f"session {ids[0]}")
            replies = ReplyCache(1024) if entries.allows else self._common
            self._scopes[ids] = Scope(ids[0], entries, replies)
        return self._scopes[ids]
