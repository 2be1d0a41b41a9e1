"""Sessions, clocks and threads for tests: made up, deterministic and instant."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from credgate.config import schema
from credgate.errors import StoreError
from credgate.service.registry import SessionRegistry
from credgate.sessions import tokens
from credgate.sessions.lease_clock import LeaseReading
from credgate.sessions.model import Grant, Session, SessionRequest
from credgate.sessions.stores import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 24 * 3600.0


def session(number: int = 1, **changes: Any) -> Session:
    """Make a plausible session; its token is ``token-N``, its secret ``secret-N``."""
    made = Session(
        id=f"s-{number:016x}",
        token_digest=tokens.digest(f"token-{number}"),
        secret_digest=tokens.digest(f"secret-{number}"),
        grants=(Grant(repo="octo/hello", forge="github.com"),),
        created=1000.0,
        used=1000.0,
        created_wall=1_800_000_000.0,
        idle_ttl=DAY,
        absolute_ttl=7 * DAY,
    )
    return evolve(made, **changes)


def request(**changes: Any) -> SessionRequest:
    """Make what ``body.parse_create`` would, with the default times."""
    return evolve(SessionRequest(idle_ttl=DAY, absolute_ttl=7 * DAY), **changes)


class LeaseClock:
    """A machine's clocks: ``pass_time`` moves both, ``set_wall`` only one, ``reboot`` starts the boot clock anew."""

    def __init__(self) -> None:
        self.now = LeaseReading(boot_id="boot-1", boot=1000.0, wall=1_800_000_000.0)

    def __call__(self) -> LeaseReading:
        """Read the clocks."""
        return self.now

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now = evolve(self.now, boot=self.now.boot + seconds, wall=self.now.wall + seconds)

    def set_wall(self, by: float) -> None:
        """Set the wall clock, as an operator or NTP does."""
        self.now = evolve(self.now, wall=self.now.wall + by)

    def reboot(self, *, down: float = 60.0) -> None:
        """Start the machine again after ``down`` seconds; the new boot is ten seconds old when anyone looks."""
        number = int(self.now.boot_id.removeprefix("boot-")) + 1
        self.now = LeaseReading(boot_id=f"boot-{number}", boot=10.0, wall=self.now.wall + down + 10.0)


class InstantPool:
    """A thread pool whose thread is the caller's; ``held`` makes calls wait for ``release``, as a slow disk does."""

    def __init__(self) -> None:
        self.held = False
        self.running = False
        self._waiting: deque[Callable[[], None]] = deque()

    def start(self) -> None:
        """Note it."""
        self.running = True

    def stop(self) -> None:
        """Note it."""
        self.running = False

    def callInThreadWithCallback(self, on_result: Any, func: Any, *args: Any, **kw: Any) -> None:
        """Run ``func`` now, or when released, and give its result or Failure to ``on_result``."""
        assert self.running, "the pool is not started"

        def run() -> None:
            try:
                result = func(*args, **kw)
            except Exception:  # noqa: BLE001 - what ThreadPool does
                on_result(False, Failure())  # noqa: FBT003 - Twisted's interface
            else:
                on_result(True, result)  # noqa: FBT003 - Twisted's interface

        if self.held:
            self._waiting.append(run)
        else:
            run()

    def release(self) -> None:
        """Run what waits, in order, and hold no more."""
        self.held = False
        while self._waiting:
            self._waiting.popleft()()


class InstantReactor(MemoryReactorClock):
    """A reactor whose ``callFromThread`` does not wait for the next turn."""

    def callFromThread(self, call: Any, *args: Any, **kw: Any) -> None:
        """Call it."""
        call(*args, **kw)


class BreakableStore(MemoryStore):
    """A store whose disk fails: the methods named in ``broken`` raise StoreError."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()
        self.calls: list[str] = []

    def _maybe_break(self, name: str) -> None:
        self.calls.append(name)
        if name in self.broken:
            msg = "store.db: cannot be written (disk I/O error)"
            raise StoreError(msg)

    def open(self, now: LeaseReading) -> list[Session]:
        """Open, or break."""
        self._maybe_break("open")
        return super().open(now)

    def insert(self, session: Session, gone: Any = ()) -> None:
        """Insert, or break."""
        self._maybe_break("insert")
        super().insert(session, gone)

    def remove(self, ids: Any) -> int:
        """Remove, or break."""
        self._maybe_break("remove")
        return super().remove(ids)

    def extend(self, session: Session, now: LeaseReading, gone: Any = ()) -> bool:
        """Extend, or break."""
        self._maybe_break("extend")
        return super().extend(session, now, gone)

    def touch(self, uses: Any, now: LeaseReading, gone: Any = ()) -> None:
        """Touch, or break."""
        self._maybe_break("touch")
        super().touch(uses, now, gone)

    def close(self) -> None:
        """Close, or break."""
        self._maybe_break("close")
        super().close()


def registry(store: Any = None, *, clock: Any = None, pool: Any = None, **config: Any) -> SessionRegistry:
    """Make a registry that answers at once; not started."""
    return SessionRegistry(
        MemoryStore() if store is None else store,
        schema.SessionsConfig(**config),
        clock=LeaseClock() if clock is None else clock,
        reactor=InstantReactor(),
        pool=InstantPool() if pool is None else pool,
    )
