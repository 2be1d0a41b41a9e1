"""Real git-lfs against a real LFS server: what people do with it, through the gateway."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tests.e2e.lfs.conftest import oid_of
from tests.fakes.repositories import noise
from tests.fakes.sandbox import address
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Door, Visit
    from tests.e2e.lfs.conftest import LfsForge
    from tests.fakes.sandbox import Sandbox

    EnterLfs = Callable[..., Visit]

SMALL = [b"object %d\n" % number * 100 for number in range(200)]


def transfers(door: Door, operation: str, count: int) -> list[dict[str, Any]]:
    """Read the audit lines of so many objects; the last is written after its answer."""

    def found() -> list[dict[str, Any]]:
        return [line for line in door.gateway.audit() if line.get("operation") == operation]

    wait_until(lambda: len(found()) >= count, f"{count} lines of {operation}")
    return found()


def test_two_hundred_small_objects_are_downloaded(
    lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door, login: str
) -> None:
    """Two batches of git-lfs's, eight transfers at a time."""
    path = lfs_forge.holding(*SMALL)
    box = enter_lfs([path], login=login).box
    box.git("clone", "-q", address(path), "clone").fine()
    for number, content in enumerate(SMALL):
        assert (box.home / "clone" / f"{number}.bin").read_bytes() == content
    lines = transfers(door, "lfs-download", len(SMALL))
    assert {line["oid"] for line in lines} == {oid_of(content) for content in SMALL}
    assert all(line["decision"] == "allow" and line["size"] == line["bytes_down"] for line in lines)


def test_two_hundred_small_objects_are_uploaded_and_downloaded_elsewhere(
    lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door, login: str
) -> None:
    """Two batches upwards, pushed from one sandbox, cloned in another; one is larger than anything that is held."""
    path = lfs_forge.seeded()
    box = enter_lfs([path], login=login).box
    box.git("clone", "-q", address(path), "clone").fine()
    box.git("lfs", "track", "*.bin", cwd="clone").fine()
    contents = [*SMALL, noise(64)]
    for number, content in enumerate(contents):
        (box.home / "clone" / f"{number}.bin").write_bytes(content)
    box.git("add", ".", cwd="clone").fine()
    box.git("commit", "-q", "-m", "objects", cwd="clone").fine()
    box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    for content in contents:
        assert lfs_forge.lfs.object(path, oid_of(content)).read_bytes() == content
    lines = transfers(door, "lfs-upload", len(contents))
    assert {line["oid"] for line in lines} == {oid_of(content) for content in contents}
    assert all(line["decision"] == "allow" and line["size"] == line["bytes_up"] for line in lines)
    other = enter_lfs([{"repo": path, "access": "read"}]).box
    other.git("clone", "-q", address(path), "clone").fine()
    for number, content in enumerate(contents):
        assert (other.home / "clone" / f"{number}.bin").read_bytes() == content


MANY = int(os.environ.get("CREDGATE_TEST_LFS_OBJECTS", "110"))
"""Objects each way: more than one batch of git-lfs's; with 1000 the test takes some 20 seconds for each login."""


def configuration(box: Sandbox, clone: str) -> bytes:
    """Read the repository's own configuration, in which git-lfs has noted already that it is one of its own."""
    box.git("config", "lfs.repositoryformatversion", "0", cwd=clone).fine()
    return (box.home / clone / ".git" / "config").read_bytes()


def test_object_takes_one_request_and_changes_no_configuration(
    lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door, login: str
) -> None:
    """Up, verified and down again: no link is first tried without a login, and none is remembered by its address."""
    path = lfs_forge.seeded()
    box = enter_lfs([path], login=login).box
    box.git("config", "--global", "lfs.locksverify", "false").fine()
    box.git("clone", "-q", address(path), "up").fine()
    box.git("lfs", "track", "*.bin", cwd="up").fine()
    contents = [b"object %d of many\n" % number for number in range(MANY)]
    for number, content in enumerate(contents):
        (box.home / "up" / f"{number}.bin").write_bytes(content)
    box.git("add", ".", cwd="up").fine()
    box.git("commit", "-q", "-m", "objects", cwd="up").fine()
    before = configuration(box, "up")
    door.gateway.forget_audit()
    box.git("push", "-q", "origin", "HEAD:main", cwd="up").fine()
    assert configuration(box, "up") == before
    box.git("clone", "-q", "--no-checkout", address(path), "down").fine()
    before = configuration(box, "down")
    box.git("checkout", "-q", "main", cwd="down").fine()
    assert configuration(box, "down") == before
    assert [(box.home / "down" / f"{number}.bin").read_bytes() for number in range(MANY)] == contents
    for operation in ("lfs-upload", "lfs-verify", "lfs-download"):
        told = [(line["status"], line["oid"]) for line in transfers(door, operation, MANY)]
        assert sorted(told) == sorted((200, oid_of(content)) for content in contents), operation
    lines = door.gateway.audit()
    discoveries = [line for line in lines if line.get("operation", "").endswith("-advertisement")]
    assert len([line for line in lines if line.get("status") == 401]) <= len(discoveries)
