"""Which connections are open, which exchange serves which session, and whether credgate is stopping.

A session's end cuts its exchanges at once. Connections are counted by address (an IPv6 /64 is one address, as for rate
limits). Nothing here decides a limit: ``listener`` and ``request_judge`` compare the counts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from credgate.sessions.address import rate_key
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Callable


class OpenConnection(Protocol):
    """What is done to a sandbox's connection from outside."""

    peer: str

    def overdue(self, now: float) -> None:
        """Act on a time limit that has passed."""

    def drain(self) -> None:
        """Close, after the request that is being answered."""

    def refuse_pending(self, decision: Decision) -> None:
        """Refuse the request that waits for an answer."""

    def cut(self, reason: Reason) -> None:
        """Reset the connection and end its request, with ``reason`` in the audit line."""

    def broke(self) -> None:
        """End because of an internal error."""


class TransferLog(Protocol):
    """What is read of a running transfer's log."""

    def snapshot(self) -> dict[str, object]:
        """Return what is known now."""
        ...

    def meter(self) -> None:
        """Count the bytes since the last call."""


class Transfer(Protocol):
    """An exchange, as far as it is counted and cut from outside."""

    @property
    def record(self) -> TransferLog:
        """What is known of it."""
        ...

    def cut(self, reason: Reason) -> None:
        """Reset both sides at once, with ``reason`` in the audit line."""


@define(eq=False)
class Transfers:
    """The open connections and running exchanges of the gateway."""

    connections: set[OpenConnection] = field(factory=set, init=False)
    addresses: Counter[str] = field(factory=Counter, init=False)
    """Open connections by address."""
    closing: bool = field(default=False, init=False)
    """Whether credgate is stopping: no new request is served."""
    _by_session: dict[str, set[Transfer]] = field(factory=dict, init=False)
    _session_of: dict[Transfer, str] = field(factory=dict, init=False)
    _vacant: Callable[[], None] = field(default=lambda: None, init=False)

    def add_connection(self, connection: OpenConnection) -> None:
        """Count an open connection."""
        self.connections.add(connection)
        self.addresses[rate_key(connection.peer)] += 1

    def remove_connection(self, connection: OpenConnection) -> None:
        """Forget a closed connection; the last one ends a drain."""
        self.connections.discard(connection)
        address = rate_key(connection.peer)  # an IPv6 /64 is one address, as for rate limits
        self.addresses[address] -= 1
        if self.addresses[address] <= 0:
            del self.addresses[address]
        if self.closing and not self.connections:
            self._vacant()

    def add_transfer(self, exchange: Transfer, session_id: str) -> None:
        """Note that ``exchange`` serves the session."""
        self._by_session.setdefault(session_id, set()).add(exchange)
        self._session_of[exchange] = session_id

    def remove_transfer(self, exchange: Transfer) -> None:
        """Note that the exchange has ended."""
        session_id = self._session_of.pop(exchange, None)
        if session_id is None:
            return
        running = self._by_session[session_id]
        running.discard(exchange)
        if not running:
            del self._by_session[session_id]

    def end_session(self, session_id: str) -> None:
        """Cut all exchanges of a session."""
        # A copy: each cut removes its exchange from the set.
        for exchange in list(self._by_session.get(session_id, ())):
            exchange.cut(Reason.SESSION_ENDED)

    def count(self, session_id: str) -> int:
        """Return the number of a session's exchanges."""
        running = self._by_session.get(session_id)
        return 0 if running is None else len(running)

    @property
    def running(self) -> int:
        """The number of exchanges of all sessions."""
        return len(self._session_of)

    def snapshot(self) -> list[dict[str, object]]:
        """Return what is running now, the oldest first."""
        return [exchange.record.snapshot() for exchange in self._session_of]

    def meter(self) -> None:
        """Count what running exchanges have moved since the last call."""
        for exchange in self._session_of:
            exchange.record.meter()

    def drain(self, vacant: Callable[[], None]) -> None:
        """Serve no further request; ``vacant`` is called when the last connection has closed."""
        self.closing, self._vacant = True, vacant
        # Idle connections close at once, busy ones after their answer.
        for connection in list(self.connections):
            connection.drain()

    def refuse_pending(self) -> None:
        """Refuse every request that still waits for an answer."""
        text = "credgate is stopping and could not finish this; try again in a minute"
        decision = Decision(allow=False, reason=Reason.SHUTDOWN, rule="shutdown", text=text)
        for connection in list(self.connections):
            connection.refuse_pending(decision)
