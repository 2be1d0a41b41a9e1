"""What all sandbox connections share: one frozen set of references, made once by ``service.tap``.

Nothing here changes while the gateway runs. What does change has an owner: ``judge`` the policy and the renames,
``transfers`` the open connections and running exchanges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from credgate.service.turns import Turns
from credgate.service.upstream.project_paths import ProjectPaths

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from credgate.config.schema import Limits
    from credgate.lfs.handles import Handles
    from credgate.service.audit.log import AuditLog
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.registry import SessionRegistry
    from credgate.service.sandbox.refused_connections import RefusedConnections
    from credgate.service.sandbox.request_judge import RequestJudge
    from credgate.service.sandbox.transfers import Transfers
    from credgate.service.upstream.pool import ForgePool
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session
    from credgate.sessions.rate_limits import Rates


@frozen(eq=False)
class Services:
    """The parts of the gateway that connections and exchanges use."""

    reactor: IReactorTime
    limits: Limits
    registry: SessionRegistry
    credentials: Credentials
    pool: ForgePool
    audit: AuditLog
    clock: Callable[[], LeaseReading]
    judge: RequestJudge
    transfers: Transfers
    rates: Rates
    refused: RefusedConnections
    """Connections that a limit refused."""
    lane: Callable[[str], Callable[..., Deferred[Any]]]
    """Returns, for a session id, a function that runs a call in a thread: packs are read there."""
    public_url: str = ""
    """The gateway's address as sandboxes see it; ``""``: the Host that each request names."""
    paths: ProjectPaths = field(init=False)
    """Checks whether repositories still have the names that grants use (``check_path`` of a forge)."""
    turns: Turns = field(init=False)
    """Shares the reactor's time between bodies that cost more than their bytes."""

    @paths.default
    def _paths(self) -> ProjectPaths:
        return ProjectPaths(self.pool)

    @turns.default
    def _turns(self) -> Turns:
        return Turns(self.reactor)

    @property
    def handles(self) -> Handles:
        """The handles that sessions get instead of links to LFS objects."""
        return self.judge.authorizer.handles

    def session_ended(self, session: Session, _reason: str) -> None:
        """Cut the session's exchanges, and delete what is stored for it."""
        self.transfers.end_session(session.id)
        self.rates.forget(session.id)
        self.judge.forget(session.id)
