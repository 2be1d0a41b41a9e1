"""The registry of live sessions: answered from memory, kept by a store in one worker thread.

It decides nothing about scope and never touches the disk itself. The hot path (``authenticate``, ``touch``, ``get``) is
synchronous; everything durable is a Deferred. A create is on disk before it is answered or can be used. A revoked
session ends in memory at once. Then every ``on_end`` listener is called (the relay cuts transfers), its row is removed,
and the revoke is answered. Calls reach the store in the order in which they were made here.

Expired sessions are found in a heap (``sessions.ends``), so no call walks all sessions. A round that ends many yields
to the reactor after each ``SLICE``; rows are removed and touched in transactions of at most ``BATCH``.

A removal that the disk refused is repeated: the row of a revoked session is removed with the next change that is
written, and ``writable`` is false until then. ``startService`` loads before anything listens and raises
StoreError, so a damaged store stops the start; it may block, because the reactor is not running yet.
"""

from __future__ import annotations

import gc
import hmac
import os
from ipaddress import ip_network
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from credgate.errors import CapacityError, StoreError
from credgate.service.store_thread import StoreThread
from credgate.sessions import lease_clock, tokens
from credgate.sessions.address import admits
from credgate.sessions.ends import Ends
from credgate.sessions.extension import extended
from credgate.sessions.model import Session
from credgate.sessions.stores import longer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
    from twisted.python.threadpool import ThreadPool

    from credgate.config import schema
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import SessionRequest
    from credgate.sessions.stores import Store

    class _Reactor(IReactorFromThreads, IReactorTime):
        """What is needed of the reactor."""


T = TypeVar("T")

REVOKED = "revoked"
EXPIRED = "expired"

TOUCH_GRAIN = 1.0
"""Seconds between two touches of a session."""
STEP_WORTH_LOGGING = 60.0
"""Seconds by which the wall clock may be set between two rounds without a log line."""

SLICE = 64
"""Sessions that a round ends in one turn of the reactor: with their listeners this takes some milliseconds."""
PAUSE = 0.005
"""Seconds between two slices of a round."""
BATCH = 1000
"""Rows of one transaction that removes or touches many: a create waits for one such transaction at most."""


class SessionRegistry(Service):
    """All live sessions. ``clock`` reads the lease clock; ``pool`` is for tests."""

    log = Logger()

    def __init__(  # noqa: PLR0913 - what it works with, most of it by name
        self,
        store: Store,
        config: schema.SessionsConfig,
        *,
        clock: Callable[[], LeaseReading],
        reactor: _Reactor,
        entropy: Callable[[int], bytes] = os.urandom,
        pool: ThreadPool | None = None,
    ) -> None:
        self._store, self._config, self._clock, self._entropy = store, config, clock, entropy
        self._thread, self._reactor = StoreThread(reactor, pool), reactor
        self._by_id: dict[str, Session] = {}
        self._by_token: dict[bytes, str] = {}
        self._creating = 0
        self._ends = Ends()
        self._used: dict[str, float] = {}
        self._ended: set[str] = set()
        """Rows that must be removed. Those of expired or never answered sessions are removed in the next round."""
        self._refused: set[str] = set()
        """Revoked sessions among them that the disk refused to remove: a restart would revive these."""
        self._listeners: list[Callable[[Session, str], None]] = []
        self._beginnings: list[Callable[[Session], None]] = []
        self._nobody = _nobody(entropy)
        self._last = clock()
        self.read_at = self._last.boot
        """The boot clock when a session was last authenticated: one reading is enough for a request."""

    @property
    def writable(self) -> bool:
        """Whether the last change reached the disk, and no revoked session is left there."""
        return self._thread.writable and not self._refused

    # The hot path.

    def authenticate(self, token: str, secret: str, address: str) -> Session | None:
        """Find the live session that ``token`` and ``secret`` open from ``address``; None for any reason."""
        # An unknown token takes the same steps, and so the same time: it is compared with a session that nothing opens.
        found = self._by_id.get(self._by_token.get(tokens.digest(token), ""), self._nobody)
        right = hmac.compare_digest(found.secret_digest, tokens.digest(secret))
        self.read_at = self._clock().boot
        live = found.live(self.read_at)
        here = admits(found.bound_to, address)
        # ``&`` and not ``and``: all are evaluated, so that the time does not show which one failed.
        return found if right & live & here else None

    def usable(self, session_id: str, address: str) -> Session | None:
        """Find the live session of this public id, if it may be used from ``address``; the caller has proved it."""
        session = self.get(session_id)
        return session if session is not None and admits(session.bound_to, address) else None

    def touch(self, session_id: str, now: float | None = None) -> None:
        """Record that the session is in use now; an ended one stays ended. ``now``: a reading of this turn."""
        session = self._by_id.get(session_id)
        now = self._clock().boot if now is None else now
        # Not more often than ``TOUCH_GRAIN``: a touch on every read of a transfer then costs nothing.
        if session is None or now - session.used < TOUCH_GRAIN or not session.live(now):
            return
        self._by_id[session_id] = evolve(session, used=now)
        self._used[session_id] = now

    def get(self, session_id: str) -> Session | None:
        """Find a live session by its public id."""
        session = self._by_id.get(session_id)
        return session if session is not None and session.live(self._clock().boot) else None

    def all(self) -> list[Session]:
        """List the live sessions, the oldest first."""
        now = self._clock().boot
        return [session for session in self._by_id.values() if session.live(now)]

    def ids(self) -> list[str]:
        """List the ids of the sessions, the oldest first, for callers that read them over several turns."""
        return list(self._by_id)

    @property
    def count(self) -> int:
        """The number of sessions. An expired one counts until a round has ended it."""
        return len(self._by_id)

    def expires_at(self, session: Session) -> float:
        """Seconds since the epoch at which the session ends if it is not used again, for people."""
        return lease_clock.wall_time(session.expires(), self._clock())

    def on_end(self, callback: Callable[[Session, str], None]) -> None:
        """Have ``callback(session, REVOKED or EXPIRED)`` called, synchronously, for each session that ends."""
        self._listeners.append(callback)

    def on_begin(self, callback: Callable[[Session], None]) -> None:
        """Have ``callback(session)`` called, synchronously, for each session that is made or loaded."""
        self._beginnings.append(callback)

    # What is durable.

    def create(self, request: SessionRequest) -> Deferred[tuple[Session, tokens.NewToken]]:
        """Make a session. Fails with CapacityError at ``max_sessions``, StoreError when it could not be kept."""
        return ensureDeferred(self._create(request))

    def revoke(self, session_id: str, reason: str = REVOKED) -> Deferred[bool]:
        """End a session: in memory at once, on disk when this fires. False: there was none.

        Fails with StoreError when the disk refused. The session has ended nevertheless, and the removal is repeated.
        """
        return ensureDeferred(self._revoke(session_id, reason))

    def extend(self, session_id: str, seconds: float) -> Deferred[Session | None]:
        """Let a session live ``seconds`` from now; it is on disk when this fires. None: there is no such session.

        Fails with InvalidValueError if it would live too long, with StoreError if the disk refused. Then nothing has
        changed.
        """
        return ensureDeferred(self._extend(session_id, seconds))

    def revoke_token(self, token: str) -> Deferred[bool]:
        """End the session of ``token`` (the old API)."""
        session_id = self._by_token.get(tokens.digest(token))
        return succeed(False) if session_id is None else self.revoke(session_id)  # noqa: FBT003 - the answer

    def collect(self) -> Deferred[int]:
        """Run a round: end what has expired, then write what is due. Fires with how many expired."""
        return ensureDeferred(self._collect())

    def flush(self) -> Deferred[None]:
        """Write touches, remove the rows that must be removed, and record a step of the wall clock."""
        return ensureDeferred(self._flush(self._clock()))

    async def _create(self, request: SessionRequest) -> tuple[Session, tokens.NewToken]:
        now = self._clock()
        if self._is_full():  # sessions that expired since the last round count no more
            self._expire(now)
        if self._is_full():  # creates that wait for the disk count, too
            raise CapacityError(f"Maximum session limit ({self._config.max_sessions}) exceeded")
        minted = tokens.mint(self._entropy)
        session = _session(request, minted, now)
        self._creating += 1
        try:
            await self._written(self._store.insert, session)
        except BaseException:
            # It may be on disk all the same, also if the caller cancelled. Nobody knows its secret: it must be removed.
            self._ended.add(session.id)
            raise
        finally:
            self._creating -= 1
        self._add(session)
        return session, minted

    async def _revoke(self, session_id: str, reason: str) -> bool:
        session = self._by_id.get(session_id)
        known = session is not None or session_id in self._refused
        # Ended in memory at once, before the disk: its transfers are cut even if the disk refuses.
        if session is not None:
            self._end(session, reason)
        # Also for an unknown id: a row that could not be read can still be removed.
        try:
            # In a call of its own, so that only this session is counted; refused removals are queued before it.
            if self._refused:
                await self._remove(self._refused)
            removed = await self._thread.run(self._store.remove, [session_id])
        except BaseException:
            if session is not None:
                self._refused.add(session_id)
            raise
        self._forget([session_id])
        return removed > 0 or known

    async def _extend(self, session_id: str, seconds: float) -> Session | None:
        session = self.get(session_id)
        if session is None:
            return None
        now = self._clock()
        asked = extended(session, seconds, now.boot, self._config.absolute_ttl)
        written = await self._written(self._store.extend, asked, now)
        meanwhile = self.get(session_id)  # used, revoked or expired
        if meanwhile is None or not written:
            return None
        self._by_id[session_id] = longer(meanwhile, asked)
        return self._by_id[session_id]

    async def _collect(self) -> int:
        now = self._clock()
        expired, more = self._expire(now)
        while more:
            # Sandboxes are served in between, and the audit log writes a line for each end.
            await deferLater(self._reactor, PAUSE)
            ended, more = self._expire(now)
            expired += ended
        await self._flush(now, always=True)
        return expired

    async def _flush(self, now: LeaseReading, *, always: bool = False) -> None:
        step = lease_clock.step(self._last, now)
        if abs(step) > STEP_WORTH_LOGGING:
            self.log.warn("the wall clock was set by {step:.0f} s; no session is affected", step=step)  # noqa: G010 - Twisted has no other
        # After a failure something is written even if nothing is due, to learn whether the disk works again.
        due = always or not self.writable or abs(step) > TOUCH_GRAIN
        while self._ended:
            await self._remove(self._refused | set(islice(self._ended, BATCH)))
        for _ in range(max(-(-len(self._used) // BATCH), int(due))):
            await self._write_touches(now)

    async def _remove(self, ids: Collection[str]) -> None:
        ids = frozenset(ids)
        await self._thread.run(self._store.remove, ids)
        self._forget(ids)

    async def _write_touches(self, now: LeaseReading) -> None:
        used = dict(islice(self._used.items(), BATCH))
        for key in used:
            del self._used[key]
        try:
            await self._written(self._store.touch, used, now)
        except StoreError:
            self._used = used | self._used
            raise
        self._last = now

    async def _written(self, change: Callable[..., T], *args: object) -> T:
        """Write a change, and with it the removals that the disk refused before."""
        # In one call: a restart must not revive a revoked session while later changes are on disk.
        gone = frozenset(self._refused)
        result = await self._thread.run(change, *args, gone)
        self._forget(gone)
        return result

    def _forget(self, ids: Collection[str]) -> None:
        """Record that these rows are removed from the disk."""
        self._ended.difference_update(ids)
        self._refused.difference_update(ids)

    # The service.

    def startService(self) -> None:
        """Load the store; raise StoreError when it cannot be trusted."""
        self._last = self._clock()
        self._thread.start()
        collects = gc.isenabled()
        gc.disable()  # nothing made here is garbage: collecting takes a third of a long start
        try:
            self._load(self._thread.wait(self._store.open, self._last))
        except BaseException:
            self._thread.stop()  # a running thread would keep the process from ending
            raise
        finally:
            if collects:
                gc.enable()
        super().startService()

    def _load(self, sessions: list[Session]) -> None:
        self._by_id.clear()
        self._by_token.clear()
        self._ends.clear()
        for session in sessions:
            self._add(session)
        if len(sessions) >= BATCH:
            # Python's garbage collector would walk them all again and again, and stop the reactor meanwhile.
            gc.freeze()
        for line in self._store.damaged:
            self.log.error("{line}", line=line)
        self.log.info("{count} sessions loaded", count=len(sessions))

    def stopService(self) -> Deferred[None]:
        """Write what is due, close the store, end the thread."""
        super().stopService()
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        try:
            await self._flush(self._clock(), always=True)
        except StoreError:
            self.log.failure("the last uses of sessions could not be written")
        try:
            await self._thread.run(self._store.close)
        except StoreError:
            self.log.failure("the session store could not be closed")
        self._thread.stop()

    # Inside.

    def _add(self, session: Session) -> None:
        self._by_id[session.id] = session
        self._by_token[session.token_digest] = session.id
        self._ends.put(session.id, session.expires())
        for listener in self._beginnings:
            try:
                listener(session)
            except Exception:  # noqa: BLE001 - the session is there whatever a listener does
                self.log.failure("a listener failed at the beginning of session {id}", id=session.id)

    def _is_full(self) -> bool:
        return len(self._by_id) + self._creating >= self._config.max_sessions

    def _expire(self, now: LeaseReading) -> tuple[int, bool]:
        """End what has expired, one slice of it; return how many ended, and whether there may be more."""
        # A heap has the earliest end first, so no call walks all sessions.
        ended = 0
        for _ in range(SLICE):
            session_id = self._ends.first(now.boot)
            if session_id is None:
                return ended, False
            session = self._by_id[session_id]
            if session.live(now.boot):  # used or extended since its end was noted
                self._ends.put(session_id, session.expires())
            else:
                self._end(session, EXPIRED)
                ended += 1
        return ended, True

    def _end(self, session: Session, reason: str) -> None:
        """End a session in memory and call every listener; an error in one does not stop the others."""
        del self._by_id[session.id], self._by_token[session.token_digest]
        self._ends.drop(session.id)
        self._used.pop(session.id, None)
        self._ended.add(session.id)
        for listener in self._listeners:
            try:
                listener(session, reason)
            except Exception:  # noqa: BLE001 - the session is dead whatever a listener does
                self.log.failure("a listener failed at the end of session {id}", id=session.id)


def _session(request: SessionRequest, minted: tokens.NewToken, now: LeaseReading) -> Session:
    return Session(
        id=minted.id,
        token_digest=tokens.digest(minted.token),
        secret_digest=tokens.digest(minted.secret),
        grants=request.grants,
        created=now.boot,
        used=now.boot,
        created_wall=now.wall,
        idle_ttl=request.idle_ttl,
        absolute_ttl=request.absolute_ttl,
        bound_to=request.bound_to,
        label=request.label,
        dns=request.dns,
    )


def _nobody(entropy: Callable[[int], bytes]) -> Session:
    """Return the session that unknown tokens are compared with: random digests, never live."""
    return Session(
        id="",
        token_digest=entropy(32),
        secret_digest=entropy(32),
        grants=(),
        created=0.0,
        used=0.0,
        created_wall=0.0,
        idle_ttl=float("-inf"),
        absolute_ttl=float("-inf"),
        bound_to=ip_network("192.0.2.0/24"),
    )
