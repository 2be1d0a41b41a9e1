"""The contract of a session store, tested with both stores, and the choice between them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from credgate.config.schema import SessionsConfig
from credgate.errors import StoreError
from credgate.sessions.sqlite import SqliteStore
from credgate.sessions.stores import MemoryStore, store_for
from tests.fakes.sessions import DAY, LeaseClock, session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.sessions.stores import Store


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Give one store after the other, not open."""
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "sessions.db")
    yield made
    made.close()


@pytest.fixture
def clock() -> LeaseClock:
    """Give a machine's clocks."""
    return LeaseClock()


def reopened(store: Store, clock: LeaseClock) -> list[object]:
    """Close and open again."""
    store.close()
    return list(store.open(clock()))


def test_new_store_is_empty_and_undamaged(store: Store, clock: LeaseClock) -> None:
    """The first start is no special case for anyone else."""
    assert store.open(clock()) == []
    assert store.damaged == ()


def test_inserted_sessions_survive_reopening(store: Store, clock: LeaseClock) -> None:
    """A restart loses nothing that was promised."""
    store.open(clock())
    one, two = session(1), session(2, created=1001.0, used=1001.0)
    store.insert(one)
    store.insert(two)
    clock.pass_time(60.0)
    assert reopened(store, clock) == [one, two]


def test_removed_sessions_do_not_return(store: Store, clock: LeaseClock) -> None:
    """Unknown ids are not counted."""
    store.open(clock())
    for number in range(4):
        store.insert(session(number))
    assert store.remove([session(1).id, session(3).id, "s-unknown"]) == 2
    assert store.remove([session(1).id]) == 0
    assert store.remove([]) == 0
    assert reopened(store, clock) == [session(0), session(2)]


def test_touch_moves_last_use_forward_only(store: Store, clock: LeaseClock) -> None:
    """Batches may be late, or name removed sessions."""
    store.open(clock())
    store.insert(session(1))
    store.insert(session(2))
    clock.pass_time(100.0)
    store.touch({session(1).id: 1100.0, session(2).id: 900.0, "s-unknown": 1100.0}, clock())
    assert reopened(store, clock) == [session(1, used=1100.0), session(2)]


def test_extension_raises_times_only(store: Store, clock: LeaseClock) -> None:
    """It survives a restart; a late one with earlier times changes nothing."""
    store.open(clock())
    store.insert(session(1))
    clock.pass_time(5000.0)
    longer = session(1, used=6000.0, absolute_ttl=8 * DAY)
    assert store.extend(longer, clock())
    assert store.extend(session(1), clock())
    assert not store.extend(session(2), clock())
    assert reopened(store, clock) == [longer]
    assert store.damaged == ()


def test_duplicate_id_is_an_error(store: Store, clock: LeaseClock) -> None:
    """Revoking one of the two would leave the other."""
    store.open(clock())
    store.insert(session(1))
    with pytest.raises(StoreError):
        store.insert(evolve(session(2), id=session(1).id))
    assert reopened(store, clock) == [session(1)]


def test_reboot_ages_sessions_by_the_time_off(store: Store, clock: LeaseClock) -> None:
    """Times are converted to the clock of the new boot once."""
    store.open(clock())
    store.insert(session(1))
    clock.pass_time(100.0)
    store.touch({session(1).id: 1100.0}, clock())
    clock.reboot(down=600.0)
    expected = session(1, created=10.0 - 710.0, used=10.0 - 610.0)
    assert reopened(store, clock) == [expected]
    clock.pass_time(5.0)
    assert reopened(store, clock) == [expected]


@pytest.mark.parametrize("step", [DAY, -DAY])
def test_clock_step_before_a_reboot_does_not_age_sessions(store: Store, clock: LeaseClock, step: float) -> None:
    """A reading is stored after each step."""
    store.open(clock())
    store.insert(session(1))
    clock.set_wall(step)
    store.touch({}, clock())
    clock.reboot(down=600.0)
    assert reopened(store, clock) == [session(1, created=10.0 - 610.0, used=10.0 - 610.0)]


@pytest.mark.parametrize("step", [DAY, -DAY])
def test_clock_step_while_stopped_changes_nothing(store: Store, clock: LeaseClock, step: float) -> None:
    """The boot clock has continued."""
    store.open(clock())
    store.insert(session(1))
    store.close()
    clock.pass_time(60.0)
    clock.set_wall(step)
    assert list(store.open(clock())) == [session(1)]


def test_store_is_chosen_by_name() -> None:
    """Nothing is opened or created yet."""
    assert isinstance(store_for("memory:"), MemoryStore)
    for name, path in (
        ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:///x.db", "x.db"),
        (SessionsConfig().store, "/var/lib/credgate/sessions.db"),
    ):
        store = store_for(name)
        assert isinstance(store, SqliteStore)
        assert store.path == Path(path)


@pytest.mark.parametrize("name", ["", "memory", "sqlite:", "sqlite:///", "sqlite://x", "redis://x", "/var/lib/x.db"])
def test_unknown_store_name_is_refused(name: str) -> None:
    """A mistyped name must not create a file somewhere else."""
    with pytest.raises(StoreError) as caught:
        store_for(name)
    assert str(caught.value) == f'unknown store "{name}": expected "sqlite:////absolute/path" or "memory:"'
