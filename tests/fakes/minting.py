"""For tests of short-lived credentials: a clock that a test can turn, sources that use a fake API, sessions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from credgate.forges.registry import driver_for
from credgate.service.credentials.source_factory import ShortLivedFactory
from credgate.service.credentials.sources import CredentialRequest
from credgate.service.upstream.endpoints import forge_endpoints
from credgate.sessions.lease_clock import LeaseReading
from credgate.sessions.model import Grant, Session
from credgate.values import Access, RepoPath

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from credgate.audit.event import Event
    from credgate.config.schema import ForgeConfig
    from credgate.service.credentials.sources import Source

FORGE = "github.com"


@define
class TurnedClock:
    """The machine's clocks, and what a test adds to them: ``slept`` to both, ``set_by`` to the wall's alone."""

    slept: float = 0.0
    set_by: float = 0.0

    def __call__(self) -> LeaseReading:
        return LeaseReading("boot", time.monotonic() + self.slept, time.time() + self.slept + self.set_by)


@define
class Lines:
    """An audit log that keeps events."""

    events: list[Event] = field(factory=list)

    def write(self, event: Event) -> None:
        self.events.append(event)


def at_once(call: Any, *args: object) -> Deferred[Any]:
    """Stand in for a thread pool."""
    return succeed(call(*args))


@define
class Lab:
    """Makes sources; ``folder`` is the state directory."""

    folder: Path
    clock: TurnedClock = field(factory=TurnedClock)
    audit: Lines = field(factory=Lines)

    def source(self, forge: ForgeConfig, environ: Mapping[str, str] | None = None, *, keep: bool = True) -> Source:
        """Make the source of a forge's table."""
        store = str(self.folder / "sessions.db") if keep else ""
        minting = ShortLivedFactory(
            reactor, forge_endpoints(reactor, 5), at_once, self.clock, self.audit, environ or {}, store
        )
        made = minting.source(forge, driver_for(forge))
        assert made is not None
        return made

    def secret(self, name: str, text: str) -> str:
        """Write a secret to a file; its reference."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return f"file://{path}"


def grant(repo: str, access: Access = Access.WRITE, *, forge: str = FORGE, workflows: bool = False) -> Grant:
    """Make a grant as the control API would."""
    return Grant(repo=repo, forge=forge, access=access, normal=repo.lower(), workflows=workflows)


def session(*grants: Grant, name: str = "s-one") -> Session:
    """Make a session with these grants."""
    return Session(
        id=name,
        token_digest=b"t" * 32,
        secret_digest=b"s" * 32,
        grants=grants,
        created=0.0,
        used=0.0,
        created_wall=0.0,
        idle_ttl=1e9,
        absolute_ttl=1e9,
    )


def wanted(held: Session, repo: str = "octo/hello", access: Access = Access.READ) -> CredentialRequest:
    """Say what a request needs."""
    return CredentialRequest(RepoPath(FORGE, repo), access, held)
