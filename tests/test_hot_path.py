"""The hot path stays short: a count of function calls, which is the same on any machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.calls import per_request

if TYPE_CHECKING:
    from pathlib import Path

MOST = 400
"""Calls of Python and C functions for one small discovery on kept connections, Twisted's own included."""


@pytest.mark.skipif("coverage" in sys.modules, reason="coverage calls functions of its own")
def test_small_discovery_makes_fewer_than_400_calls(tmp_path: Path) -> None:
    """Counted by cProfile in a real gateway process; the start and the stop cancel out."""
    counts = per_request(tmp_path, few=50, many=250)
    most = sorted(counts.items(), key=lambda item: -item[1])[:20]
    assert sum(counts.values()) < MOST, most
