"""Limits the memory that pushes hold together, and frees what they held in small steps.

All pushes share a budget. A session may hold a quarter of it, and a push no more than it leaves free. A small part of
each push is not counted, so that small pushes pass whatever other sessions hold.

A container of 400,000 ids takes 20 to 90 ms to free at once, and no other thread runs meanwhile. A large container is
therefore handed to :meth:`MemoryBudget.discard` by its last user, and a thread removes its items step by step.
"""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SHARED = 256 * 1024 * 1024
"""Bytes that all pushes may hold together."""
SESSION_PART = 4
"""One session may hold this part of the budget: a quarter."""
ALLOWANCE = 256 * 1024
"""Bytes of each push that are not counted."""
IN_USE = "the memory that pushes share is in use"
AT_ONCE = 2000
"""Items of a container that are freed at once: less than a millisecond."""


class MemoryBudget:
    """A limit of memory for all pushes together."""

    def __init__(self, max_bytes: int) -> None:
        self.wake: Callable[[], None] | None = None
        """Called in any thread when there is something to free. While it is ``None``, all is freed at once."""
        self._max_bytes, self._used = max_bytes, 0
        self._sessions: dict[str, int] = {}
        self._discarded: deque[tuple[dict[Any, Any] | list[Any], PushMemory | None, int]] = deque()
        self._lock = RLock()  # reentrant: garbage collection may run a ``__del__`` inside a call

    @property
    def used(self) -> int:
        """Bytes that count."""
        return self._used

    @property
    def discarded(self) -> bool:
        """Whether there is something to free."""
        return bool(self._discarded)

    def push(self, session_id: str = "") -> PushMemory:
        """Return the account of a new push of this session."""
        return PushMemory(self, session_id)

    def admits(self, session_id: str, held: int, more: int) -> bool:
        """Whether a push of this session that holds ``held`` counted bytes may hold ``more``."""
        left = self._max_bytes - self._used
        share = self._max_bytes // SESSION_PART
        return held + more <= left and self._sessions.get(session_id, 0) + more <= share

    def count(self, session_id: str, more: int) -> None:
        """Add to the counted bytes of a session; a negative number subtracts."""
        with self._lock:  # several threads read packs
            self._used += more
            held = self._sessions.get(session_id, 0) + more
            if held:
                self._sessions[session_id] = held
            else:
                self._sessions.pop(session_id, None)

    def discard(self, container: dict[Any, Any] | list[Any], memory: PushMemory | None = None, count: int = 0) -> None:
        """Free a container that nothing else refers to. ``memory`` gets its ``count`` bytes back when it is freed."""
        if self.wake is None or len(container) <= AT_ONCE:
            if memory is not None:
                memory.take(-count)
            return
        self._discarded.append((container, memory, count))
        self.wake()

    def freeing(self) -> Generator[None, None, None]:
        """Free what was discarded. For one thread at a time."""
        while self._discarded:
            container, memory, count = self._discarded[0]
            if isinstance(container, list):
                del container[-AT_ONCE:]
            else:
                for _ in range(min(AT_ONCE, len(container))):
                    container.popitem()
            if not container:
                self._discarded.popleft()
                if memory is not None:
                    memory.take(-count)
            yield


class PushMemory:
    """The bytes that one push holds."""

    def __init__(self, budget: MemoryBudget, session_id: str) -> None:
        self.budget = budget
        self.refused = False
        """Whether something was left out because the shared memory is in use."""
        self._session_id, self._used = session_id, 0

    def fits(self, more: int) -> bool:
        """Whether the push may hold ``more`` bytes."""
        counted = _counted(self._used)
        added = _counted(self._used + more) - counted
        return not added or self.budget.admits(self._session_id, counted, added)

    def take(self, more: int) -> None:
        """Add to the bytes held; a negative number subtracts."""
        with self.budget._lock:  # noqa: SLF001 - one lock for the budget and its accounts
            before = _counted(self._used)
            self._used += more
            if _counted(self._used) != before:
                self.budget.count(self._session_id, _counted(self._used) - before)


def _counted(held: int) -> int:
    return max(0, held - ALLOWANCE)


BUDGET = MemoryBudget(SHARED)
