"""Reloading: whole or not at all, on SIGHUP and on request."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from credgate.config.environment import GITHUB
from credgate.config.schema import AppConfig, Config, DnsConfig, ForgeConfig, Limits, PushPolicy
from credgate.errors import ConfigError
from credgate.loading.load import config_hash
from credgate.service.reload import Reload

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = Config()
NEW = evolve(OLD, dns=DnsConfig(allow=("new.example",)))


class Rig:
    """A configuration file that the test writes, and a part that takes it up."""

    def __init__(self) -> None:
        self.written: Config | Exception = NEW
        self.taken: list[Config] = []
        self.asked: Deferred[None] = Deferred()
        self.reloading = Reload(OLD, self._read, {"dns": self._take_up}, reactor)

    def _read(self) -> Config:
        if isinstance(self.written, Exception):
            raise self.written
        return self.written

    async def _take_up(self, config: Config) -> None:
        if config.dns.allow == ("bad.example",):
            raise ConfigError("bad", key="dns.allow")
        self.taken.append(config)

    async def hang_up(self) -> None:
        """Send this process SIGHUP and let it work."""
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(20):
            await deferLater(reactor, 0.01, lambda: None)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Start and stop one."""
    made = Rig()
    made.reloading.startService()
    yield made
    made.reloading.stopService()


@ensureDeferred
async def test_a_part_takes_up_what_was_read(rig: Rig) -> None:
    """And it is said which configuration is in force."""
    answer = await rig.reloading.reload()
    assert rig.taken == [NEW]
    assert answer == {"status": "reloaded", "configuration": config_hash(NEW), "restart_needed": []}


@ensureDeferred
async def test_what_waits_for_a_restart_is_named(rig: Rig) -> None:
    """A changed limit is not in force, nor is a new forge."""
    rig.written = evolve(NEW, limits=Limits(max_head=2048))
    assert (await rig.reloading.reload())["restart_needed"] == ["limits"]
    rig.written = evolve(NEW, forges={"x": ForgeConfig("x")})
    assert (await rig.reloading.reload())["restart_needed"] == ["forges"]


ANOTHER = evolve(GITHUB, credential="file:///token")


@pytest.mark.parametrize(
    ("before", "now", "waits"),
    [
        (evolve(GITHUB, credential="env://GITHUB_TOKEN"), GITHUB, False),
        (GITHUB, evolve(GITHUB, credential="env://GH_TOKEN"), False),
        (ANOTHER, ANOTHER, False),
        (GITHUB, ANOTHER, True),
        (ANOTHER, evolve(ANOTHER, credential="file:///other"), True),
        (evolve(GITHUB, credential="env://GITHUB_TOKEN"), ANOTHER, True),
        (ForgeConfig("lab"), ForgeConfig("lab", credential="env://GITHUB_TOKEN"), True),
        (ForgeConfig("lab", credentials={"a/*": "env://A"}), ForgeConfig("lab", credentials={"a/*": "env://B"}), True),
        (ForgeConfig("lab", credentials={"a/*": "env://A"}), ForgeConfig("lab", credentials={"a/*": "env://A"}), False),
        (evolve(GITHUB, app=AppConfig("1", "env://A")), evolve(GITHUB, app=AppConfig("1", "cmd://b")), True),
    ],
)
@ensureDeferred
async def test_another_reference_waits_for_a_restart(before: ForgeConfig, now: ForgeConfig, *, waits: bool) -> None:
    """Of a forge, a pattern or a minting table; but the variable that was the default is removed at the start."""
    rig = Rig()
    rig.reloading._config = evolve(OLD, forges={before.name: before})
    rig.written = evolve(NEW, forges={now.name: now})
    assert (await rig.reloading.reload())["restart_needed"] == (["forges"] if waits else [])


@ensureDeferred
async def test_policy_waits_for_a_restart_where_no_part_takes_it_up(rig: Rig) -> None:
    """A section that is forgotten must be named, not believed in."""
    rig.written = evolve(NEW, policy=PushPolicy(max_refs=1))
    assert (await rig.reloading.reload())["restart_needed"] == ["policy"]
    rig.reloading._parts["policy"] = rig._take_up
    assert (await rig.reloading.reload())["restart_needed"] == []
    assert rig.taken[-1].policy == PushPolicy(max_refs=1)


@ensureDeferred
async def test_a_part_behind_one_that_refuses_is_not_asked(rig: Rig) -> None:
    """Names that cannot be used leave the rules of pushes alone, too: 422 means that nothing changed."""
    ruled: list[Config] = []

    async def take_up(config: Config) -> None:
        ruled.append(config)

    rig.reloading._parts["policy"] = take_up
    rig.written = evolve(NEW, dns=DnsConfig(allow=("bad.example",)), policy=PushPolicy(max_refs=1))
    with pytest.raises(ConfigError):
        await rig.reloading.reload()
    assert ruled == []
    rig.written = evolve(NEW, policy=PushPolicy(max_refs=1))
    await rig.reloading.reload()
    assert ruled == [rig.written]


@pytest.mark.parametrize("written", [ConfigError("no"), evolve(NEW, dns=DnsConfig(allow=("bad.example",)))])
@ensureDeferred
async def test_what_cannot_be_used_changes_nothing(rig: Rig, written: Any) -> None:
    """Neither a file that does not load nor a section that its part refuses; the next good one is taken up."""
    rig.written = written
    with pytest.raises(ConfigError):
        await rig.reloading.reload()
    assert rig.taken == []
    rig.written = NEW
    await rig.reloading.reload()
    assert rig.taken == [NEW]


@ensureDeferred
async def test_sighup_reloads(rig: Rig) -> None:
    """Its default would end the process; a bad file is logged and the old configuration stays."""
    await rig.hang_up()
    assert rig.taken == [NEW]
    rig.written = ConfigError("no")
    await rig.hang_up()
    assert rig.taken == [NEW]


def test_sighup_is_as_before_at_the_end() -> None:
    """Whoever runs the service may have a use for it."""
    before = signal.getsignal(signal.SIGHUP)
    made = Rig()
    made.reloading.startService()
    assert signal.getsignal(signal.SIGHUP) is not before
    made.reloading.stopService()
    assert signal.getsignal(signal.SIGHUP) is before
