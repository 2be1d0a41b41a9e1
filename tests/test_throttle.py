"""Which refused connections are reported."""

from __future__ import annotations

from credgate.throttle import INTERVAL, MAX_CLIENTS, OTHERS, More, Refusals


def test_first_refusal_is_reported_and_further_ones_as_a_count() -> None:
    """Limits and clients are separate; the next interval starts again."""
    refusals = Refusals()
    assert refusals.refused("total", "10.0.0.1", 0.0) == "10.0.0.1"
    assert refusals.refused("address", "10.0.0.1", 1.0) == "10.0.0.1"
    assert refusals.refused("total", "10.0.0.2", 2.0) == "10.0.0.2"
    for _ in range(5):
        assert refusals.refused("total", "10.0.0.1", 3.0) is None
    assert refusals.over(INTERVAL - 0.1) == []
    assert refusals.over(INTERVAL) == [More("total", "10.0.0.1", 5)]
    assert refusals.refused("total", "10.0.0.1", INTERVAL) == "10.0.0.1"
    assert refusals.over(INTERVAL + 2.0) == [], "a single refusal was reported already"
    assert refusals.totals == {"total": 8, "address": 1}


def test_clients_beyond_the_maximum_share_one_entry() -> None:
    """A flood from many addresses must bound both memory and audit lines."""
    refusals = Refusals()
    reported = [refusals.refused("total", str(number), 0.0) for number in range(10 * MAX_CLIENTS)]
    assert [one for one in reported if one is not None] == [*map(str, range(MAX_CLIENTS)), OTHERS]
    assert refusals.over(INTERVAL) == [More("total", OTHERS, 9 * MAX_CLIENTS - 1)]
    assert refusals.over(INTERVAL) == []
