"""``credgate`` run inside the test's own process: click's runner, and pytest's reactor instead of one that ends."""

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
class Told:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line on standard error that a command failed with, without the program's name."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("credgate: "), self.err
        return self.err.removeprefix("credgate: ").rstrip("\n")


def borrow_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands use the reactor that runs."""
    monkeypatch.setattr(
        control_client, "drive", lambda work: blockingCallFromThread(reactor, lambda: ensureDeferred(work()))
    )


async def asked(*words: str, stdin: str = "") -> Told:
    """Run a command that asks a gateway: in a thread, while the reactor goes on."""
    told: Told = await within(deferToThread(credgate, *words, stdin=stdin))
    return told


def credgate(*words: str, stdin: str = "") -> Told:
    """Run a command as its console script would."""
    result = CliRunner().invoke(main, words, input=stdin, prog_name="credgate")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Told(result.exit_code, result.stdout, result.stderr)
