"""A credential in memory, and when it is to be replaced; what failed, and when it may be tried again.

Times are seconds of the boot clock: it counts suspended time and knows no steps, so that a laptop that slept does not
hand out what has ended meanwhile, and a wall clock that is set ends nothing early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate.credentials import token_errors
from credgate.errors import CredentialError

if TYPE_CHECKING:
    from credgate.service.credentials.sources import Credential
    from credgate.sessions.lease_clock import LeaseReading

LONGEST_HOLD = 300.0
"""Seconds that a failure is the answer without another try, at most, whatever the forge asks for."""
FORCED_SECONDS = 30.0
"""Between two renewals because the forge refused what it had given."""


@frozen(slots=True)
class CachedCredential:
    """A credential: replaced after ``due``, worth nothing after ``ends``."""

    credential: Credential
    due: float
    ends: float

    @classmethod
    def of(cls, credential: Credential, lifetime: float, margin: float, asked: LeaseReading) -> CachedCredential:
        """Hold what was asked for at ``asked``, lives for ``lifetime`` and is replaced by ``margin`` before its end."""
        ends = asked.boot + lifetime
        return cls(credential, ends - margin, ends)


@frozen(slots=True)
class FailedFetch:
    """What went wrong, and until when that is the answer."""

    error: CredentialError
    until: float

    @classmethod
    def at(cls, now: float, error: CredentialError) -> FailedFetch:
        """Hold on to ``error`` for as long as it says."""
        return cls(error, now + min(max(error.retry_after, 1), LONGEST_HOLD))


class ForcedRenewal:
    """Renewals because of refusals: one helps against a credential that ended early, ten a second help nobody."""

    def __init__(self, forge: str) -> None:
        self._forge, self._last = forge, float("-inf")

    def again(self, now: float) -> None:
        """Count one. Raises ``CredentialError`` when it comes too soon after another."""
        if now - self._last < FORCED_SECONDS:
            text = f"{self._forge} refuses a credential that it gave a moment ago; {token_errors.OPERATOR}"
            raise CredentialError(text, retry_after=round(FORCED_SECONDS))
        self._last = now
