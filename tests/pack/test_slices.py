"""Work in slices comes to the same result as work done at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from credgate.pack.slices import finish

if TYPE_CHECKING:
    from credgate.pack.slices import Sliced


def counting(slices: int) -> Sliced[int]:
    """Count."""
    for _ in range(slices):
        yield
    return slices


@pytest.mark.parametrize("slices", [0, 1, 5])
def test_finish_returns_the_result(slices: int) -> None:
    """However many slices there are."""
    assert finish(counting(slices)) == slices


def test_finish_raises_what_the_work_raises() -> None:
    """In any slice."""

    def failing() -> Sliced[int]:
        yield
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        finish(failing())
