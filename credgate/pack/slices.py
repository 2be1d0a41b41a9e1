"""Long work as a generator: it yields after each few milliseconds, and returns its result at the end.

A caller in a thread that other sessions wait for runs one slice at a time (``service/digest.py``). ``finish`` runs all
of it at once.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Sliced = Generator[None, None, T]
"""Work whose result is a ``T``."""


def finish(work: Sliced[T]) -> T:
    """Run ``work`` to its end and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as ended:
            result: T = ended.value
            return result
