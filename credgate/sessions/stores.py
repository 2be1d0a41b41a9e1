"""Which store ``[sessions] store = "..."`` names.

``sqlite:///path`` is a path relative to the working directory, ``sqlite:////path`` an absolute one, ``memory:`` keeps
nothing beyond the process. Nothing is opened or made here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from credgate.errors import StoreError
from credgate.sessions.sqlite import SqliteStore
from credgate.sessions.store import MemoryStore

if TYPE_CHECKING:
    from credgate.sessions.store import Store

SQLITE = "sqlite:///"
MEMORY = "memory:"


def store_for(name: str) -> Store:
    """Make the store of that name, not opened yet; raise StoreError when there is none."""
    if name == MEMORY:
        return MemoryStore()
    path = name.removeprefix(SQLITE)
    if path in ("", name):
        raise StoreError(f'the store "{name}" is not known: write "sqlite:////absolute/path" or "memory:"')
    return SqliteStore(Path(path))
