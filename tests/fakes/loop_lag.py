"""Read what ``measured/sitecustomize.py`` records of a gateway's reactor: its longest turn since a reset."""

from __future__ import annotations

import struct
import time
from mmap import mmap
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from tests.fakes.measured.sitecustomize import FIELDS, SIZE, VARIABLE
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PROMISED = 20.0
"""Milliseconds: no turn of the reactor is longer (docs/attacks.md)."""
REPEATED = 3
"""How often a case is tried at most: the machine's own noise is not the gateway's."""
_FIELD = struct.Struct("=Q")


@frozen
class Lag:
    """The longest turn since the reset, in milliseconds; see ``measured/sitecustomize.py`` for what each means."""

    wall: float
    cpu: float
    stopped: float
    turns: int
    total: float
    """How long the reactor was in turns, the sum of all."""


class LongTurnError(AssertionError):
    """The reactor served nobody for longer than is promised."""


def run_again_after_a_long_turn(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test up to ``REPEATED`` times if nothing failed but the reactor's longest turn; a hook's body.

    A turn can be long because the machine took the processor from the gateway; then it is short the next time.
    """
    from _pytest.runner import runtestprotocol  # noqa: PLC0415 - the demonstration uses this file without pytest

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for left in reversed(range(REPEATED)):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = [report for report in reports if report.failed]
        if not left or not failed or not all(LongTurnError.__name__ in str(report.longrepr) for report in failed):
            break
        item._initrequest()  # type: ignore[attr-defined]  # as pytest-rerunfailures does: fixtures are made anew
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@define(eq=False)
class LoopLag:
    """The test's side of the shared memory."""

    path: Path
    _memory: mmap = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.path.write_bytes(bytes(SIZE))
        with self.path.open("r+b") as file:
            self._memory = mmap(file.fileno(), SIZE)

    @property
    def environ(self) -> dict[str, str]:
        """What a process is given to be measured; the folder of ``sitecustomize`` goes to the front of PYTHONPATH."""
        return {VARIABLE: str(self.path)}

    def reset(self) -> None:
        """Begin anew. The reactor must be alive: it does so with its next turn, which a caller may have to provoke."""
        _FIELD.pack_into(self._memory, 0, self._get("reset") + 1)

    def read(self, *, seconds: float = 60.0) -> Lag:
        """Wait for the end of the turn under way, then read; AssertionError if the turn does not end."""
        turns = self._get("turns")
        wait_until(
            lambda: not self._get("began") or self._get("turns") != turns, "the reactor's turn ends", seconds=seconds
        )
        if self._get("seen") != self._get("reset"):
            return Lag(0.0, 0.0, 0.0, 0, 0.0)
        wall, cpu, stopped, total = (self._get(name) / 1e6 for name in ("wall", "cpu", "stopped", "total"))
        return Lag(wall, cpu, stopped, self._get("turns"), total)

    def check(self) -> Lag:
        """Assert that no turn since the reset was longer than is promised."""
        lag = self.read()
        if lag.stopped > PROMISED:
            raise LongTurnError(f"the reactor served nobody for {lag.stopped:.1f} ms: {lag}")
        return lag

    @property
    def under_way(self) -> float:
        """For how many milliseconds the present turn has gone on; 0: the reactor waits."""
        began = self._get("began")
        return max(0.0, (time.monotonic_ns() - began) / 1e6) if began else 0.0

    def _get(self, name: str) -> int:
        return int(_FIELD.unpack_from(self._memory, 8 * FIELDS.index(name))[0])
