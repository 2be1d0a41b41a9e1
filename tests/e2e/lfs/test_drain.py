"""SIGTERM while git-lfs transfers objects: a transfer is completed, or refused and never complete at the forge."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from attrs import define

from tests.e2e.lfs.conftest import oid_of
from tests.fakes.repositories import MIB, noise
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.e2e.conftest import Door, Enter, StartGateway
    from tests.e2e.lfs.conftest import LfsForge
    from tests.fakes.recorder import Hold
    from tests.fakes.sandbox import Ran, Sandbox

    Begin = Callable[[str], "Held"]

LONG, SHORT = "1h", "1s"


@define
class Held:
    """An upload that is paused at the forge while the gateway stops."""

    door: Door
    box: Sandbox
    path: str
    content: bytes
    hold: Hold
    process: subprocess.Popen[str]

    def finish(self) -> Ran:
        """Wait for git-lfs's end."""
        return self.box.finish(self.process, seconds=60)


@pytest.fixture
def uploading(lfs_forge: LfsForge, start_gateway: StartGateway, enter: Enter) -> Begin:
    """Begin an upload of more than the kernel holds on its way, under a gateway with this ``drain_timeout``."""

    def begin(drain_timeout: str) -> Held:
        lfs_forge.plain.clear()
        settings = {"limits": {"drain_timeout": drain_timeout}}
        door = start_gateway(lfs_forge.plain.url, lfs_forge.server.secret, settings=settings)
        path, content = lfs_forge.repositories.seeded(), noise(32)
        box = enter([path], door=door).box
        box.git("lfs", "install", "--skip-repo").fine()
        box.git("clone", "-q", address(path), "clone").fine()
        box.git("lfs", "track", "*.bin", cwd="clone").fine()
        (box.home / "clone" / "0.bin").write_bytes(content)
        box.git("add", ".", cwd="clone").fine()
        box.git("commit", "-q", "-m", "object", cwd="clone").fine()
        hold = lfs_forge.plain.hold("up", 2 * MIB)
        held = Held(door, box, path, content, hold, box.begin("git", "lfs", "push", "origin", "main", cwd="clone"))
        assert hold.reached.wait(30)
        return held

    return begin


def whole(lfs_forge: LfsForge, held: Held) -> bool:
    """Whether the object is at the forge."""
    place = lfs_forge.lfs.object(held.path, oid_of(held.content))
    return place.exists() and place.read_bytes() == held.content


def test_running_upload_is_completed_and_not_sent_again(lfs_forge: LfsForge, uploading: Begin) -> None:
    """git-lfs asks for its verifying elsewhere if it likes, and finds no listener; the next push is done at once."""
    held = uploading(LONG)
    try:
        held.door.stop()
    finally:
        held.hold.release()
    held.finish()
    assert held.door.ended() == -signal.SIGTERM
    assert whole(lfs_forge, held)
    gateway = held.door.gateway
    assert gateway.audited(repo=held.path, operation="lfs-upload")["reason"] == "allowed"
    gateway.start()
    held.box.git("lfs", "push", "origin", "main", cwd="clone").fine()
    sent = [one for one in gateway.audit() if one.get("operation") == "lfs-upload" and one["decision"] == "allow"]
    assert len(sent) == 1


def test_upload_over_the_drain_timeout_is_not_stored(lfs_forge: LfsForge, uploading: Begin) -> None:
    """git-lfs is asked to come back in a minute; after the restart a push works."""
    held = uploading(SHORT)
    gateway = held.door.gateway
    try:
        held.door.stop()
        assert held.door.ended() == -signal.SIGTERM
        assert gateway.audited(repo=held.path, operation="lfs-batch", reason="shutdown")["status"] == 429
        assert held.process.poll() is None, "it waits"
    finally:
        os.killpg(held.process.pid, signal.SIGKILL)
        held.hold.release()
        held.process.communicate()
    cut = gateway.audited(repo=held.path, operation="lfs-upload")
    assert (cut["reason"], cut["status"]) == ("shutdown", 503)
    assert not whole(lfs_forge, held)
    gateway.start()
    held.box.git("lfs", "push", "origin", "main", cwd="clone").fine()
    assert whole(lfs_forge, held)
