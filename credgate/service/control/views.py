"""What the control API shows of a session: JSON objects without token, secret or digest.

``repos`` is in the form that a create takes, so what is shown can be posted again. Times are ISO 8601 in UTC, told by
the wall clock as it is set at the moment of asking; lengths of time are seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from credgate.sessions.grants import written
from credgate.sessions.lease_clock import LeaseReading, wall_time

if TYPE_CHECKING:
    from credgate.sessions.model import Session

_HOUR = 3600
_DAY = 24 * _HOUR


def session_view(session: Session, now: LeaseReading) -> dict[str, object]:
    """Return everything public of a session."""
    return {
        "id": session.id,
        "label": session.label,
        "bind": str(session.bound_to) if session.bound_to is not None else None,
        "repos": [written(grant) for grant in session.grants],
        "dns": list(session.dns),
        "created_at": _iso(wall_time(session.created, now)),
        "used_at": _iso(wall_time(session.used, now)),
        "expires_at": _iso(wall_time(session.expires(), now)),
        "idle_ttl": _number(session.idle_ttl),
        "absolute_ttl": _number(session.absolute_ttl),
    }


def lifetimes(session: Session) -> dict[str, float]:
    """Return the two limits in the ancestor's units: whole numbers where they are whole."""
    return {
        "ttl_inactivity_hours": _number(session.idle_ttl / _HOUR),
        "ttl_absolute_days": _number(session.absolute_ttl / _DAY),
    }


def _number(value: float) -> float:
    return int(value) if value == int(value) else round(value, 3)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
