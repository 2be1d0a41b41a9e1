"""``credgate run`` and its supervisor as processes of their own, beside a gateway in the test's process."""

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
"""Seconds that one of these processes may take."""


def program(module: str, *words: str, given: str = "") -> list[str]:
    """Return the command that runs ``main(given)`` of one of credgate's modules."""
    return [sys.executable, "-P", "-c", START.format(module, given), str(SOURCE), *words]


def command(*words: str, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Any:
    """Run ``credgate WORDS`` and wait for its end."""
    whole = program("credgate.cli.main", *words)
    given = {**os.environ, **(environ or {})}
    return subprocess.run(whole, capture_output=True, text=True, timeout=LIMIT, env=given, cwd=cwd, check=False)


@define
class Wrapper:
    """A supervisor process, and what ``credgate run`` does with it."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, request: Mapping[str, Any] | None, *, fds: Sequence[int] = ()) -> Wrapper:
        """Start a supervisor and send it a request; with None, nothing is sent."""
        wrapper = cls(
            subprocess.Popen(
                program("credgate.cli.run.supervisor"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=fds,
            )
        )
        assert wrapper.process.stdin is not None
        if request is not None:
            wrapper.process.stdin.write(json.dumps(request) + "\n")
            wrapper.process.stdin.flush()
        return wrapper

    def result(self) -> dict[str, Any]:
        """Wait for the supervisor's result."""
        assert self.process.stdout is not None
        result: dict[str, Any] = json.loads(self.process.stdout.readline())
        return result

    def end(self) -> tuple[int, str]:
        """Close the pipe and wait; return the exit status and standard error."""
        _, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, err


def request(socket: Path | None, *repos: str, **more: Any) -> dict[str, Any]:
    """Return the request of ``credgate run`` to its supervisor."""
    session = {"repos": list(repos), "label": "run"}
    return {"socket": str(socket) if socket else None, "config": None, "session": session, "channel": None} | more
