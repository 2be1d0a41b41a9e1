"""The page ``GET /whoami``: what the session may do and until when, so that an agent need not find out by failing.

Grants are shown as they apply to this session: ``push`` is listed for every repository that may be written, with the
default rules spelt out and ``{session}`` and ``{label}`` substituted. ``policy`` has the operator's own rules.
``credentials`` lists the credentials that the forge is sent: if it is empty, no push will succeed. Never shown are the
token, the secret, their digests, a credential's value or anything about other sessions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from credgate.config.schema import PushPolicy
from credgate.git.push_rules import DEFAULT
from credgate.rules.patterns import expand
from credgate.sessions.grants import written
from credgate.values import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from credgate.rules.parse import PushRule
    from credgate.sessions.model import Grant, Session

    Named = Callable[[Grant, Session], list[dict[str, object]]]

_UNBOUNDED = PushPolicy()
_LIMITS = ("max_push_bytes", "max_refs", "push_options", "protected_paths", "require_old_oid")


def whoami(
    session: Session,
    now: float,
    wall: float,
    policy: PushPolicy,
    named: Named | None = None,
) -> dict[str, object]:
    """Describe ``session`` at ``now`` (lease clock) and ``wall`` (seconds since the epoch) under ``policy``.

    ``named`` returns the forge's credentials that a grant may use: their ids, kinds and ends.
    """
    return {
        "session": session.id,
        "repositories": [_repository(grant, session, named) for grant in session.grants],
        "policy": _policy(session, policy),
        "dns": list(session.dns),
        "expires_at": _utc(wall + session.created + session.absolute_ttl - now),
        "idle_expires_at": _utc(wall + session.expires() - now),
    }


def _repository(grant: Grant, session: Session, named: Named | None) -> dict[str, object]:
    entry = written(grant)
    if grant.access is Access.WRITE:
        entry["push"] = _rules(DEFAULT if grant.push is None else grant.push, session)
    if named is not None:
        entry["credentials"] = named(grant, session)
    return entry


def _policy(session: Session, policy: PushPolicy) -> dict[str, object]:
    """Return the keys that differ from an empty policy."""
    bounds: dict[str, object] = {}
    if policy.push:
        bounds["push"] = _rules(policy.push, session)
    for key in _LIMITS:
        value = getattr(policy, key)
        if value != getattr(_UNBOUNDED, key):
            bounds[key] = list(value) if isinstance(value, tuple) else value
    return bounds


def _rules(rules: Iterable[PushRule], session: Session) -> list[dict[str, object]]:
    """Return rules in the form of a grant's ``push``, in order: the first that matches a ref decides."""
    # No pattern is compiled: a session may have thousands, and only their texts are shown.
    return [{"refs": expand(rule.refs, session.id, session.label), "allow": sorted(rule.allow)} for rule in rules]


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
