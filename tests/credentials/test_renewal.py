"""How early a credential is replaced."""

from __future__ import annotations

import pytest

from credgate.credentials.renewal import early


@pytest.mark.parametrize(
    ("lifetime", "margin"), [(3600.0, 300.0), (7200.0, 300.0), (1200.0, 300.0), (600.0, 150.0), (8.0, 2.0)]
)
def test_by_five_minutes_or_a_quarter_of_a_short_life(lifetime: float, margin: float) -> None:
    """What lives for minutes cannot lose five of them."""
    assert early(lifetime) == margin
