"""Clients: addresses, sessions, scopes."""

from __future__ import annotations

import ipaddress

from credgate.dns.clients import MAX_CLIENTS, Clients, SessionIndex
from credgate.sessions.model import Network, Session


def session(ident: str, bound: str | None, *dns: str) -> Session:
    """Make a session."""
    network: Network | None = ipaddress.ip_network(bound) if bound else None
    return Session(ident, b"", b"", (), 0.0, 0.0, 0.0, 1.0, 1.0, bound_to=network, dns=dns)


def table(*sessions: Session) -> Clients:
    """Make a table with these sessions."""
    clients = Clients(10.0, 10.0)
    clients.use(SessionIndex(sessions))
    return clients


def allows(clients: Clients, host: str, name: str) -> bool:
    """Whether the sessions of ``host`` add a name."""
    return bool(clients.of(host, 0.0).scope.entries.match(tuple(name.encode().split(b"."))).allowed)


def test_session_names_apply_only_to_its_address() -> None:
    """By address and by network; an unbound session adds to nobody."""
    clients = table(
        session("s-1", "10.0.0.1", "one.example"),
        session("s-2", "10.0.1.0/24", "net.example"),
        session("s-3", None, "free.example"),
        session("s-4", "fd00::1", "six.example"),
    )
    assert allows(clients, "10.0.0.1", "one.example")
    assert allows(clients, "::ffff:10.0.0.1", "one.example")
    assert allows(clients, "10.0.1.77", "net.example")
    assert allows(clients, "fd00::1", "six.example")
    assert not allows(clients, "10.0.0.2", "one.example")
    assert not allows(clients, "10.0.0.1", "net.example")
    assert not allows(clients, "10.0.0.1", "free.example")
    assert clients.of("10.0.0.1", 0.0).scope.session == "s-1"
    assert clients.of("10.0.0.9", 0.0).scope is clients.unbound


def test_sessions_of_one_address_add_up() -> None:
    """Sessions bound to one address add up."""
    clients = table(session("s-1", "10.0.0.1", "a.example"), session("s-2", "10.0.0.0/8", "b.example"))
    assert allows(clients, "10.0.0.1", "a.example")
    assert allows(clients, "10.0.0.1", "b.example")
    assert not allows(clients, "10.0.0.2", "a.example")


def test_clients_without_own_names_share_a_reply_cache() -> None:
    """A session's names are never answered from another cache; clients without a session have their own."""
    clients = table(session("s-1", "10.0.0.1"), session("s-2", "10.0.0.2"), session("s-3", "10.0.0.3", "a.example"))
    replies = [clients.of(f"10.0.0.{last}", 0.0).replies for last in (1, 2, 3, 4, 5)]
    assert replies[0] is replies[1]
    assert replies[3] is replies[4] is clients.unbound.replies
    assert len({id(one) for one in replies}) == 3


def test_session_change_takes_effect_at_once() -> None:
    """A session adds its names when it begins; its names and replies are dropped when it ends."""
    clients = table()
    before = clients.of("10.0.0.1", 0.0)
    assert not before.scope.session
    clients.use(SessionIndex([session("s-1", "10.0.0.1", "a.example")]))
    assert allows(clients, "10.0.0.1", "a.example")
    assert clients.of("10.0.0.1", 0.0) is before
    kept = before.replies
    clients.use(SessionIndex())
    assert not allows(clients, "10.0.0.1", "a.example")
    assert before.replies is not kept


def test_an_ipv6_host_is_counted_by_its_network() -> None:
    """All addresses of a /64 share one token bucket and one count."""
    clients = table()
    one, other, far = (clients.of(host, 0.0) for host in ("fd00::1", "fd00::2", "fd00:0:0:1::1"))
    assert one.key == other.key == "fd00::/64"
    assert one.bucket is other.bucket
    assert one.bucket is not far.bucket
    assert clients.of("10.0.0.1", 0.0).key == "10.0.0.1"
    assert clients.of("fe80::1%eth0", 0.0).key == "fe80::/64"


def test_table_of_clients_is_limited() -> None:
    """Forged addresses cannot use more memory."""
    clients = table()
    for number in range(MAX_CLIENTS + 100):
        clients.of(str(ipaddress.ip_address(number)), 0.0)
        assert len(clients.current) == len(clients._known) <= MAX_CLIENTS


def test_session_change_updates_the_index_alone() -> None:
    """A datagram after each create must not iterate over all sessions; an unbound session changes nothing."""
    clients = table()
    one, wide = session("s-1", "10.0.0.1", "a.example"), session("s-2", "10.0.0.0/24")
    clients.session_began(one)
    clients.session_began(wide)
    assert allows(clients, "10.0.0.1", "a.example")
    assert clients.of("10.0.0.2", 0.0).scope.session == "s-2"
    known = clients.current
    clients.session_began(session("s-3", None, "b.example"))
    clients.session_ended(session("s-3", None, "b.example"))
    assert clients.current is known
    clients.session_ended(one)
    assert not allows(clients, "10.0.0.1", "a.example")
    assert clients.of("10.0.0.1", 0.0).scope.session == "s-2"
    clients.session_ended(one)
    clients.session_ended(wide)
    assert clients.of("10.0.0.1", 0.0).scope is clients.unbound
    assert (clients.index._bound, clients.index._named, clients.index._lengths) == ({}, {}, {})


def test_lookup_takes_one_step_for_each_prefix_length() -> None:
    """Ten thousand networks are as quick to search as two: the closest comes first, other versions are not met."""
    many = [session(f"s-{n}", f"10.{n >> 8}.{n & 255}.0/24", "a.example") for n in range(10_000)]
    index = SessionIndex([*many, session("s-wide", "10.0.0.0/8"), session("s-six", "a00::/8")])
    address = ipaddress.ip_address("10.1.2.3")
    assert [one.id for one in index.find(address)] == ["s-258", "s-wide"]
    assert (index.first(address), [one.id for one in index.named(address)]) == ("s-258", ["s-258"])
    assert len(list(index._containing(address))) == 2
    assert len(index._lengths) == 3
