"""Renamed repositories, by session and old name: at most ``MAX_MOVES``, of which the oldest are dropped."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from credgate.git.authorize import Moved
from credgate.values import RepoPath

MAX_MOVES = 4096
"""Renamed repositories that are kept, of all sessions together."""

Key = tuple[str, RepoPath]


class Renames(MutableMapping[Key, Moved]):
    """The new names of sessions' repositories, the oldest entry first."""

    def __init__(self) -> None:
        self._moves: dict[Key, Moved] = {}
        # So that the end of a session removes its entries without a walk over all others.
        self.by_session: dict[str, set[RepoPath]] = {}
        """The old names of each session; a session without entries is not in it."""

    def __getitem__(self, key: Key) -> Moved:
        return self._moves[key]

    def __setitem__(self, key: Key, moved: Moved) -> None:
        self._moves.pop(key, None)  # found again: it becomes the newest
        self._moves[key] = moved
        self.by_session.setdefault(key[0], set()).add(key[1])
        # A pattern grants any number of names, and a forge may redirect each. The next discovery finds a dropped name
        # again.
        while len(self._moves) > MAX_MOVES:
            del self[next(iter(self._moves))]

    def __delitem__(self, key: Key) -> None:
        del self._moves[key]
        session_id, repo = key
        self.by_session[session_id].discard(repo)
        if not self.by_session[session_id]:
            del self.by_session[session_id]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._moves)

    def __len__(self) -> int:
        return len(self._moves)

    def forget(self, session_id: str) -> None:
        """Remove the entries of a session that has ended."""
        for repo in list(self.by_session.get(session_id, ())):
            del self[session_id, repo]
