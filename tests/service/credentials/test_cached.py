"""Credentials in memory: when one is replaced, how long a failure is the answer, how often a refusal renews."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import CredentialError
from credgate.service.credentials.cached import (
    FORCED_SECONDS,
    LONGEST_HOLD,
    CachedCredential,
    FailedFetch,
    ForcedRenewal,
)
from credgate.service.credentials.sources import Credential
from credgate.sessions.lease_clock import LeaseReading

SPAN = st.floats(0, 1e6)


@given(boot=SPAN, lifetime=SPAN, margin=SPAN, wall=st.floats(-1e9, 1e9))
def test_a_life_is_counted_from_the_asking_and_not_by_the_wall(
    boot: float, lifetime: float, margin: float, wall: float
) -> None:
    """The answer was on its way for some of it; a clock that was set in between ends nothing early or late."""
    held = CachedCredential.of(Credential("0a", "x"), lifetime, margin, LeaseReading("boot", boot, wall))
    assert held.ends == boot + lifetime
    assert held.due == held.ends - margin <= held.ends


def test_a_credential_in_memory_shows_no_secret() -> None:
    """It is part of a source, whose ``repr`` stands in tracebacks."""
    held = CachedCredential.of(Credential("0a", "CANARY"), 3600, 300, LeaseReading("boot", 0, 0))
    assert "CANARY" not in repr(held)


@pytest.mark.parametrize(("asked", "held"), [(0, 1), (5, 5), (90, 90), (10**9, LONGEST_HOLD)])
def test_a_failure_is_the_answer_for_as_long_as_it_says_and_no_longer(asked: int, held: float) -> None:
    """Ten requests a second must not become ten at the forge; "next year" must not end the service."""
    assert FailedFetch.at(1000.0, CredentialError("x", retry_after=asked)).until == 1000.0 + held


def test_refusals_renew_once_in_a_while() -> None:
    """The first helps against a credential that ended early; the next would only lock the account."""
    forced = ForcedRenewal("github.com")
    forced.again(0.0)
    for moment in (0.0, FORCED_SECONDS - 1):
        with pytest.raises(CredentialError, match=r"github\.com refuses a credential that it gave") as caught:
            forced.again(moment)
        assert caught.value.retry_after == FORCED_SECONDS
    forced.again(FORCED_SECONDS)
    with pytest.raises(CredentialError):
        forced.again(FORCED_SECONDS + 1)
