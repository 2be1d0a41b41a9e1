"""A forge with a real LFS server beside its git, a gateway before it, and sandboxes with git-lfs.

sandbox's git-lfs -> [recorder: front] -> twistd credgate -> [recorder: forge] -> nginx -> giftless
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import define

from tests.e2e.conftest import Door, Visit, random_secret
from tests.fakes.giftless import Giftless
from tests.fakes.needs import not_here
from tests.fakes.nginx import NginxForge, declined
from tests.fakes.recorder import Recorder
from tests.fakes.repositories import Repositories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import Enter, StartGateway

HERE = Path(__file__).parent

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name what these tests need; the list has those of other folders, too."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.needs("git-lfs", "nginx", "fcgiwrap", "giftless"))


def oid_of(content: bytes) -> str:
    """Name an object as LFS does."""
    return hashlib.sha256(content).hexdigest()


@define(eq=False)
class LfsForge:
    """The forge with its LFS server, seen through its recorder."""

    server: NginxForge
    lfs: Giftless
    repositories: Repositories
    plain: Recorder

    def holding(self, *contents: bytes, path: str = "") -> str:
        """Make a repository that has these objects as files ``0.bin``, ``1.bin``...; its path."""
        files = {".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n"}
        for number, content in enumerate(contents):
            pointer = POINTER.format(oid=oid_of(content), size=len(content))
            files[f"{number}.bin"] = pointer.encode()
        path = self.repositories.seeded(path, files=[files])
        for content in contents:
            self.store(path, content)
        return path

    def seeded(self) -> str:
        """Make a repository without objects; its path.

        With its folder at the LFS server: of two first uploads at a time, giftless answers 500 to one, because both
        make the folder.
        """
        path = self.repositories.seeded()
        self.lfs.object(path, "0").parent.mkdir(parents=True, exist_ok=True)
        return path

    def store(self, path: str, content: bytes) -> Path:
        """Put an object where the LFS server has it; where that is."""
        place = self.lfs.object(path, oid_of(content))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place


@pytest.fixture(scope="session")
def lfs_forge(scratch: Path) -> Iterator[LfsForge]:
    """Start it, once a run."""
    if declined():
        not_here("LFS needs nginx, which CREDGATE_TEST_FORGE declines")
    place, root = scratch / "lfs", scratch / "lfs-repositories"
    place.mkdir()
    root.mkdir()
    with contextlib.ExitStack() as stack:
        lfs = Giftless(place)
        stack.callback(lfs.close)
        server = NginxForge(root, random_secret(), place, lfs.locations)
        stack.callback(server.close)
        plain = Recorder(server.port)
        stack.callback(plain.close)
        yield LfsForge(server, lfs, Repositories(root), plain)


@pytest.fixture
def door(lfs_forge: LfsForge, start_gateway: StartGateway) -> Door:
    """Start a gateway before it; the records are empty."""
    lfs_forge.plain.clear()
    return start_gateway(lfs_forge.plain.url, lfs_forge.server.secret)


@pytest.fixture
def enter_lfs(enter: Enter, door: Door) -> Callable[..., Visit]:
    """Make a session and a sandbox with git-lfs."""

    def visit(repos: object, **more: object) -> Visit:
        made = enter(repos, **{"door": door, **more})  # type: ignore[arg-type]
        made.box.git("lfs", "install", "--skip-repo").fine()
        return made

    return visit
