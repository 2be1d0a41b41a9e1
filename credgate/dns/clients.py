"""Who asks: a client's address, the sessions bound to it and the names they add, its share of the rate.

Looked up once a datagram, so one dictionary decides: host -> ``Client``. When a bound session comes or goes that
dictionary is emptied, and a client's scope is found anew at its next datagram, in an index that was changed by that one
session: no datagram walks all sessions. A scope holds the replies that may be given within it:
clients without names of their own share one, so that a session's names are never answered from another's cache. The
table is bounded; when it is full it starts over, buckets too: a flood of forged addresses is bounded by
``maxThroughput``, not here.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from credgate.dns import addresses
from credgate.dns.cache import ReplyCache
from credgate.dns.policy import NO_ENTRIES, session_entries
from credgate.dns.rate import Bucket
from credgate.sessions.address import rate_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from credgate.dns.allowlist import Allowlist
    from credgate.sessions.model import Network, Session

MAX_CLIENTS = 4096

_Key = tuple[int, int, int]
"""A network: IP version, prefix length, and the number that its prefix is."""


@frozen(slots=True)
class ClientScope:
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
    scope: ClientScope
    replies: ReplyCache = field(repr=False)
    """The scope's; here to spare the fast path a step."""
    pending: int = 0
    """Questions of this client that wait for an upstream."""


class SessionIndex:
    """Sessions by the networks they are bound to: an address is looked up once for each prefix length in use."""

    def __init__(self, sessions: Iterable[Session] = ()) -> None:
        self._bound: dict[_Key, dict[str, Session]] = {}
        self._named: dict[_Key, dict[str, Session]] = {}
        """Those of them that add names."""
        self._lengths: Counter[tuple[int, int]] = Counter()
        """How many networks there are of each IP version and prefix length."""
        for session in sessions:
            self.add(session)

    def add(self, session: Session) -> None:
        """Add a session, if it is bound; one that is there already is replaced."""
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
        """Remove a session; one that is not there is no error."""
        if session.bound_to is None:
            return
        key = _key(session.bound_to)
        if _drop(self._bound, key, session.id):
            self._lengths[key[:2]] -= 1
            if not self._lengths[key[:2]]:
                del self._lengths[key[:2]]
        _drop(self._named, key, session.id)

    def find(self, address: addresses.Address) -> list[Session]:
        """Return the sessions bound to the address or to a network around it, the closest first."""
        return [session for key in self._around(address) for session in self._bound[key].values()]

    def first(self, address: addresses.Address) -> str:
        """Return the id of the first of them; ``""``: there is none."""
        return next((session_id for key in self._around(address) for session_id in self._bound[key]), "")

    def named(self, address: addresses.Address) -> list[Session]:
        """Return those of them that add names."""
        return [session for key in self._around(address) for session in self._named.get(key, {}).values()]

    def _around(self, address: addresses.Address) -> Iterator[_Key]:
        version, number, bits = address.version, int(address), address.max_prefixlen
        for of, length in sorted(self._lengths, reverse=True):
            if of == version and (key := (version, length, number >> (bits - length))) in self._bound:
                yield key


def _drop(table: dict[_Key, dict[str, Session]], key: _Key, session_id: str) -> bool:
    """Take a session out; whether it was the last under its key."""
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
    """The table of clients. ``strangers`` get a scope of their own, since they may be refused altogether."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self.current: dict[str, Client] = {}
        """By host as the socket gives it, the scope up to date: what the fast path looks at."""
        self._known: dict[str, Client] = {}
        self._buckets: dict[str, Bucket] = {}
        self.use(SessionIndex())

    def use(self, index: SessionIndex) -> None:
        """Take up other sessions; replies given under the old ones are forgotten."""
        self.index = index
        self._scopes: dict[tuple[str, ...], ClientScope] = {}
        self._common, self.strangers = ReplyCache(), ClientScope()
        self.current = {}

    def session_began(self, session: Session) -> None:
        """Add a session. One that is bound to no network changes nothing here."""
        if session.bound_to is not None:
            self.index.add(session)
            self._forget_scopes()

    def session_ended(self, session: Session) -> None:
        """Remove a session."""
        if session.bound_to is not None:
            self.index.remove(session)
            self._forget_scopes()

    def _forget_scopes(self) -> None:
        if self.current or self._scopes:  # else there is none, as while a start loads thousands of sessions
            self.use(self.index)

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
        key = rate_key(host)
        bucket = self._buckets.setdefault(key, Bucket(self._rate, self._burst, now))
        self._known[host] = client = Client(host, key, bucket, self.strangers, self.strangers.replies)
        return client

    def _scope(self, address: addresses.Address) -> ClientScope:
        first, named = self.index.first(address), self.index.named(address)
        if not first:
            return self.strangers
        ids = (first, *(session.id for session in named))
        if ids not in self._scopes:
            entries = session_entries((name for one in named for name in one.dns), f"session {first}")
            replies = ReplyCache(1024) if entries.allows else self._common
            self._scopes[ids] = ClientScope(first, entries, replies)
        return self._scopes[ids]
