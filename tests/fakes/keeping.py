"""``credgate run`` and its keeper as real processes, beside a gateway in the test's own: who speaks to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define

import credgate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCE = Path(credgate.__file__).parents[1]
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from {0} import main; sys.exit(main({1}))"
LIMIT = 60
"""Seconds that any of them may take."""


def program(module: str, *words: str, given: str = "") -> list[str]:
    """Return the words that run ``main(given)`` of one of credgate's modules, from where the tests have it."""
    return [sys.executable, "-P", "-c", START.format(module, given), str(SOURCE), *words]


def command(*words: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Any:
    """Run ``credgate WORDS`` to its end."""
    whole = program("credgate.cli.main", *words)
    given = {**os.environ, **(environ or {})}
    return subprocess.run(whole, capture_output=True, text=True, timeout=LIMIT, env=given, cwd=cwd, check=False)


@define
class Wrapper:
    """The keeper's other side: what ``credgate run`` is to it."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, orders: Mapping[str, Any] | None, *, fds: Sequence[int] = ()) -> Wrapper:
        """Start a keeper and tell it what is wanted; None: leave without a word."""
        begun = cls(
            subprocess.Popen(
                program("credgate.cli.run.supervisor"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=fds,
            )
        )
        assert begun.process.stdin is not None
        if orders is not None:
            begun.process.stdin.write(json.dumps(orders) + "\n")
            begun.process.stdin.flush()
        return begun

    def told(self) -> dict[str, Any]:
        """Wait for its line."""
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def end(self) -> tuple[int, str]:
        """Let go of it, as whoever ends does; its exit status and what it complained of."""
        _, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, err


def orders(socket: Path | None, *repos: str, **more: Any) -> dict[str, Any]:
    """Say what ``credgate run`` says to its keeper."""
    session = {"repos": list(repos), "label": "run"}
    return {"socket": str(socket) if socket else None, "config": None, "session": session, "door": None} | more
