"""Reading the clocks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credgate.service import clock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Read the boot id anew: it is kept for the process."""
    clock.boot_id.cache_clear()
    yield
    clock.boot_id.cache_clear()


def test_a_reading_is_of_this_boot_and_of_now() -> None:
    """The kernel's own values, taken around the reading."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    reading = clock.read_lease_clock()
    after = time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    assert reading.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert before[0] <= reading.boot <= after[0]
    assert before[1] <= reading.wall <= after[1]
    assert reading.usable()


def test_the_boot_id_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hot path reads the clock for every request and must not read files."""
    first = clock.boot_id()
    monkeypatch.setattr(clock, "BOOT_ID", tmp_path / "missing")
    assert clock.boot_id() == first


@pytest.mark.parametrize("content", [None, b"", b"\xff\xff"])
def test_without_a_boot_id_every_process_is_a_boot_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    """Then the wall clock bridges restarts, rather than a boot clock that may be another one."""
    path = tmp_path / "boot_id"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(clock, "BOOT_ID", path)
    first = clock.boot_id()
    assert first.startswith("process-")
    assert clock.boot_id() == first
    clock.boot_id.cache_clear()
    assert clock.boot_id() not in ("process-", first)
