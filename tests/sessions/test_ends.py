"""The heap of ends, beside a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from credgate.sessions.ends import Ends

Step = tuple[str, str, float]
STEPS = st.lists(st.tuples(st.sampled_from(["put", "drop"]), st.sampled_from("abcdefghijkl"), st.integers(0, 20)))


@given(STEPS)
def test_earliest_end_comes_first_after_arbitrary_operations(steps: list[Step]) -> None:
    """Compared with a naive implementation after each step."""
    ends, plain = Ends(), dict[str, float]()
    for step, key, end in steps:
        if step == "put":
            ends.put(key, end)
            plain[key] = end
        else:
            ends.drop(key)
            plain.pop(key, None)
        earliest = min((end, key) for key, end in plain.items())[1] if plain else None
        assert (ends.first(20), len(ends)) == (earliest, len(plain))
    order = sorted((end, key) for key, end in plain.items())
    for end, key in order:
        assert ends.first(end - 0.5) is None
        assert ends.first(end) == key
        ends.drop(key)
    assert (ends.first(99.0), len(ends), ends._at) == (None, 0, {})


def test_dropped_ids_use_no_memory() -> None:
    """A gateway creates and revokes sessions for years."""
    ends = Ends()
    for number in range(1000):
        ends.put(str(number), 86400.0 + number)
        if number >= 10:
            ends.drop(str(number - 10))
    assert (len(ends), len(ends._heap), len(ends._at)) == (10, 10, 10)
    ends.clear()
    assert (len(ends), ends.first(1e9)) == (0, None)
