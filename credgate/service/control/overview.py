"""One look at the gateway, for ``GET /v1/status``: what it is, where it listens, what it carries.

Gathers what each part says of itself; decides nothing and waits for nothing, so that it answers when a part hangs
(whether a part *works* is the matter of ``/v1/ready``). Counts and names only: no session, no token, no credential, and
of a forge what its configuration says in clear. Times are ISO 8601 in UTC, lengths are seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate import __version__
from credgate.audit.chain import Head, Link
from credgate.audit.event import timestamp
from credgate.config.load import config_hash, policy_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from credgate.config.schema import Config
    from credgate.sessions.lease_clock import LeaseReading

    Places = Callable[[], Mapping[str, str]]


@frozen(slots=True)
class Overview:
    """The parts, each as something to ask."""

    started: LeaseReading
    clock: Callable[[], LeaseReading]
    config: Callable[[], Config]
    """What is in force."""
    places: Places
    """The listeners and where each is bound; "" where it is not."""
    sessions: Callable[[], int]
    connections: Callable[[], int]
    transfers: Callable[[], int]
    has_credential: Callable[[str], bool]
    dns: Callable[[], Mapping[str, int]]
    """The DNS server's counters; empty where there is none."""
    resolvers: Callable[[], Iterable[tuple[str, int]]] = tuple
    """Whom it asks, in order."""
    head: Callable[[], Head] = lambda: Head(Link())
    """Where the chain of the audit log stands."""

    def __call__(self) -> dict[str, object]:
        """Return it all."""
        now, config = self.clock(), self.config()
        return {
            "version": __version__,
            "started_at": timestamp(self.started.wall),
            "uptime": round(now.boot - self.started.boot, 3),
            "now": timestamp(now.wall),
            "configuration": config_hash(config),
            "policy": policy_hash(config.policy),
            "listeners": dict(self.places()),
            "audit": config.audit.to,
            "audit_head": self._head(),
            "sessions": {"live": self.sessions(), "max": config.sessions.max_sessions},
            "connections": self.connections(),
            "transfers": self.transfers(),
            "default_forge": config.default_forge,
            "forges": [self._forge(name, config) for name in config.forges],
            "dns": {"counters": dict(self.dns()), "upstream": [f"{host}#{port}" for host, port in self.resolvers()]},
        }

    def _head(self) -> str:
        """Return the last line's number and digest, as ``credgate audit verify --head`` takes them; "" before one."""
        last = self.head().last
        return f"{last.seq}:{last.digest}" if last.seq else ""

    def _forge(self, name: str, config: Config) -> dict[str, object]:
        forge = config.forges[name]
        return {"name": name, "kind": forge.kind, "url": forge.url, "credential": self.has_credential(name)}
