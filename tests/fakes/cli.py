"""``credgate`` in the test's own process: click's test runner, with pytest's reactor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import frozen
from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from credgate.cli import control_client
from credgate.cli.main import main
from tests.fakes.control_gateway import within

if TYPE_CHECKING:
    import pytest


@frozen
class Result:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, parsed as JSON."""
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The error message of a command: exactly one line on standard error, here without the prefix."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("credgate: "), self.err
        return self.err.removeprefix("credgate: ").rstrip("\n")


def borrow_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make commands use the running reactor."""
    monkeypatch.setattr(
        control_client, "run_reactor", lambda work: blockingCallFromThread(reactor, lambda: ensureDeferred(work()))
    )


async def asked(*words: str, stdin: str = "") -> Result:
    """Run a command that uses a gateway, in a thread, while the reactor runs."""
    result: Result = await within(deferToThread(credgate, *words, stdin=stdin))
    return result


def credgate(*words: str, stdin: str = "") -> Result:
    """Run a command as its console script does."""
    result = CliRunner().invoke(main, words, input=stdin, prog_name="credgate")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)
