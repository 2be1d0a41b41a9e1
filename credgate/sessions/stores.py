"""Session stores: the interface, the store in memory, and the choice between them (``[sessions] store``).

The registry answers from memory; a store only makes changes survive the process. The methods block and are called from
one worker thread, one at a time, in the order of the registry's calls. When ``insert``, ``remove`` or ``extend``
returns, the change is durable; ``touch`` may be batched. ``gone`` names sessions whose removal failed before: they are
removed in the same transaction, so that no later change is durable while a revoked session still is. A store holds
digests only. Every failure is a ``StoreError`` that names the file and the remedy, and leaves the store unchanged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from attrs import evolve

from credgate.errors import StoreError
from credgate.sessions import lease_clock
from credgate.sessions.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session


class Store(Protocol):
    """A durable set of sessions."""

    damaged: tuple[str, ...]
    """After ``open``: one line for each row that was skipped because it could not be read."""

    def open(self, now: LeaseReading) -> list[Session]:
        """Load every session, its times on the boot clock of ``now``.

        Raises StoreError if the store is damaged, not writable, in use, or of another version.
        """

    def insert(self, session: Session, gone: Collection[str] = ()) -> None:
        """Add a session of this boot."""

    def remove(self, ids: Collection[str]) -> int:
        """Remove sessions and return how many existed; unknown ids are ignored."""

    def extend(self, session: Session, now: LeaseReading, gone: Collection[str] = ()) -> bool:
        """Raise ``used`` and ``absolute_ttl`` to those of ``session``, and store the reading; False: unknown id."""

    def touch(self, uses: Mapping[str, float], now: LeaseReading, gone: Collection[str] = ()) -> None:
        """Move ``used`` of the given sessions forward (never back), and store the reading."""

    def close(self) -> None:
        """Release the file; a closed store may be opened again."""


def longer(one: Session, other: Session) -> Session:
    """Return ``one`` with the later time of last use and the longer lifetime of both."""
    longest = max(one.absolute_ttl, other.absolute_ttl)
    return evolve(one, used=max(one.used, other.used), absolute_ttl=longest)


class MemoryStore:
    """A store that is lost when the process ends (``store = "memory:"``)."""

    def __init__(self) -> None:
        self.damaged: tuple[str, ...] = ()
        self._sessions: dict[str, Session] = {}
        self._last: LeaseReading | None = None

    def open(self, now: LeaseReading) -> list[Session]:
        """Return the sessions of an earlier opening of this object, as a file would."""
        by = 0.0 if self._last is None else lease_clock.shift(self._last, now)
        self._sessions = {key: lease_clock.rebase(session, by) for key, session in self._sessions.items()}
        self._last = now
        return list(self._sessions.values())

    def insert(self, session: Session, gone: Collection[str] = ()) -> None:
        """Add a session; as in every store, an id that exists already is a StoreError."""
        if session.id in self._sessions:
            raise StoreError(f"the session {session.id} exists already")
        self._forget(gone)
        self._sessions[session.id] = session

    def remove(self, ids: Collection[str]) -> int:
        """Remove sessions and return how many existed."""
        return self._forget(ids)

    def _forget(self, ids: Collection[str]) -> int:
        return sum(self._sessions.pop(key, None) is not None for key in ids)

    def extend(self, session: Session, now: LeaseReading, gone: Collection[str] = ()) -> bool:
        """Raise the times of a session, unless it does not exist."""
        self._last = now
        self._forget(gone)
        kept = self._sessions.get(session.id)
        if kept is not None:
            self._sessions[session.id] = longer(kept, session)
        return kept is not None

    def touch(self, uses: Mapping[str, float], now: LeaseReading, gone: Collection[str] = ()) -> None:
        """Move times of last use forward, never back."""
        self._last = now
        self._forget(gone)
        for key in uses.keys() & self._sessions.keys():
            session = self._sessions[key]
            self._sessions[key] = evolve(session, used=max(session.used, uses[key]))

    def close(self) -> None:
        """Do nothing: no file is open."""


def store_for(name: str) -> Store:
    """Return the store of that name, not opened yet. Raises StoreError if the name is invalid.

    ``sqlite:///path`` has a path relative to the working directory, ``sqlite:////path`` an absolute one.
    """
    if name == "memory:":
        return MemoryStore()
    path = name.removeprefix("sqlite:///")
    if path in ("", name):
        raise StoreError(f'unknown store "{name}": expected "sqlite:////absolute/path" or "memory:"')
    return SqliteStore(Path(path))
