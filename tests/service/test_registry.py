"""The registry: who is alive, and what was promised about it."""

from __future__ import annotations

import hmac
import ipaddress
import os
import threading
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor, task
from twisted.internet.defer import CancelledError, Deferred

from credgate.config import schema
from credgate.errors import CapacityError, StoreError
from credgate.service import registry as module
from credgate.service.clock import read_lease_clock
from credgate.service.registry import EXPIRED, REVOKED, TOUCH_GRAIN, SessionRegistry
from credgate.sessions import rows, sqlite, tokens
from credgate.sessions.model import Session
from credgate.sessions.sqlite import SqliteStore
from credgate.sessions.stores import MemoryStore
from tests.fakes.sessions import DAY, BreakableStore, InstantPool, LeaseClock, registry, request, session

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path


def now(deferred: Deferred[Any]) -> Any:
    """Return the result of a Deferred that has fired."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "not fired yet"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


class Rig:
    """A started registry whose disk and clock the test holds in its hands."""

    def __init__(self, *stored: Session, **config: Any) -> None:
        self.store, self.clock, self.pool = BreakableStore(), LeaseClock(), InstantPool()
        for one in stored:
            self.store.insert(one)
        self.registry = registry(self.store, clock=self.clock, pool=self.pool, **config)
        self.ended: list[tuple[str, str]] = []
        self.registry.on_end(lambda one, reason: self.ended.append((one.id, reason)))
        self.registry.startService()
        self.store.calls.clear()

    def create(self, **changes: Any) -> tuple[Session, tokens.NewToken]:
        """Create one session, at once."""
        made: tuple[Session, tokens.NewToken] = now(self.registry.create(request(**changes)))
        return made

    def on_disk(self) -> list[str]:
        """Return the ids that a restart would find."""
        return list(self.store._sessions)


@pytest.fixture
def rig() -> Rig:
    """Give a started, empty registry."""
    return Rig()


# Authentication.


def test_both_halves_open_the_session(rig: Rig) -> None:
    """And neither half alone, nor the halves of two sessions."""
    (one, minted), (_, other) = rig.create(), rig.create()
    enter = rig.registry.authenticate
    assert enter(minted.token, minted.secret, "192.0.2.1") == one
    for token, secret in (
        (minted.token, ""),
        (minted.token, minted.token),
        (minted.secret, minted.token),
        ("", minted.secret),
        ("", ""),
        (minted.token, other.secret),
        (minted.token, minted.secret + "x"),
        (minted.token[:-1], minted.secret),
        (minted.token, minted.secret.swapcase()),
        ("\ud800", "\ud800"),
    ):
        assert enter(token, secret, "192.0.2.1") is None


def test_sessions_are_valid_whichever_request_comes_next(rig: Rig) -> None:
    """The ancestor's second worker did not know the first one's sessions."""
    many = [rig.create() for _ in range(20)]
    for one, minted in reversed(many):
        for _ in range(2):
            assert rig.registry.authenticate(minted.token, minted.secret, "") == one


@pytest.mark.parametrize(
    ("bound_to", "address", "expected"),
    [
        (None, "anything", True),
        ("172.18.0.5/32", "172.18.0.5", True),
        ("172.18.0.5/32", "::ffff:172.18.0.5", True),
        ("172.18.0.5/32", "172.18.0.6", False),
        ("172.18.0.0/16", "172.18.255.1", True),
        ("2001:db8::/64", "2001:db8::7", True),
        ("172.18.0.5/32", "", False),
    ],
)
def test_a_bound_session_is_unknown_elsewhere(rig: Rig, bound_to: str | None, address: str, *, expected: bool) -> None:
    """A stolen token is of no use in the next sandbox."""
    network = None if bound_to is None else ipaddress.ip_network(bound_to)
    one, minted = rig.create(bound_to=network)
    assert rig.registry.authenticate(minted.token, minted.secret, address) == (one if expected else None)
    assert rig.registry.usable(one.id, address) == (one if expected else None)


def test_a_session_that_has_ended_is_not_usable_by_its_id(rig: Rig) -> None:
    """What was proved while it lived proves nothing then."""
    one, _ = rig.create()
    assert rig.registry.usable(one.id, "10.0.0.7") == one
    rig.registry.revoke(one.id)
    assert rig.registry.usable(one.id, "10.0.0.7") is None
    assert rig.registry.usable("s-unknown", "10.0.0.7") is None


def test_every_failure_takes_the_same_steps(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """One constant-time comparison of two digests, one look at the clock and one at the address, right or wrong.

    A lookup that returned early for unknown tokens would tell them from wrong secrets by time.
    """
    _, minted = rig.create(bound_to=ipaddress.ip_network("10.0.0.0/8"))
    _, dying = rig.create(bound_to=ipaddress.ip_network("10.0.0.0/8"), idle_ttl=1.0)
    rig.clock.pass_time(2.0)
    steps: list[str] = []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            steps.append(name + (str([len(one) for one in args]) if name == "compare" else ""))
            return real(*args)

        return call

    monkeypatch.setattr(hmac, "compare_digest", noted("compare", hmac.compare_digest))
    monkeypatch.setattr(module, "admits", noted("admits", module.admits))
    monkeypatch.setattr(tokens, "digest", noted("digest", tokens.digest))
    monkeypatch.setattr(rig.registry, "_clock", noted("clock", rig.clock))
    taken = {}
    for what, token, secret, address in (
        ("right", minted.token, minted.secret, "10.0.0.1"),
        ("unknown", "x" * 43, minted.secret, "10.0.0.1"),
        ("secret", minted.token, "x" * 43, "10.0.0.1"),
        ("address", minted.token, minted.secret, "11.0.0.1"),
        ("expired", dying.token, dying.secret, "10.0.0.1"),
    ):
        steps.clear()
        found = rig.registry.authenticate(token, secret, address)
        assert (found is not None) == (what == "right")
        taken[what] = list(steps)
    assert set(map(tuple, taken.values())) == {("digest", "digest", "compare[32, 32]", "clock", "admits")}


def test_nothing_opens_the_session_that_unknown_tokens_are_judged_against(rig: Rig) -> None:
    """Not even with its own digests, which nobody has."""
    nobody = rig.registry._nobody
    assert not nobody.live(float("-inf"))
    assert nobody.grants == ()
    assert rig.registry.get("") is None


def test_neither_token_nor_secret_is_kept(rig: Rig) -> None:
    """Only digests, in memory too."""
    one, minted = rig.create()
    for kept in (repr(vars(rig.registry)), repr(one), repr(rows.write(one)), repr(vars(rig.store))):
        assert minted.token not in kept
        assert minted.secret not in kept
    assert tokens.digest(minted.token) == one.token_digest


# Creating.


def test_a_session_is_on_disk_before_it_is_answered_and_dead_until_then(rig: Rig) -> None:
    """Acknowledged means durable; not acknowledged means unusable."""
    rig.pool.held = True
    pending = rig.registry.create(request(label="slow"))
    assert (pending.called, rig.registry.count, rig.on_disk()) == (False, 0, [])
    rig.pool.release()
    one, _ = now(pending)
    assert (rig.registry.all(), rig.on_disk()) == ([one], [one.id])


def test_a_session_is_what_was_asked_for(rig: Rig) -> None:
    """Field by field, with the clocks of its creation."""
    asked = request(label="a", dns=("pypi.org",), idle_ttl=60.0, bound_to=ipaddress.ip_network("10.0.0.1"))
    one, minted = now(rig.registry.create(asked))
    assert one == Session(
        id=minted.id,
        token_digest=tokens.digest(minted.token),
        secret_digest=tokens.digest(minted.secret),
        grants=asked.grants,
        created=rig.clock.now.boot,
        used=rig.clock.now.boot,
        created_wall=rig.clock.now.wall,
        idle_ttl=60.0,
        absolute_ttl=asked.absolute_ttl,
        bound_to=asked.bound_to,
        label="a",
        dns=("pypi.org",),
    )
    assert rig.registry.get(one.id) == one
    assert rig.registry.expires_at(one) == rig.clock.now.wall + 60.0


def test_the_cap_counts_those_still_on_their_way_and_not_the_expired() -> None:
    """A burst must not slip past it; the dead must not hold places until the next round."""
    rig = Rig(max_sessions=2)
    rig.pool.held = True
    first = [rig.registry.create(request(idle_ttl=60.0)) for _ in range(2)]
    text = r"Maximum session limit \(2\) exceeded"
    with pytest.raises(CapacityError, match=text):
        rig.create()
    rig.pool.release()
    assert [now(one)[0] for one in first] == rig.registry.all()
    with pytest.raises(CapacityError, match=text):
        rig.create()
    rig.clock.pass_time(60.0)
    assert rig.create()[0] in rig.registry.all()
    assert [reason for _, reason in rig.ended] == [EXPIRED, EXPIRED]


def test_a_session_that_the_disk_refused_is_none(rig: Rig) -> None:
    """It is not alive, takes no place, and if half of it reached the disk it is removed from there."""
    rig.store.broken = {"insert"}
    with pytest.raises(StoreError):
        rig.create()
    assert (rig.registry.count, rig.registry.writable, rig.registry._creating) == (0, False, 0)
    rig.store.broken = set()
    rig.store.calls.clear()
    now(rig.registry.flush())
    assert rig.store.calls == ["remove", "touch"]
    assert rig.registry.writable
    rig.create()


def test_a_create_that_its_caller_gave_up_leaves_nothing(rig: Rig) -> None:
    """Nobody knows its secret: it must not come alive at the next start either."""
    rig.pool.held = True
    pending = rig.registry.create(request())
    pending.cancel()
    with pytest.raises(CancelledError):
        now(pending)
    rig.pool.release()
    assert len(rig.on_disk()) == 1
    now(rig.registry.flush())
    assert (rig.registry.count, rig.on_disk()) == (0, [])


# Revoking.


def test_a_revoked_session_is_dead_at_once_then_cut_then_off_the_disk_then_answered(rig: Rig) -> None:
    """In this order: a transfer must not outlive its session by a disk's latency."""
    one, minted = rig.create()
    seen: list[object] = []

    def listen(ended: Session, reason: str) -> None:
        seen.append((ended, reason, rig.registry.authenticate(minted.token, minted.secret, ""), rig.on_disk()))

    rig.registry.on_end(listen)
    rig.pool.held = True
    pending = rig.registry.revoke(one.id, REVOKED)
    assert seen == [(one, REVOKED, None, [one.id])]
    assert (rig.registry.get(one.id), rig.registry.count, pending.called) == (None, 0, False)
    rig.pool.release()
    assert now(pending) is True
    assert rig.on_disk() == []


def test_revoking_twice_or_the_unknown_is_false(rig: Rig) -> None:
    """The control API answers 404."""
    one, minted = rig.create()
    assert now(rig.registry.revoke_token("unknown")) is False
    assert now(rig.registry.revoke("s-unknown")) is False
    assert now(rig.registry.revoke_token(minted.token)) is True
    assert now(rig.registry.revoke_token(minted.token)) is False
    assert now(rig.registry.revoke(one.id)) is False
    assert rig.ended == [(one.id, REVOKED)]


def test_a_revoke_that_the_disk_refused_is_dead_and_tried_again(rig: Rig) -> None:
    """A restart must not revive it: every round removes it anew until it is gone."""
    one, minted = rig.create()
    rig.store.broken = {"remove"}
    with pytest.raises(StoreError):
        now(rig.registry.revoke(one.id))
    assert rig.registry.authenticate(minted.token, minted.secret, "") is None
    assert (rig.on_disk(), rig.registry.writable) == ([one.id], False)
    with pytest.raises(StoreError):
        now(rig.registry.flush())
    rig.store.broken = set()
    now(rig.registry.flush())
    assert (rig.on_disk(), rig.registry.writable, rig.registry._ended) == ([], True, set())
    assert rig.ended == [(one.id, REVOKED)]


@pytest.mark.parametrize("change", ["create", "extend", "touch", "revoke"])
def test_a_refused_removal_goes_with_the_next_change_that_is_written(rig: Rig, change: str) -> None:
    """Else a crash after it revives a session that was revoked before it; until then the store is not ready."""
    (doomed, _), (other, _) = rig.create(), rig.create()
    rig.store.broken = {"remove"}
    with pytest.raises(StoreError):
        now(rig.registry.revoke(doomed.id))
    rig.store.broken = set()
    assert (doomed.id in rig.on_disk(), rig.registry.writable) == (True, False)
    if change == "create":
        rig.create()
    elif change == "extend":
        now(rig.registry.extend(other.id, 60.0))
    elif change == "touch":
        rig.clock.pass_time(10.0)
        rig.registry.touch(other.id)
        now(rig.registry.flush())
    else:
        assert now(rig.registry.revoke(other.id)) is True
    assert (doomed.id in rig.on_disk(), rig.registry.writable) == (False, True)


def test_a_refused_revoke_that_is_asked_for_again_is_known(rig: Rig) -> None:
    """A host script tries again after 503: it is told that the session is destroyed, not that there was none."""
    doomed, _ = rig.create()
    rig.store.broken = {"remove"}
    with pytest.raises(StoreError):
        now(rig.registry.revoke(doomed.id))
    rig.store.broken = set()
    assert now(rig.registry.revoke(doomed.id)) is True
    assert (rig.on_disk(), rig.registry.writable) == ([], True)
    assert now(rig.registry.revoke(doomed.id)) is False


def test_a_change_that_overtook_the_refusal_leaves_the_store_unready(rig: Rig) -> None:
    """It was queued before the disk said no: it is durable and the revoked row still is, so that is told."""
    doomed, _ = rig.create()
    rig.pool.held = True
    refused, created = rig.registry.revoke(doomed.id), rig.registry.create(request())
    rig.store.broken = {"remove"}
    rig.pool.release()
    with pytest.raises(StoreError):
        now(refused)
    assert now(created)[0].id in rig.on_disk()
    assert (doomed.id in rig.on_disk(), rig.registry.writable) == (True, False)
    rig.store.broken = set()
    now(rig.registry.flush())
    assert (doomed.id in rig.on_disk(), rig.registry.writable) == (False, True)


def test_a_create_that_its_caller_gave_up_leaves_the_store_ready(rig: Rig) -> None:
    """Its row opens nothing for anyone: a client that leaves must not make the gateway unready."""
    rig.create()
    rig.pool.held = True
    pending = rig.registry.create(request())
    pending.cancel()
    with pytest.raises(CancelledError):
        now(pending)
    rig.pool.release()
    assert rig.registry.writable


# What each call costs, however many sessions there are.


class Unwalked(dict[str, Session]):
    """A dictionary that fails a test which walks it."""

    def _walked(self) -> Any:
        raise AssertionError("all sessions were walked")

    __iter__ = keys = values = items = _walked


def test_no_change_walks_all_sessions(rig: Rig) -> None:
    """Creating a session took 27 ms of a stopped reactor beside 45,000 others."""
    one, minted = rig.create()
    rig.registry._by_id = Unwalked(rig.registry._by_id)
    two, _ = rig.create(idle_ttl=30.0)
    rig.clock.pass_time(10.0)
    rig.registry.touch(one.id)
    now(rig.registry.flush())
    assert now(rig.registry.extend(one.id, 60.0)) is not None
    assert rig.registry.authenticate(minted.token, minted.secret, "") is not None
    rig.clock.pass_time(30.0)
    assert now(rig.registry.collect()) == 1
    assert rig.registry.count == 1
    assert now(rig.registry.revoke(one.id)) is True
    assert (rig.ended, rig.on_disk()) == ([(two.id, EXPIRED), (one.id, REVOKED)], [])
    with pytest.raises(AssertionError, match="walked"):
        rig.registry.all()


def test_many_that_end_at_once_end_in_slices() -> None:
    """The reactor gets a turn after each; rows go in transactions of bounded size; other sessions live on."""
    rig = Rig(max_sessions=10_000)
    count = module.BATCH + module.SLICE
    for _ in range(count):
        rig.create(idle_ttl=60.0)
    alive, _ = rig.create()
    rig.clock.pass_time(60.0)
    turns, removed = [], list[int]()
    real = rig.store.remove

    def remove(ids: Any) -> int:
        removed.append(len(ids))
        return real(ids)

    rig.store.remove = remove  # type: ignore[method-assign]  # to look at what it is asked
    done = rig.registry.collect()
    while not done.called:
        turns.append(len(rig.ended))
        rig.registry._reactor.advance(module.PAUSE)  # type: ignore[attr-defined]  # a Clock
    assert now(done) == count
    assert turns == list(range(module.SLICE, count + 1, module.SLICE))
    assert removed == [module.BATCH, module.SLICE]
    assert (rig.on_disk(), rig.registry.ids()) == ([alive.id], [alive.id])


def test_a_session_that_was_used_is_not_ended_at_its_first_end(rig: Rig) -> None:
    """The heap knows a session's end as it was when it was noted; the session knows better."""
    one, _ = rig.create(idle_ttl=60.0)
    rig.clock.pass_time(50.0)
    rig.registry.touch(one.id)
    rig.clock.pass_time(50.0)
    assert now(rig.registry.collect()) == 0
    rig.clock.pass_time(10.0)
    assert now(rig.registry.collect()) == 1
    assert len(rig.registry._ends) == 0


def test_many_touches_are_written_in_transactions_of_bounded_size() -> None:
    """A create waits for one of them at most."""
    rig = Rig(max_sessions=10_000)
    many = [rig.create()[0] for _ in range(module.BATCH + 1)]
    rig.clock.pass_time(10.0)
    for one in many:
        rig.registry.touch(one.id)
    rig.store.calls.clear()
    now(rig.registry.flush())
    assert rig.store.calls == ["touch", "touch"]
    assert {one.used for one in rig.store._sessions.values()} == {1010.0}


def test_a_listener_that_fails_costs_no_one_else_anything(rig: Rig, clean_reactor: list[Any]) -> None:
    """Each is told, at the beginning and at the end, whatever the one before it did."""
    begun: list[str] = []
    fine = rig.ended

    def failing(*_: object) -> None:
        raise ZeroDivisionError

    rig.registry.on_begin(failing)
    rig.registry.on_begin(lambda one: begun.append(one.id))
    rig.registry._listeners.insert(0, failing)
    one, _ = rig.create()
    assert now(rig.registry.revoke(one.id)) is True
    assert (begun, fine) == ([one.id], [(one.id, REVOKED)])
    assert [failure.type for failure in clean_reactor] == [ZeroDivisionError, ZeroDivisionError]
    clean_reactor.clear()


# Times.


def test_touching_keeps_a_session_alive_up_to_its_absolute_end(rig: Rig) -> None:
    """Idle from the last use, absolute from creation."""
    one, minted = rig.create(idle_ttl=100.0, absolute_ttl=250.0)
    for _ in range(4):
        rig.clock.pass_time(60.0)
        assert rig.registry.authenticate(minted.token, minted.secret, "") is not None
        rig.registry.touch(one.id)
    rig.clock.pass_time(10.0)
    assert rig.registry.authenticate(minted.token, minted.secret, "") is None
    assert (rig.registry.get(one.id), rig.registry.all()) == (None, [])
    assert now(rig.registry.collect()) == 1
    assert rig.registry.count == 0


def test_a_touch_does_not_revive(rig: Rig) -> None:
    """Expired is expired, collected or not; and gone is gone."""
    one, _ = rig.create(idle_ttl=100.0)
    rig.clock.pass_time(100.0)
    rig.registry.touch(one.id)
    assert rig.registry.get(one.id) is None
    assert now(rig.registry.collect()) == 1
    rig.registry.touch(one.id)
    rig.registry.touch("s-unknown")
    assert rig.ended == [(one.id, EXPIRED)]


def test_touches_within_a_second_are_one(rig: Rig) -> None:
    """The relay touches on every read."""
    one, _ = rig.create()
    rig.clock.pass_time(TOUCH_GRAIN / 2)
    rig.registry.touch(one.id)
    assert rig.registry.get(one.id) == one
    rig.clock.pass_time(TOUCH_GRAIN / 2)
    rig.registry.touch(one.id)
    assert rig.registry.get(one.id) == evolve(one, used=one.used + TOUCH_GRAIN)


@pytest.mark.parametrize("step", [DAY, -DAY, 400 * DAY])
def test_a_step_of_the_wall_clock_neither_kills_nor_revives(rig: Rig, step: float) -> None:
    """Within a boot only the boot clock counts."""
    (alive, one), (dead, other) = rig.create(idle_ttl=3600.0), rig.create(idle_ttl=60.0)
    rig.clock.pass_time(120.0)
    rig.clock.set_wall(step)
    assert rig.registry.authenticate(one.token, one.secret, "") == alive
    assert rig.registry.authenticate(other.token, other.secret, "") is None
    assert now(rig.registry.collect()) == 1
    assert rig.ended == [(dead.id, EXPIRED)]
    assert rig.registry.expires_at(alive) == rig.clock.now.wall + 3600.0 - 120.0


@pytest.mark.parametrize("step", [DAY, -DAY])
@pytest.mark.parametrize("reboot", [False, True])
def test_a_step_before_a_restart_neither_kills_nor_revives(rig: Rig, step: float, *, reboot: bool) -> None:
    """The reading is written within seconds of the step, with nothing else to write."""
    (alive, one), (dying, _) = rig.create(idle_ttl=3600.0), rig.create(idle_ttl=60.0)
    rig.clock.set_wall(step)
    now(rig.registry.flush())  # what the rounds do every five seconds
    if reboot:  # without an orderly end
        rig.clock.reboot(down=590.0)
    else:
        now(rig.registry.stopService())
        rig.clock.pass_time(600.0)
    after = registry(rig.store, clock=rig.clock, pool=rig.pool)
    after.startService()
    assert [found.id for found in after.all()] == [alive.id]
    entered = after.authenticate(one.token, one.secret, "")
    assert entered is not None
    assert after.expires_at(entered) == rig.clock.now.wall + 3000.0
    assert now(after.collect()) == 1
    assert rig.on_disk() == [alive.id]
    assert after.get(dying.id) is None


def test_a_flush_writes_only_what_is_due(rig: Rig) -> None:
    """An idle gateway does not wear the disk out; a step or a failure is due."""
    now(rig.registry.flush())
    assert rig.store.calls == []
    rig.clock.set_wall(30.0)
    now(rig.registry.flush())
    assert rig.store.calls == ["touch"]
    now(rig.registry.flush())
    assert rig.store.calls == ["touch"]


def test_touches_that_could_not_be_written_are_not_forgotten(rig: Rig) -> None:
    """The next flush writes them, unless a newer one has come."""
    (one, _), (two, _) = rig.create(), rig.create()
    rig.clock.pass_time(100.0)
    rig.registry.touch(one.id)
    rig.registry.touch(two.id)
    rig.store.broken = {"touch"}
    with pytest.raises(StoreError):
        now(rig.registry.flush())
    rig.clock.pass_time(100.0)
    rig.registry.touch(two.id)
    rig.store.broken = set()
    now(rig.registry.flush())
    stored = {key: value.used for key, value in rig.store._sessions.items()}
    assert stored == {one.id: one.used + 100.0, two.id: two.used + 200.0}


# Starting and stopping.


def test_a_restart_keeps_every_session_and_its_times(rig: Rig) -> None:
    """The last touches are written at the stop."""
    one, minted = rig.create()
    gone, _ = rig.create()
    now(rig.registry.revoke(gone.id))
    rig.clock.pass_time(100.0)
    rig.registry.touch(one.id)
    now(rig.registry.stopService())
    assert not rig.pool.running
    rig.registry.startService()
    assert rig.registry.authenticate(minted.token, minted.secret, "") == evolve(one, used=one.used + 100.0)
    assert rig.registry.count == 1


def test_a_store_that_cannot_be_opened_stops_the_start(clean_reactor: list[Any]) -> None:
    """With its own words, and no thread left that would keep the process from ending."""
    store, pool = BreakableStore(), InstantPool()
    store.broken = {"open"}
    one = registry(store, pool=pool)
    with pytest.raises(StoreError, match="cannot be written"):
        one.startService()
    assert (pool.running, one.running, one.writable) == (False, 0, False)


def test_bad_rows_are_logged_at_the_start_and_can_be_revoked_by_id(tmp_path: Path) -> None:
    """One bad row costs nobody anything, and an operator can be rid of it."""
    path = tmp_path / "sessions.db"
    store = SqliteStore(path)
    store.open(LeaseClock()())
    with store._transaction() as db:
        db.executemany(sqlite._INSERT, [rows.write(session(1)), (*rows.write(session(2))[:-1], "[")])
    store.close()
    one = registry(SqliteStore(path))
    begun: list[str] = []
    one.on_begin(lambda session: begun.append(session.id))
    one.startService()
    assert begun == [found.id for found in one.all()] == [session(1).id]
    assert len(one._store.damaged) == 1
    assert now(one.revoke(session(2).id)) is True
    now(one.stopService())
    one.startService()
    assert one._store.damaged == ()
    now(one.stopService())


def test_a_disk_that_fails_at_the_stop_is_logged_and_stops(rig: Rig, clean_reactor: list[Any]) -> None:
    """The process must end all the same."""
    rig.store.broken = {"touch", "close"}
    now(rig.registry.stopService())
    assert not rig.pool.running
    assert [failure.type for failure in clean_reactor] == [StoreError, StoreError]
    clean_reactor.clear()
    with pytest.raises(StoreError, match="is closed"):
        rig.create()


def test_what_was_asked_before_the_stop_is_done_before_it(rig: Rig) -> None:
    """Calls keep their order: the store closes after the last of them."""
    rig.pool.held = True
    pending, stopped = rig.registry.create(request()), rig.registry.stopService()
    rig.pool.release()
    one, _ = now(pending)
    now(stopped)
    assert rig.on_disk() == [one.id]
    assert rig.store.calls == ["insert", "touch", "close"]


# With the real thread, reactor, clock and disk.


def real(store: Any) -> SessionRegistry:
    """Make a registry as the service does."""
    return SessionRegistry(
        store,
        schema.SessionsConfig(max_sessions=20_000),
        clock=read_lease_clock,
        reactor=reactor,  # type: ignore[arg-type]
    )


@ensureDeferred
async def test_sessions_outlive_the_process_on_a_real_disk(tmp_path: Path) -> None:
    """Two lives of one store, with the registry's own thread."""
    before = threading.active_count()
    first = real(SqliteStore(tmp_path / "sessions.db"))
    first.startService()
    (kept, minted), (gone, _) = await first.create(request()), await first.create(request())
    assert await first.revoke(gone.id)
    await first.stopService().addTimeout(20, reactor)  # type: ignore[arg-type]
    second = real(SqliteStore(tmp_path / "sessions.db"))
    second.startService()
    assert second.all() == [kept]
    assert second.authenticate(minted.token, minted.secret, "::1") == kept
    await second.stopService().addTimeout(20, reactor)  # type: ignore[arg-type]
    assert threading.active_count() == before


@ensureDeferred
async def test_a_disk_that_hangs_blocks_neither_the_reactor_nor_the_hot_path() -> None:
    """Sessions that are there go on working while a create waits."""
    gate = threading.Event()

    class Hanging(MemoryStore):
        def insert(self, session: Session, gone: Collection[str] = ()) -> None:
            assert gate.wait(30)
            super().insert(session, gone)

    one = real(Hanging())
    gate.set()
    one.startService()
    alive, minted = await one.create(request())
    gate.clear()
    pending = one.create(request())
    for _ in range(50):
        await task.deferLater(reactor, 0, lambda: None)
        assert one.authenticate(minted.token, minted.secret, "") == alive
    assert not pending.called
    gate.set()
    await pending.addTimeout(20, reactor)  # type: ignore[arg-type]
    assert one.count == 2
    await one.stopService().addTimeout(20, reactor)  # type: ignore[arg-type]


@ensureDeferred
async def test_ten_thousand_sessions_start_within_three_seconds(tmp_path: Path) -> None:
    """And a request is still answered from two dictionaries."""
    path, clock = tmp_path / "sessions.db", read_lease_clock()
    store = SqliteStore(path)
    store.open(clock)
    with store._transaction() as db:
        many = (session(n, created=clock.boot - 1.0, used=clock.boot - 1.0) for n in range(10_000))
        db.executemany(sqlite._INSERT, map(rows.write, many))
    store.close()
    one = real(SqliteStore(path))
    start = perf_counter()
    one.startService()
    assert perf_counter() - start < 3.0
    found = one.authenticate("token-9999", "secret-9999", "")
    assert found is not None
    assert found.id == session(9999).id
    assert one.count == 10_000
    await one.stopService().addTimeout(20, reactor)  # type: ignore[arg-type]


def test_the_default_entropy_is_the_kernel_s() -> None:
    """Nothing seeded, nothing predictable."""
    one = real(MemoryStore())
    assert one._entropy is os.urandom


# Extensions.


def test_an_extended_session_lives_on_and_is_written_first(rig: Rig) -> None:
    """In memory and on the disk; the row is there before the Deferred fires."""
    one, minted = rig.create(absolute_ttl=3600.0, idle_ttl=3600.0)
    rig.clock.pass_time(1800.0)
    longer = now(rig.registry.extend(one.id, 3600.0))
    assert rig.store._sessions[one.id] == longer
    rig.clock.pass_time(3000.0)
    assert rig.registry.authenticate(minted.token, minted.secret, "192.0.2.1") == longer
    rig.clock.pass_time(601.0)
    assert rig.registry.get(one.id) is None


def test_what_is_not_there_is_not_extended(rig: Rig) -> None:
    """Unknown, expired or revoked: dead is dead."""
    one, _ = rig.create(absolute_ttl=10.0)
    rig.clock.pass_time(11.0)
    assert now(rig.registry.extend(one.id, 60.0)) is None
    assert now(rig.registry.extend("s-0000000000000000", 60.0)) is None
    assert "extend" not in rig.store.calls


def test_a_session_revoked_while_its_extension_is_written_stays_dead(rig: Rig) -> None:
    """The disk's answer comes late; it must not bring it back."""
    one, minted = rig.create()
    rig.pool.held = True
    extending, revoking = rig.registry.extend(one.id, 60.0), rig.registry.revoke(one.id)
    rig.pool.release()
    assert (now(extending), now(revoking)) == (None, True)
    assert rig.registry.authenticate(minted.token, minted.secret, "192.0.2.1") is None
    assert rig.on_disk() == []


def test_an_extension_that_the_disk_refused_did_not_happen(rig: Rig) -> None:
    """What a restart would not know must not hold now."""
    one, _ = rig.create(absolute_ttl=10.0)
    rig.store.broken.add("extend")
    with pytest.raises(StoreError):
        now(rig.registry.extend(one.id, 60.0))
    assert rig.registry.get(one.id) == one
