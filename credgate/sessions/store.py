"""Where sessions are kept: what every store promises, and the one that keeps them in memory.

The registry answers from memory; a store only makes changes outlive the process. Its methods block and are called from
one worker thread, one at a time, in the order of the registry's calls. When ``insert`` or ``remove`` returns, the
change is durable (``extend``, too); ``touch`` may batch. ``gone`` names sessions whose removal the disk refused
before: they go in the same transaction, so that no later change is durable while a revoked session still is. A store
holds digests only. Any failure is a ``StoreError`` whose text names the place and what to do, and leaves the store as
it was before the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import evolve

from credgate.errors import StoreError
from credgate.sessions import lease_clock

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session


class Store(Protocol):
    """A durable set of sessions."""

    damaged: tuple[str, ...]
    """After ``open``: one line for each row that could not be read and was skipped."""

    def open(self, now: LeaseReading) -> list[Session]:
        """Load every session, its times on the boot clock of ``now``.

        Raises StoreError when the store is damaged, unwritable, in use or of a foreign version.
        """

    def insert(self, session: Session, gone: Collection[str] = ()) -> None:
        """Add a session of this boot."""

    def remove(self, ids: Collection[str]) -> int:
        """Remove sessions, and say how many of them were there; unknown ids are no error."""

    def extend(self, session: Session, now: LeaseReading, gone: Collection[str] = ()) -> bool:
        """Move a session's ``used`` and ``absolute_ttl`` up to these, and keep the reading; False: it is not there."""

    def touch(self, uses: Mapping[str, float], now: LeaseReading, gone: Collection[str] = ()) -> None:
        """Move ``used`` of the given sessions forward (never back), and keep the reading."""

    def close(self) -> None:
        """Let go of it; a closed store may be opened again."""


def longer(one: Session, other: Session) -> Session:
    """Return ``one`` with the later of both times of last use, and the longer of both lives."""
    longest = max(one.absolute_ttl, other.absolute_ttl)
    return evolve(one, used=max(one.used, other.used), absolute_ttl=longest)


class MemoryStore:
    """Sessions that end with the process (``store = "memory:"``)."""

    def __init__(self) -> None:
        self.damaged: tuple[str, ...] = ()
        self._sessions: dict[str, Session] = {}
        self._last: LeaseReading | None = None

    def open(self, now: LeaseReading) -> list[Session]:
        """Give back what an earlier opening of this object left."""
        by = 0.0 if self._last is None else lease_clock.shift(self._last, now)
        self._sessions = {key: lease_clock.rebase(session, by) for key, session in self._sessions.items()}
        self._last = now
        return list(self._sessions.values())

    def insert(self, session: Session, gone: Collection[str] = ()) -> None:
        """Keep a session; an id that is there already is a StoreError, as in every store."""
        if session.id in self._sessions:
            raise StoreError(f"the session {session.id} is there already")
        self._forget(gone)
        self._sessions[session.id] = session

    def remove(self, ids: Collection[str]) -> int:
        """Forget sessions."""
        return self._forget(ids)

    def _forget(self, ids: Collection[str]) -> int:
        return sum(self._sessions.pop(key, None) is not None for key in ids)

    def extend(self, session: Session, now: LeaseReading, gone: Collection[str] = ()) -> bool:
        """Move its times."""
        self._last = now
        self._forget(gone)
        kept = self._sessions.get(session.id)
        if kept is not None:
            self._sessions[session.id] = longer(kept, session)
        return kept is not None

    def touch(self, uses: Mapping[str, float], now: LeaseReading, gone: Collection[str] = ()) -> None:
        """Move ``used`` forward."""
        self._last = now
        self._forget(gone)
        for key in uses.keys() & self._sessions.keys():
            session = self._sessions[key]
            self._sessions[key] = evolve(session, used=max(session.used, uses[key]))

    def close(self) -> None:
        """Nothing is held open."""
