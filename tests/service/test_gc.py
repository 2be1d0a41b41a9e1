"""Rounds over the sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from credgate.errors import StoreError
from credgate.service.gc import FLUSH_INTERVAL, GarbageCollector
from credgate.service.registry import EXPIRED
from tests.fakes.sessions import BreakableStore, LeaseClock, registry, session

if TYPE_CHECKING:
    import pytest


class Rig:
    """A registry with one hour-long session, its rounds, and a time that moves for both."""

    def __init__(self, store: Any = None) -> None:
        self.time, self.lease, self.store = Clock(), LeaseClock(), store or BreakableStore()
        self.store.insert(session(1, idle_ttl=3600.0))
        self.registry = registry(self.store, clock=self.lease)
        self.ended: list[tuple[str, str]] = []
        self.registry.on_end(lambda one, reason: self.ended.append((one.id, reason)))
        self.rounds = GarbageCollector(self.registry, 60.0, self.time)
        self.registry.startService()
        self.rounds.startService()
        self.store.calls.clear()

    def pass_time(self, seconds: float) -> None:
        """Let time pass in steps of a second."""
        for _ in range(int(seconds)):
            self.lease.pass_time(1.0)
            self.time.advance(1.0)

    def stop(self) -> None:
        """Stop in the order in which a MultiService does; the registry must be able to close."""
        done: list[object] = []
        self.rounds.stopService().addCallback(done.append)
        self.registry.stopService().addCallback(done.append)
        assert len(done) == 2


def test_rounds_go_on_and_on() -> None:
    """The ancestor's GC ran once, at import: this one is counted over an hour."""
    rig = Rig()
    rig.pass_time(3599)
    assert rig.store.calls.count("touch") == 59
    assert rig.ended == []
    rig.pass_time(60)
    assert rig.ended == [(session(1).id, EXPIRED)]
    assert rig.store.calls.count("remove") == 1
    assert rig.registry.all() == []
    rig.stop()


def test_what_expired_while_stopped_is_collected_at_the_start() -> None:
    """Its end is told and its row goes, without waiting for a round."""
    store = BreakableStore()
    store.insert(session(2, idle_ttl=1.0, used=998.0, created=998.0))
    rig = Rig(store)
    assert rig.ended == [(session(2).id, EXPIRED)]
    rig.stop()


def test_touches_are_written_within_seconds_and_in_batches() -> None:
    """A crash forgets a few seconds of use, and a busy session costs one write in that time."""
    rig = Rig()
    for _ in range(int(FLUSH_INTERVAL) - 1):
        rig.pass_time(1)
        rig.registry.touch(session(1).id)
    assert rig.store.calls == []
    rig.pass_time(1)
    assert rig.store.calls == ["touch"]
    rig.pass_time(FLUSH_INTERVAL)
    assert rig.store.calls == ["touch"]
    rig.stop()


def test_a_round_that_fails_is_logged_and_the_next_one_runs(clean_reactor: list[Any]) -> None:
    """A LoopingCall ends at its first error: this one must not."""
    rig = Rig()
    rig.store.broken = {"touch", "remove"}
    rig.pass_time(120)
    assert len(clean_reactor) > 10
    assert all(failure.check(StoreError) for failure in clean_reactor)
    clean_reactor.clear()
    rig.store.broken = set()
    rig.pass_time(3600)
    assert rig.ended == [(session(1).id, EXPIRED)]
    rig.stop()


def test_a_defect_in_a_round_is_logged_and_the_next_one_runs(
    clean_reactor: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that raises before there is a Deferred."""
    rig = Rig()
    calls = []

    def raising() -> None:
        calls.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(rig.registry, "collect", raising)
    rig.rounds.stopService()
    rounds = GarbageCollector(rig.registry, 60.0, rig.time)
    rounds.startService()
    rig.pass_time(120)
    assert len(calls) == 3
    assert [failure.type for failure in clean_reactor] == [ZeroDivisionError] * 3
    clean_reactor.clear()
    rounds.stopService()
    rig.registry.stopService()


def test_a_round_is_not_overtaken_and_stopping_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes minutes must not pile up rounds; the store is not closed under one."""
    rig = Rig()
    rig.rounds.stopService()
    pending: list[Deferred[int]] = []

    def collect() -> Deferred[int]:
        pending.append(Deferred())
        return pending[-1]

    monkeypatch.setattr(rig.registry, "collect", collect)
    rounds = GarbageCollector(rig.registry, 60.0, rig.time)
    rounds.startService()
    rig.pass_time(300)
    assert len(pending) == 1
    stopped: list[object] = []
    rounds.stopService().addCallback(stopped.append)
    assert stopped == []
    pending[0].errback(StoreError("closing"))  # not logged: the registry writes for itself what is left
    assert stopped == [None]
    assert rig.time.getDelayedCalls() == []
    rig.registry.stopService()


def test_rounds_are_counted_for_metrics(clean_reactor: list[Any]) -> None:
    """Those that failed apart; the time of the last good one is the wall's."""
    rig = Rig()
    rig.pass_time(60)
    good, when = rig.rounds.succeeded, rig.rounds.last_success
    assert (good, rig.rounds.failed, when > 0) == (2, 0, True)
    rig.store.broken = {"touch", "remove"}
    rig.pass_time(120)
    assert (rig.rounds.succeeded, rig.rounds.failed, rig.rounds.last_success) == (good, 2, when)
    clean_reactor.clear()
    rig.store.broken = set()
    rig.stop()


def test_stopping_what_never_ran_is_nothing() -> None:
    """A start that failed earlier stops all services alike."""
    done: list[object] = []
    GarbageCollector(registry(), 60.0, Clock()).stopService().addCallback(done.append)
    assert done == [None]
