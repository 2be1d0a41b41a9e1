"""What ``GET /whoami`` tells a sandbox about itself: what it may do, and until when, before it fails at it.

Never the token, the secret, their digests or anything about other sessions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from credgate.sessions.grants import written

if TYPE_CHECKING:
    from credgate.sessions.model import Session


def whoami(session: Session, now: float, wall: float) -> dict[str, object]:
    """Describe ``session`` at ``now`` (lease clock) and ``wall`` (seconds since the epoch)."""
    return {
        "session": session.id,
        "repositories": [written(grant) for grant in session.grants],
        "dns": list(session.dns),
        "expires_at": _utc(wall + session.created + session.absolute_ttl - now),
        "idle_expires_at": _utc(wall + session.expires() - now),
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
