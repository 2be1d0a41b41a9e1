"""Sessions as JSON objects of the control API, without token, secret or digest.

``repos`` has the form that a create accepts. Times are ISO 8601 in UTC by the wall clock at the time of the request;
durations are seconds.
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
    """Return the public data of a session."""
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
    """Return the two lifetimes in the ancestor's units, as integers if they are whole."""
    return {
        "ttl_inactivity_hours": _number(session.idle_ttl / _HOUR),
        "ttl_absolute_days": _number(session.absolute_ttl / _DAY),
    }


def _number(value: float) -> float:
    return int(value) if value == int(value) else round(value, 3)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
