"""Which refused connections are told."""

from __future__ import annotations

from credgate.sessions.refusals import INTERVAL, MAX_CLIENTS, OTHERS, More, Refusals


def test_the_first_is_told_and_the_others_as_a_number() -> None:
    """By limit and client; the next interval begins anew."""
    refusals = Refusals()
    assert refusals.refused("total", "10.0.0.1", 0.0) == "10.0.0.1"
    assert refusals.refused("address", "10.0.0.1", 1.0) == "10.0.0.1"
    assert refusals.refused("total", "10.0.0.2", 2.0) == "10.0.0.2"
    for _ in range(5):
        assert refusals.refused("total", "10.0.0.1", 3.0) is None
    assert refusals.over(INTERVAL - 0.1) == []
    assert refusals.over(INTERVAL) == [More("total", "10.0.0.1", 5)]
    assert refusals.refused("total", "10.0.0.1", INTERVAL) == "10.0.0.1"
    assert refusals.over(INTERVAL + 2.0) == [], "one that no other followed was told already"
    assert refusals.totals == {"total": 8, "address": 1}


def test_of_too_many_clients_the_rest_is_told_as_one() -> None:
    """A flood from forged or many addresses costs neither memory nor lines without end."""
    refusals = Refusals()
    told = [refusals.refused("total", str(number), 0.0) for number in range(10 * MAX_CLIENTS)]
    assert [one for one in told if one is not None] == [*map(str, range(MAX_CLIENTS)), OTHERS]
    assert len(refusals._open) == MAX_CLIENTS + 1
    assert refusals.over(INTERVAL) == [More("total", OTHERS, 9 * MAX_CLIENTS - 1)]
    assert refusals._open == {}
