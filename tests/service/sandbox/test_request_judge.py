"""Judging a request head, accepting connections within the limits, and the sweep once a second."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.address import IPv4Address
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from credgate.audit.event import Happening
from credgate.config.schema import Config, PushPolicy
from credgate.git.authorize import Moved
from credgate.git.renames import MAX_MOVES
from credgate.git.whoami import whoami
from credgate.service.sandbox import request_judge
from credgate.service.sandbox.listener import MAX_REFUSING, REFUSAL_SECONDS, Sweep, _RefusedConnection
from credgate.sessions.lease_clock import LeaseReading
from credgate.sessions.model import Grant, PushRule
from credgate.values import Reason, RepoPath
from tests.fakes.relay import (
    ADVERTISED,
    FORGE_SECRET,
    LISTED,
    PACK,
    REPORTED,
    RESULT,
    House,
    answers_in,
    ask,
    busy_house,
    commands,
    discover,
    login,
    only,
    post,
)
from tests.fakes.sessions import session

HEALTH = ask(b"GET /health", auth=b"")


# The conditions of the moment.


def test_refusals_whose_body_is_read_count_as_transfers() -> None:
    """Twice as many as transfers are read to their end; one more is answered at once, and its body is not read."""
    house = House(max_transfers_per_session=2)
    body = commands(b"refs/heads/a") + PACK
    outside = post(body, service=b"receive", repo=b"else/where")
    held = [house.say(outside[:-10]) for _ in range(4)]
    for request in (outside[:-10], post(body, service=b"receive")[:-10], post(b"0000")[:-2]):
        more = house.say(request)
        said = only(more, b"POST")
        assert (said.status, said.field(b"retry-after")) == (429, b"5") if b"receive" in request else said.status == 200
        assert b"this session has 4 requests running already" in said.body
        house.wait(3)
        assert more.ended, "what it still sends is not waited for"
    assert house.reasons == [Reason.TOO_MANY_TRANSFERS] * 3
    assert house.forge.wires == []
    for client in held:
        client.deliver(outside[-10:])
        house.settle()
        assert b"ng refs/heads/a credgate: github.com/else/where is outside this session" in only(client, b"POST").body
    client = house.say(outside)
    assert b"ng refs/heads/a" in only(client, b"POST").body


@pytest.mark.parametrize("request_bytes", [discover(), post(b"0000"), post(commands(), service=b"receive")])
def test_unaudited_means_unserved(request_bytes: bytes) -> None:
    """Not a byte goes upstream; and when the log can be written again, all is well."""
    house = House()
    house.audit.writable = False
    client = house.say(request_bytes)
    assert house.reasons == [Reason.AUDIT_UNWRITABLE]
    assert house.forge.wires == []
    said = only(client, request_bytes.split(b" ")[0])
    assert b"the audit log cannot be written" in said.body
    if request_bytes.startswith(b"GET"):
        assert (said.status, said.field(b"retry-after")) == (503, b"5")
    house.audit.writable = True
    client.deliver(discover())
    house.settle()
    assert len(house.forge.wires) == 1


@pytest.mark.parametrize("request_bytes", [discover(), post(b"0000"), post(commands(), service=b"receive")])
def test_git_is_served_over_http_1_1_only(request_bytes: bytes) -> None:
    """An older client knows no chunks: the end of an answer would be that of the connection, and a cut looks whole."""
    house = House()
    client = house.say(request_bytes.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert house.reasons == [Reason.MALFORMED_REQUEST]
    assert b"git is served over HTTP/1.1 only" in client.received
    assert house.forge.wires == []
    house.say(request_bytes)
    assert len(house.forge.wires) == 1


def test_our_own_pages_need_no_audit() -> None:
    """Who looks after the gateway must be able to see it."""
    house = House()
    house.audit.writable = False
    client = house.say(HEALTH)
    assert only(client).body == b'{"status":"healthy"}'


def test_a_session_has_so_many_transfers() -> None:
    """One that ends makes room for the next; and other sessions are not its matter."""
    house = House(max_transfers_per_session=2)
    other = session(2, grants=(Grant("octo/*", "github.com"),))
    house.sessions.known["other", "other"] = other
    first, second = house.say(discover()), house.say(discover())
    third = house.say(discover())
    assert (only(third).status, only(third).field(b"retry-after")) == (429, b"5")
    assert b"2 transfers running already" in only(third).body
    assert house.reasons == [Reason.TOO_MANY_TRANSFERS]
    house.say(discover(auth=login("other", "other")))
    assert len(house.forge.wires) == 3
    first.hang_up()
    house.settle()
    third.deliver(discover())
    house.settle()
    assert len(house.forge.wires) == 4
    second.hang_up()
    third.hang_up()


def test_broken_requests_do_not_use_up_a_sessions_transfers() -> None:
    """However often it breaks one in its middle."""
    house = House(max_transfers_per_session=2)
    for _ in range(5):
        client = house.say(post(b"x" * 100, chunked=True)[:-5])
        client.deliver(b"zz\r\n")
        client.hang_up()
        house.settle()
    assert set(house.reasons) == {Reason.MALFORMED_REQUEST}
    house.say(discover())
    assert house.forge.asked().start.method == b"GET"


def test_every_relayed_request_touches_its_session() -> None:
    """And a refused one does not."""
    house = House()
    house.say(discover(repo=b"else/where"))
    assert house.sessions.touched == []
    house.say(discover())
    assert house.sessions.touched == [house.session.id]


def test_whoami_page_is_rendered_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox asks on all its connections; a thousand grants take milliseconds each time."""
    made: list[object] = []

    def counted(*arguments: Any) -> dict[str, object]:
        made.append(arguments)
        return whoami(*arguments)

    monkeypatch.setattr(request_judge, "whoami", counted)
    house = House()
    pages = [only(house.say(ask(b"GET /whoami"))).body for _ in range(3)]
    assert len(made) == 1
    assert len(set(pages)) == 1
    house.clock = lambda: LeaseReading("boot", 1.0, 2.0)  # another second, in which the times are others
    assert only(house.say(ask(b"GET /whoami"))).body != pages[0]
    assert len(made) == 2


def test_whoami_is_json_about_the_session() -> None:
    """With the times of now, and the credentials by their ids."""
    client = House().say(ask(b"GET /whoami"))
    told = json.loads(only(client).body)
    assert only(client).field(b"content-type") == b"application/json"
    assert told["session"] == "s-0000000000000001"
    named = [{"id": "cred-1", "kind": "env"}]
    assert told["repositories"][1] == {
        "repo": "read/only",
        "forge": "github.com",
        "access": "read",
        "credentials": named,
    }
    assert told["repositories"][2]["credentials"] == []
    assert FORGE_SECRET not in json.dumps(told)


# The operator's policy.


def test_reloaded_policy_applies_from_the_next_request_on() -> None:
    """For refusals, for what whoami tells, and for the limits of a push that is judged afterwards."""
    house = House()
    closed = evolve(Config(), policy=PushPolicy(push=(PushRule("refs/**", frozenset()),)))

    def refused(ref: bytes) -> bool:
        house.audit.events.clear()
        house.say(post(commands(ref), service=b"receive"))
        return house.reasons == [Reason.PUSH_VERB]

    assert not refused(b"refs/heads/x")
    ensureDeferred(house.judge.apply_config(closed))
    assert refused(b"refs/heads/x")
    told = json.loads(only(house.say(ask(b"GET /whoami"))).body)
    assert told["policy"] == {"push": [{"refs": "refs/**", "allow": []}]}
    ensureDeferred(house.judge.apply_config(Config()))
    assert not refused(b"refs/heads/x")


def test_running_push_keeps_its_rules_after_a_reload() -> None:
    """Its verdict was made with them; half of one policy and half of another would be nobody's."""
    house = House()
    push = post(commands(b"refs/heads/x") + PACK, service=b"receive")
    cut = len(push) - len(PACK) - 20
    client = house.say(push[:cut])
    ensureDeferred(
        house.judge.apply_config(evolve(Config(), policy=PushPolicy(push=(PushRule("refs/**", frozenset()),))))
    )
    client.deliver(push[cut:])
    house.settle()
    assert Reason.PUSH_VERB not in house.reasons
    assert b"refs/heads/x" in house.forge.wire.received


# Renamed repositories.


HELLO = RepoPath("github.com", "octo/hello")
NEW = RepoPath("github.com", "octo/new")
MOVED = Moved(NEW, dot_git=True)


def moved_house() -> House:
    """Have a session whose ``octo/hello`` has moved."""
    house = House()
    house.judge.record_rename(house.session.id, HELLO, MOVED)
    return house


def test_post_uses_the_name_that_its_discovery_was_redirected_to() -> None:
    """A discovery asks under the old name again, for a repository may move back; the move is kept until that is so."""
    house = moved_house()
    house.say(post(b"0000"))
    assert house.forge.asked().start.target == b"/octo/new.git/git-upload-pack"
    house.say(discover())
    assert house.forge.asked().start.target.startswith(b"/octo/hello.git/info/refs")
    assert len(house.judge.renames) == 1
    house.forge.wire.deliver(LISTED)
    house.settle()
    assert len(house.judge.renames) == 0


def test_a_move_found_by_a_fetch_does_not_allow_a_push() -> None:
    """Where the new name may only be read, a push by the old name is refused and not sent to either name."""
    house = House()
    house.judge.record_rename(house.session.id, HELLO, Moved(RepoPath("github.com", "read/only"), dot_git=True))
    house.say(post(b"0000"))
    assert house.forge.asked().start.target == b"/read/only.git/git-upload-pack"
    asked = len(house.forge.wires)
    client = house.say(post(commands() + PACK, service=b"receive"))
    assert b"this session may only read github.com/read/only" in only(client, b"POST").body
    assert len(house.forge.wires) == asked
    told = house.audit.events[-1]
    assert (told.reason, told.repo, told.moved_from) == (Reason.READ_ONLY, "read/only", "octo/hello")


AGENT = PushRule("refs/heads/agent/*", frozenset({"create", "update"}))
STRICT_GRANTS = {
    "nothing may be pushed": (Grant("octo/new", "github.com", push=()), Reason.PUSH_REF),
    "other refs": (Grant("octo/new", "github.com", push=(AGENT,)), Reason.PUSH_REF),
    "other verbs": (
        Grant("octo/new", "github.com", push=(PushRule("refs/**", frozenset({"delete"})),)),
        Reason.PUSH_VERB,
    ),
}


@pytest.mark.parametrize(("grant", "reason"), STRICT_GRANTS.values(), ids=STRICT_GRANTS)
def test_push_by_the_old_name_is_judged_by_the_new_names_rules(grant: Grant, reason: Reason) -> None:
    """The old name's grant allows everything; the same push is sent on where the new name's grant allows it, too."""
    anything = (PushRule("refs/**", frozenset({"create", "update", "force", "delete"})),)
    wide = Grant("octo/hello", "github.com", push=anything)
    for new, expected in ((grant, reason), (evolve(grant, push=anything), None)):
        house = moved_house()
        house.sessions.known["token", "secret"] = evolve(house.session, grants=(wide, new))
        house.say(post(commands(b"refs/heads/main") + PACK, service=b"receive"))
        if expected is None:
            assert house.forge.asked().start.target == b"/octo/new.git/git-receive-pack"
            continue
        assert house.forge.wires == []
        told = house.audit.events[-1]
        assert (told.reason, told.repo, told.moved_from) == (expected, "octo/new", "octo/hello")


def test_a_reloaded_policy_holds_for_moves_that_were_found_before() -> None:
    """A move remembers a name and no rules."""
    house = moved_house()
    closed = evolve(Config(), policy=PushPolicy(push=(PushRule("refs/**", frozenset()),)))
    ensureDeferred(house.judge.apply_config(closed))
    house.say(post(commands() + PACK, service=b"receive"))
    assert house.reasons == [Reason.PUSH_VERB]
    assert house.forge.wires == []


def test_oldest_renames_are_forgotten_above_the_limit() -> None:
    """A grant of ``octo/*`` is names without end, and a forge may say of each that it has moved."""
    house = House()
    for number in range(MAX_MOVES + 1):
        house.judge.record_rename(house.session.id, RepoPath("github.com", f"octo/{number % MAX_MOVES}"), MOVED)
    assert len(house.judge.renames) == MAX_MOVES
    house.judge.record_rename("other", RepoPath("github.com", "octo/hello"), MOVED)
    assert len(house.judge.renames) == MAX_MOVES
    assert (
        house.session.id,
        RepoPath("github.com", "octo/0"),
    ) in house.judge.renames  # found again, and so not the oldest
    assert (house.session.id, RepoPath("github.com", "octo/1")) not in house.judge.renames


def test_renames_are_forgotten_with_their_session() -> None:
    """Others keep theirs."""
    house = moved_house()
    house.judge.record_rename("other", HELLO, MOVED)
    house.sessions.revoke(house.session)
    assert list(house.judge.renames) == [("other", RepoPath("github.com", "octo/hello"))]


def test_rate_counts_are_forgotten_with_their_session() -> None:
    """Others keep theirs; sessions come and go for months."""
    house = House(requests_per_minute=5, bytes_per_minute=1000)
    for one in (house.session.id, "other"):
        house.services.rates.admit(one, "10.0.0.1", 0)
        house.services.rates.moved(one, 5, 0)
    house.sessions.revoke(house.session)
    assert [len(house.services.rates._requests), len(house.services.rates._bytes)] == [1, 1]


# Who is let in.


@pytest.mark.parametrize(
    ("limits", "few", "peers", "rule", "text"),
    [
        (
            {"max_connections_per_address": 2},
            False,
            ["10.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"],
            "max_connections_per_address",
            b"from this address (max_connections_per_address)",
        ),
        (
            {"max_connections_per_address": 2},
            False,
            ["2001:db8::1", "2001:db8::2", "2001:db8::3"],
            "max_connections_per_address",
            b"from this address (max_connections_per_address)",
        ),
        (
            {"max_connections": 2},
            False,
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
            "max_connections",
            b"to the gateway (max_connections)",
        ),
        (
            {"max_connections": 2},
            True,
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
            "RLIMIT_NOFILE",
            b"no file descriptors for more connections (RLIMIT_NOFILE)",
        ),
    ],
)
def test_connection_over_a_limit_is_refused_with_the_limits_name(
    limits: dict[str, int], *, few: bool, peers: list[str], rule: str, text: bytes
) -> None:
    """At once and without reading, with the limit's name; one that ends makes room."""
    house = House(few_descriptors=few, **limits)
    clients = [house.client(peer) for peer in peers]
    house.settle()
    assert [client.ended for client in clients] == ["", "", "closed"]
    said = only(clients[2])
    assert (said.status, said.field(b"retry-after"), said.field(b"connection")) == (429, b"5", b"close")
    assert text in said.body
    (event,) = house.audit.events
    assert (event.event, event.reason, event.rule) == (Happening.CONNECTION, Reason.TOO_MANY_CONNECTIONS, rule)
    assert house.services.refused.totals()[rule] == 1
    clients[0].hang_up()
    assert only(house.say(HEALTH, peer=peers[2])).status == 200


def test_limit_of_one_address_does_not_refuse_another() -> None:
    """Its connections are counted by themselves, and no count is left behind."""
    house = House(max_connections_per_address=1)
    clients = [house.client("10.0.0.1"), house.client("10.0.0.2")]
    house.settle()
    assert [client.ended for client in clients] == ["", ""]
    for client in clients:
        client.hang_up()
    assert house.transfers.addresses == {}
    assert house.transfers.connections == set()


def test_limit_of_one_ipv6_network_does_not_refuse_another() -> None:
    """An IPv6 host has its /64, and no more than that."""
    house = House(max_connections_per_address=1)
    clients = [house.client("2001:db8::1"), house.client("2001:db8:0:1::1")]
    house.settle()
    assert [client.ended for client in clients] == ["", ""]
    for client in clients:
        client.hang_up()
    assert house.transfers.addresses == {}


def test_a_flood_of_refused_connections_is_two_lines_and_holds_few_descriptors() -> None:
    """The first is told; the others are counted, and told as a number when the minute is over."""
    house = House(max_connections_per_address=1)
    house.client("10.0.0.1")
    refused = [house.factory.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)) for _ in range(100)]
    assert all(isinstance(one, _RefusedConnection) for one in refused)
    house.factory.refusing = MAX_REFUSING
    assert house.factory.buildProtocol(IPv4Address("TCP", "10.0.0.1", 1)) is None
    house.factory.refusing = 0
    assert [event.text for event in house.audit.events] == [""]
    house.clock.pass_time(61.0)
    house.wait(2)
    assert [(event.peer, event.text) for event in house.audit.events] == [
        ("10.0.0.1", ""),
        ("10.0.0.1", "100 more within 60 s"),
    ]
    assert house.services.refused.totals()["max_connections_per_address"] == 101


def test_refused_connection_that_stays_open_is_cut() -> None:
    """Behind TLS the answer waits for a handshake that may never come."""
    house = House(max_connections=1)
    house.client("10.0.0.1")
    transport = StringTransport()
    aborted: list[bool] = []
    transport.abortConnection = lambda: aborted.append(True)  # type: ignore[method-assign]
    full = house.factory.buildProtocol(IPv4Address("TCP", "10.0.0.2", 1))
    assert full is not None
    full.makeConnection(transport)
    assert (transport.disconnecting, house.factory.refusing) == (True, 1)
    house.reactor.advance(REFUSAL_SECONDS)
    assert aborted == [True]
    full.connectionLost(Failure(ConnectionDone()))
    assert (house.factory.refusing, house.reactor.getDelayedCalls()) == (0, [])


def test_peer_without_an_address_is_accepted() -> None:
    """A UNIX socket's has none."""
    house = House()
    assert house.factory.buildProtocol(None).peer == ""  # type: ignore[attr-defined]


# Once a second.


def test_sweep_runs_once_a_second_until_the_service_stops() -> None:
    """Deadlines need no timers of their own; starting again looks again."""
    house = House(head_timeout=5, connect_timeout=30)
    house.service.startService()
    silent = house.client()
    house.reactor.pump([1] * 7)
    assert silent.ended == "closed"
    house.service.stopService()
    assert house.reactor.getDelayedCalls() == []
    assert house.transfers.closing


def test_end_of_a_session_cuts_its_transfers_once_the_service_runs() -> None:
    """The registry tells whoever asked to be told."""
    house = House()
    house.sessions.listeners.clear()
    house.service.startService()
    client = house.say(discover())
    house.sessions.revoke(house.session)
    house.settle()
    assert client.ended == "reset"
    house.service.stopService()


def test_stopping_cuts_everything() -> None:
    """Nothing looks complete, every request has its line, no connection stays."""
    house, idle = busy_house()
    uploading = house.say(post(commands() + PACK, service=b"receive", chunked=True)[:-5])
    answered = house.say(post(b"0000"))
    house.forge.wires[0].deliver(RESULT[:-1])  # it got the kept one
    house.settle()
    waiting = house.say(post(b"x" * 100, repo=b"else/where")[:-5])
    silent = house.client()
    house.service.startService()
    house.service.stopService()
    house.settle()
    assert [one.ended for one in (idle, uploading, answered, waiting, silent)] == ["reset"] * 5
    assert sorted(house.reasons) == sorted([Reason.SHUTDOWN, Reason.SHUTDOWN, Reason.OUTSIDE_SESSION])
    assert not answers_in(answered.received, b"POST")[0].whole
    assert all(wire.ended == "reset" for wire in house.forge.wires)
    house.nothing_left()


def test_stopping_closes_what_is_kept_to_the_forge() -> None:
    """A kept connection holds a login; nobody would ever close it."""
    house, _idle = busy_house()
    assert (house.pool.count(), house.forge.wire.ended) == (1, "")
    house.service.startService()
    house.service.stopService()
    house.settle()
    assert (house.pool.count(), house.forge.wire.ended) == (0, "reset")


def test_stopping_what_never_started_is_no_error() -> None:
    """A start that failed half-way is stopped, too."""
    House().service.stopService()


def test_a_defect_in_one_connection_is_not_the_others(clean_reactor: list[Failure]) -> None:
    """It is cut, both sides, with its line; the rest is looked after."""
    house = House(stall_timeout=5)
    broken, stalled = (house.say(post(b"x" * 10)[:-5]) for _ in range(2))
    broken.protocol._exchange.overdue = None
    house.wait(8)
    assert [broken.ended, stalled.ended] == ["reset", "reset"]
    assert all(wire.ended == "reset" for wire in house.forge.wires)
    assert house.reasons == [Reason.INTERNAL, Reason.STALLED]
    house.nothing_left()
    assert [failure.type for failure in clean_reactor] == [TypeError]
    clean_reactor.clear()


def test_a_defect_in_the_cutting_is_not_the_others_either(clean_reactor: list[Failure]) -> None:
    """The connection ends all the same, and takes its forge's along."""
    house = House(stall_timeout=5)
    broken, stalled = (house.say(post(b"x" * 10)[:-5]) for _ in range(2))
    exchange = broken.protocol._exchange
    exchange.overdue, exchange.cut = None, None
    house.wait(8)
    assert [broken.ended, stalled.ended] == ["reset", "reset"]
    assert all(wire.ended == "reset" for wire in house.forge.wires)
    assert sorted(house.reasons) == [Reason.CLIENT_LEFT, Reason.STALLED]
    house.nothing_left()
    assert len(clean_reactor) == 2
    clean_reactor.clear()


def test_error_in_the_sweep_does_not_stop_later_sweeps(clean_reactor: list[Failure]) -> None:
    """Every deadline of every connection hangs on it."""
    house = House(head_timeout=5)
    house.service.startService()
    silent = house.client()
    house.reactor.advance(1)
    object.__setattr__(house.judge.authorizer, "brake", None)
    house.reactor.pump([1] * 6)
    assert silent.ended == "closed"
    house.service.stopService()
    assert {failure.type for failure in clean_reactor} == {AttributeError}
    clean_reactor.clear()


def test_old_failures_and_idle_forge_connections_are_swept() -> None:
    """Both are bounded in time."""
    house, _client = busy_house()
    house.say(discover(auth=login("token", "wrong")))
    brake: Any = house.judge.authorizer.brake
    assert (len(brake), house.pool.count()) == (1, 1)
    house.wait(61)
    assert (len(brake), house.pool.count()) == (0, 0)


def test_a_push_and_a_read_of_one_session_run_side_by_side() -> None:
    """The positive control of all the above."""
    house = House()
    service = Sweep(house.services)
    service.startService()
    push, read = house.say(post(commands() + PACK, service=b"receive")), house.say(discover())
    house.forge.wires[0].deliver(REPORTED)
    house.forge.wires[1].deliver(LISTED)
    house.settle()
    assert (only(push, b"POST").body, only(read).body) == (b"reported", ADVERTISED)
    assert house.reasons == [Reason.ALLOWED, Reason.ALLOWED]
    service.stopService()
    house.nothing_left()


# What is told while it runs.


def test_running_transfers_are_listed_until_they_end() -> None:
    """Who moves how much, for ``GET /v1/transfers``; never a secret."""
    house = House()
    house.say(discover())
    (one,) = house.transfers.snapshot()
    assert (one["session"], one["repo"]) == (house.session.id, "octo/hello")
    assert (one["operation"], one["peer"]) == ("git-upload-pack-advertisement", "10.0.0.7")
    house.sessions.revoke(house.session)
    assert house.transfers.snapshot() == []
