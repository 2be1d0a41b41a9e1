"""Extending a session: the request, and the new times.

``POST /v1/sessions/<id>/extend`` takes ``{"for": "8h"}``: the session shall live this long from now. Its absolute end
moves there, but never beyond the configured ``absolute_ttl`` after its creation. ``idle_ttl`` and the grants never
change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from credgate.errors import InvalidValueError
from credgate.rules.duration import parse_duration
from credgate.rules.parse import refuse_unknown_keys

if TYPE_CHECKING:
    from credgate.sessions.model import Session

KEYS = ("for",)
MEANT = 'for must be a duration such as "90s", "15m", "24h" or "7d"'


def parse_extend(payload: object) -> float:
    """Return the seconds in the decoded JSON of an extension; raise InvalidValueError (HTTP 400)."""
    if not isinstance(payload, dict):
        raise InvalidValueError("The body must be a JSON object")
    refuse_unknown_keys(payload, KEYS)
    asked = payload.get("for")
    if not isinstance(asked, str):
        raise InvalidValueError(MEANT)
    try:
        seconds = parse_duration(asked)
    except ValueError as error:
        raise InvalidValueError(f"for: {error}") from None
    if seconds <= 0:
        raise InvalidValueError("for must be more than zero")
    return seconds


def extended(session: Session, seconds: float, now: float, longest: float) -> Session:
    """Return the session with its end ``seconds`` from ``now`` (lease clock), or its own end if that is later.

    Raises InvalidValueError if the new end is more than ``longest`` seconds after the creation.
    """
    age = now - session.created
    # The limit counts from the creation, so that no number of extensions makes a session that could not have been
    # created. A longer request is refused, not reduced.
    if age + seconds > longest:
        left = max(0, int(longest - age))
        raise InvalidValueError(
            f"for: no session lives longer than the configured {longest:g}s; this one has at most {left}s left"
        )
    # The extension is a use, so the idle time starts again; a later end stays, since an extension never shortens.
    return evolve(session, used=max(session.used, now), absolute_ttl=max(session.absolute_ttl, age + seconds))
