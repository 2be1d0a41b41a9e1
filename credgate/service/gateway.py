"""The running gateway as its control API sees it: one object with what the routes read and the operations they call.

``service.tap`` fills it in; the routes know no other part of the gateway. It decides nothing itself. An operation that
a gateway does not have is ``None`` or returns nothing: tests, and a gateway without that part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from twisted.internet.defer import Deferred

    from credgate.config.schema import Config, PushPolicy
    from credgate.forges.driver import Driver
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session, SessionRequest
    from credgate.sessions.tokens import NewToken
    from credgate.values import RepoPath

    Entries = list[dict[str, object]]


class Registry(Protocol):
    """The part of ``service.registry.SessionRegistry`` that the control API uses."""

    def create(self, request: SessionRequest) -> Deferred[tuple[Session, NewToken]]:
        """Create a session; fires when it is on disk."""
        ...

    def revoke(self, session_id: str, reason: str) -> Deferred[bool]:
        """End a session; ``False``: unknown id."""
        ...

    def extend(self, session_id: str, seconds: float) -> Deferred[Session | None]:
        """Extend the lifetime of a session; fires when it is on disk. ``None``: unknown id."""
        ...

    def revoke_token(self, token: str) -> Deferred[bool]:
        """End the session with this token; ``False``: unknown token."""
        ...

    def get(self, session_id: str) -> Session | None:
        """Return a live session."""
        ...

    def ids(self) -> list[str]:
        """Return the ids of all sessions, the oldest first."""
        ...


@frozen(kw_only=True)
class Gateway:
    """The parts of a running gateway, each as a value or as something to call."""

    config: Config
    """The configuration at start; ``policy`` follows reloads."""
    registry: Registry
    drivers: Mapping[str, Driver]
    """By the name of the forge."""
    clock: Callable[[], LeaseReading]
    readiness: Callable[[], Awaitable[Mapping[str, bool]]]
    """Runs the checks of ``GET /v1/ready``."""
    policy: Callable[[], PushPolicy] = field()
    """Returns the push policy in force; by default that of ``config``."""
    has_credential: Callable[[RepoPath], bool] = lambda _repo: True
    reload: Callable[[], Awaitable[Mapping[str, object]]] | None = None
    status: Callable[[], Mapping[str, object]] | None = None
    """Returns the answer of ``GET /v1/status``."""
    transfers: Callable[[], Entries] = list
    """Returns the requests in progress."""
    forges: Callable[[], Entries] = list
    """Returns the forges with their credentials."""
    scrape: Callable[[], Awaitable[bytes]] | None = None
    """Returns the page of ``GET /v1/metrics``."""
    check: Callable[[str, str], Awaitable[Entries]] | None = None
    """Asks a forge, by name, whether it accepts its credentials, or the credential of one repository."""

    @policy.default
    def _configured(self) -> Callable[[], PushPolicy]:
        return lambda: self.config.policy
