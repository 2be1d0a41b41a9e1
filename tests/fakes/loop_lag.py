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

PROMISED = 20.0
"""Milliseconds: no turn of the reactor is longer (docs/attacks.md)."""
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

    @property
    def under_way(self) -> float:
        """For how many milliseconds the present turn has gone on; 0: the reactor waits."""
        began = self._get("began")
        return max(0.0, (time.monotonic_ns() - began) / 1e6) if began else 0.0

    def _get(self, name: str) -> int:
        return int(_FIELD.unpack_from(self._memory, 8 * FIELDS.index(name))[0])
