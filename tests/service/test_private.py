"""A gateway for one command: in one directory, and gone with whoever started it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from credgate.config.schema import AuditConfig, Config, ControlConfig, PushPolicy
from credgate.service.private import ParentPipe, private

if TYPE_CHECKING:
    from collections.abc import Iterator


class Noted:
    """The reactor, but for its end."""

    def __init__(self) -> None:
        self.stopped: Deferred[None] = Deferred()

    def addReader(self, reader: object) -> None:
        """Read."""
        reactor.addReader(reader)  # type: ignore[attr-defined]

    def removeReader(self, reader: object) -> None:
        """Read no more."""
        reactor.removeReader(reader)  # type: ignore[attr-defined]

    def stop(self) -> None:
        """Note it."""
        self.stopped.callback(None)


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """Make a pipe; close what the test has not."""
    ends = list(os.pipe())
    yield ends
    for end in ends:
        os.close(end)


def test_it_lives_in_its_directory_alone() -> None:
    """What decides about pushes and forges stays; where it is reached and who may does not."""
    shared = evolve(
        Config(),
        policy=PushPolicy(max_refs=3),
        audit=AuditConfig(to="/var/log/credgate.jsonl"),
        control=ControlConfig(allow_uids=(7,)),
    )
    config = private(shared, "/run/x")
    assert (config.listen.control, config.listen.dns) == ("/run/x/control.sock", "")
    assert (config.listen.git, config.sessions.store) == ("tcp:0:interface=127.0.0.1", "memory:")
    assert config.control.allow_uids == ()
    assert config.limits == evolve(shared.limits, drain_timeout=0)  # nobody waits for what an orphan still transfers
    assert (config.policy, config.audit, config.forges) == (shared.policy, shared.audit, shared.forges)


@pytest_twisted.ensureDeferred
async def test_it_ends_when_nobody_holds_the_other_end(pipe: list[int]) -> None:
    """Words on the pipe are none of its business."""
    noted = Noted()
    leash = ParentPipe(noted, pipe[0])
    leash.startService()
    os.write(pipe[1], b"anything")
    leash.doRead()
    leash.doRead()
    assert not noted.stopped.called
    os.close(pipe.pop())
    await noted.stopped.addTimeout(10, reactor)  # type: ignore[arg-type]
    leash.stopService()


def test_what_cannot_be_read_is_an_end(pipe: list[int]) -> None:
    """A descriptor that is no pipe at all must not leave a gateway behind."""
    noted = Noted()
    leash = ParentPipe(noted, pipe[1])
    leash.startService()
    leash.doRead()
    assert noted.stopped.called
    assert (leash.fileno(), leash.logPrefix()) == (pipe[1], "leash")
    leash.stopService()
