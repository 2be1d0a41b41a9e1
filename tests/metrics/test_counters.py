"""Counters made of audit events: what is counted, and that no client can make a new series."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.audit.event import Event, Happening
from credgate.metrics.counters import BUCKETS, OPERATIONS, OTHER, REASONS, Durations, EventCounters
from credgate.values import Reason

FORGES = ("github.com", "git.example")


def request(**more: Any) -> Event:
    """Make the event of one allowed clone."""
    clone = {"operation": "git-upload-pack", "allow": True, "reason": Reason.ALLOWED, "forge": "github.com"}
    return Event(wall=0.0, event=Happening.REQUEST, **(clone | more))


def observed(*events: Event) -> EventCounters:
    """Count these."""
    tally = EventCounters(FORGES)
    for event in events:
        tally.observe(event)
    return tally


def test_a_request_counts_with_its_decision_and_reason() -> None:
    """What operators alert on; a reason is the code of the audit line."""
    refused = request(allow=False, reason=Reason.READ_ONLY, operation="git-receive-pack")
    tally = observed(request(bytes_up=1, bytes_down=20), request(bytes_down=300), refused)
    assert tally.requests == {
        ("git-upload-pack", "allow", "allowed"): 2,
        ("git-receive-pack", "deny", "read-only"): 1,
    }
    assert (tally.bytes_up, tally.bytes_down) == (1, 320)


def test_how_long_the_forge_took_is_counted_where_it_answered() -> None:
    """A refusal of our own says nothing of the forge."""
    tally = observed(request(answered=0.2), request(answered=0.2), request(allow=False, reason=Reason.NOT_FOUND))
    durations = tally.upstream["github.com", "git-upload-pack"]
    assert list(tally.upstream) == [("github.com", "git-upload-pack")]
    assert dict(durations.cumulative())["0.25"] == 2
    assert durations.total == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("event", "name", "value"),
    [
        (Event(wall=0.0, event=Happening.SESSION_CREATED), "sessions_created", 1),
        (Event(wall=0.0, event=Happening.SESSION_EXTENDED), "sessions_extended", 1),
        (Event(wall=0.0, event=Happening.SESSION_REVOKED), "sessions_ended", {"revoked": 1, "expired": 0}),
        (Event(wall=0.0, event=Happening.SESSION_EXPIRED), "sessions_ended", {"revoked": 0, "expired": 1}),
        (Event(wall=0.0, event=Happening.CREDENTIAL_MINTED, forge="git.example"), "minted", {"git.example": 1}),
        (
            Event(wall=0.0, event=Happening.CREDENTIAL_REVOKED, forge="github.com", allow=True),
            "taken_back",
            {"github.com": 1},
        ),
        (Event(wall=0.0, event=Happening.CREDENTIAL_REVOKED, forge="github.com", allow=False), "taken_back", {}),
        (
            Event(wall=0.0, event=Happening.CREDENTIAL_FAILED, forge="github.com", reason=Reason.CREDENTIAL_DENIED),
            "failures",
            {("github.com", "credential-denied"): 1},
        ),
    ],
)
def test_each_happening_has_its_counter(event: Event, name: str, value: object) -> None:
    """And counts nowhere else."""
    tally, before = observed(event), EventCounters(FORGES)
    assert getattr(tally, name) == value
    others = [other for other in vars(before) if other not in {name, "_by_happening"}]
    assert [getattr(tally, other) for other in others] == [getattr(before, other) for other in others]


@given(
    st.lists(
        st.builds(
            Event,
            wall=st.floats(),
            event=st.sampled_from(Happening),
            session=st.text(),
            peer=st.text(),
            forge=st.one_of(st.text(), st.sampled_from(FORGES)),
            repo=st.text(),
            operation=st.one_of(st.text(), st.sampled_from(sorted(OPERATIONS))),
            allow=st.one_of(st.none(), st.booleans()),
            reason=st.one_of(st.text(), st.sampled_from(Reason)),
            text=st.text(),
            answered=st.one_of(st.none(), st.floats(allow_nan=True)),
            bytes_up=st.one_of(st.none(), st.integers(0)),
        ),
        max_size=50,
    )
)
def test_no_event_makes_a_label_of_its_own(events: list[Event]) -> None:
    """Whatever an event holds: it is counted, nothing raises, and keys come from closed lists."""
    tally = observed(*events)
    assert sum(tally.requests.values()) == sum(event.event is Happening.REQUEST for event in events)
    forges, operations, reasons = {*FORGES, OTHER}, OPERATIONS | {OTHER}, REASONS | {OTHER}
    for operation, decision, reason in tally.requests:
        assert operation in operations
        assert decision in {"allow", "deny"}
        assert reason in reasons
    assert {forge for forge, _ in tally.upstream} <= forges
    assert {operation for _, operation in tally.upstream} <= operations
    assert set(tally.minted) | set(tally.taken_back) | {forge for forge, _ in tally.failures} <= forges


@pytest.mark.parametrize(("seconds", "first"), [(0.0, "0.005"), (0.005, "0.005"), (0.0051, "0.01"), (1e9, "+Inf")])
def test_a_duration_falls_into_the_first_bucket_that_holds_it(seconds: float, first: str) -> None:
    """A bound is inclusive, and what is longer than all is counted as well."""
    durations = Durations()
    durations.add(seconds)
    found = durations.cumulative()
    assert len(found) == len(BUCKETS) + 1
    assert next(bound for bound, count in found if count) == first
    assert found[-1] == ("+Inf", 1.0)


def test_a_clock_that_goes_backwards_takes_no_time() -> None:
    """A sum that shrinks would look like a restart."""
    durations = Durations()
    durations.add(-1.0)
    assert durations.total == 0.0
