"""``kill -9`` at any moment: what was acknowledged holds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from credgate.service.clock import read_lease_clock
from credgate.sessions.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]
KILLS = 30


class Acknowledged:
    """What the killed processes have said, and so promised."""

    def __init__(self) -> None:
        self.created: set[str] = set()
        self.revoked: set[str] = set()

    def note(self, line: str) -> None:
        """Read one line of a child."""
        sign, name = line[0], line[1:].strip()
        assert sign in "+-", line
        (self.created if sign == "+" else self.revoked).add(name)


def run_and_kill(told: IO[str], said: IO[str], lines: int, acknowledged: Acknowledged) -> None:
    """Start a child, let it acknowledge some changes, kill it, and read what it said before it died."""
    told.write("go\n")
    told.flush()
    pid = 0
    count = 0
    while (line := said.readline()) != "dead\n":
        assert line, "the parent of the children died"
        if line.startswith("pid "):  # may come after the child's first words
            pid = int(line[4:])
        else:
            acknowledged.note(line)
            count += 1
        if pid and count >= lines:
            os.kill(pid, signal.SIGKILL)
            lines = sys.maxsize


def test_thirty_kills_lose_no_acknowledged_create_or_revoke(tmp_path: Path) -> None:
    """Each life goes on with the store of the one before; the file is judged whole by integrity_check after each.

    What was under way when the kill came may be there or not: at most the three creates and one revoke of a round.
    """
    path, acknowledged = tmp_path / "sessions.db", Acknowledged()
    chance = random.Random(20)
    with subprocess.Popen(
        [sys.executable, Path(__file__).parents[1] / "fakes" / "acknowledging.py", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as children:
        assert children.stdin is not None
        assert children.stdout is not None
        unsaid: set[str] = set()
        for _ in range(KILLS):
            run_and_kill(children.stdin, children.stdout, chance.randrange(1, 40), acknowledged)
            store = SqliteStore(path)
            found = {session.id for session in store.open(read_lease_clock())}
            store.close()
            assert store.damaged == ()
            # A revoke that was on disk but not yet said is known by its create only.
            missing = acknowledged.created - acknowledged.revoked - found
            assert len(missing - unsaid) <= 1
            unsaid |= missing
            assert found & acknowledged.revoked == set()
            assert len(found - acknowledged.created) <= 3 * KILLS
        children.stdin.close()
    assert children.returncode == 0
    assert len(acknowledged.revoked) > KILLS
