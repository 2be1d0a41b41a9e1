"""Stores by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from credgate.config.schema import SessionsConfig
from credgate.errors import StoreError
from credgate.sessions.sqlite import SqliteStore
from credgate.sessions.store import MemoryStore
from credgate.sessions.stores import store_for


def test_memory_and_sqlite_are_known() -> None:
    """The two of the configuration; nothing is opened yet."""
    assert isinstance(store_for("memory:"), MemoryStore)
    for name, path in (("sqlite:////var/lib/x.db", "/var/lib/x.db"), ("sqlite:///x.db", "x.db")):
        store = store_for(name)
        assert isinstance(store, SqliteStore)
        assert store.path == Path(path)


def test_the_default_is_known() -> None:
    """A configuration without a file starts."""
    assert isinstance(store_for(SessionsConfig().store), SqliteStore)


@pytest.mark.parametrize("name", ["", "memory", "sqlite:", "sqlite:///", "sqlite://x", "redis://x", "/var/lib/x.db"])
def test_any_other_name_is_refused(name: str) -> None:
    """Sessions must not land where nobody looks for them."""
    with pytest.raises(StoreError) as caught:
        store_for(name)
    assert str(caught.value) == f'the store "{name}" is not known: write "sqlite:////absolute/path" or "memory:"'
