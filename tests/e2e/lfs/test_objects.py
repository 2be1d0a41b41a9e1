"""Real git-lfs against a real LFS server: what people do with it, through the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.lfs.conftest import oid_of
from tests.fakes.repositories import noise
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Door, Visit
    from tests.e2e.lfs.conftest import LfsForge

    EnterLfs = Callable[..., Visit]

SMALL = [b"object %d\n" % number * 100 for number in range(200)]


def test_two_hundred_small_objects_come_down(lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door, login: str) -> None:
    """Two batches of git-lfs's, eight transfers at a time."""
    path = lfs_forge.holding(*SMALL)
    box = enter_lfs([path], login=login).box
    box.git("clone", "-q", address(path), "clone").fine()
    for number, content in enumerate(SMALL):
        assert (box.home / "clone" / f"{number}.bin").read_bytes() == content
    lines = [line for line in door.gateway.audit() if line.get("operation") == "lfs-download"]
    assert {line["oid"] for line in lines} == {oid_of(content) for content in SMALL}
    assert all(line["decision"] == "allow" and line["size"] == line["bytes_down"] for line in lines)


def test_two_hundred_small_objects_go_up_and_come_down_elsewhere(
    lfs_forge: LfsForge, enter_lfs: EnterLfs, door: Door, login: str
) -> None:
    """Two batches upwards, pushed from one sandbox, cloned in another; one is larger than anything that is held."""
    path = lfs_forge.repositories.seeded()
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
    lines = [line for line in door.gateway.audit() if line.get("operation") == "lfs-upload"]
    assert {line["oid"] for line in lines} == {oid_of(content) for content in contents}
    assert all(line["decision"] == "allow" and line["size"] == line["bytes_up"] for line in lines)
    other = enter_lfs([{"repo": path, "access": "read"}]).box
    other.git("clone", "-q", address(path), "clone").fine()
    for number, content in enumerate(contents):
        assert (other.home / "clone" / f"{number}.bin").read_bytes() == content
