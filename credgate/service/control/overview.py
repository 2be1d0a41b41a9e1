"""The answer of ``GET /v1/status``: version, listeners, and counts of the running gateway.

It collects what each part reports, decides nothing and waits for nothing, so that it answers even if a part hangs
(``/v1/ready`` checks whether a part works). It contains counts and names only: no session, no token, no credential.
Times are ISO 8601 in UTC, durations are seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate import __version__
from credgate.audit.chain import Head, Link
from credgate.audit.event import timestamp
from credgate.loading.load import config_hash, policy_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from credgate.config.schema import Config
    from credgate.sessions.lease_clock import LeaseReading

    Places = Callable[[], Mapping[str, str]]


@frozen(slots=True)
class Overview:
    """The sources of the answer, each as a callable."""

    started: LeaseReading
    clock: Callable[[], LeaseReading]
    config: Callable[[], Config]
    """Returns the configuration in force."""
    places: Places
    """Returns the address of each listener; "" if it is not bound."""
    sessions: Callable[[], int]
    connections: Callable[[], int]
    transfers: Callable[[], int]
    has_credential: Callable[[str], bool]
    dns: Callable[[], Mapping[str, int]]
    """Returns the counters of the DNS server; empty without one."""
    resolvers: Callable[[], Iterable[tuple[str, int]]] = tuple
    """Returns the upstream resolvers of the DNS server, in order."""
    head: Callable[[], Head] = lambda: Head(Link())
    """Returns the end of the chain of the audit log."""

    def __call__(self) -> dict[str, object]:
        """Return the answer of ``GET /v1/status``."""
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
        """Return number and digest of the last line; "" if there is none."""
        # In the format of ``credgate audit verify --head``.
        last = self.head().last
        return f"{last.seq}:{last.digest}" if last.seq else ""

    def _forge(self, name: str, config: Config) -> dict[str, object]:
        forge = config.forges[name]
        return {"name": name, "kind": forge.kind, "url": forge.url, "credential": self.has_credential(name)}
