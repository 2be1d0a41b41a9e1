"""Offers of a newer git server that bypass the gateway: bundle and pack URIs, promisor remotes.

Each would have the client download from an address that the forge names. The forge here is ``git http-backend`` of the
other git (see ``.ci/second-git``), because the machine's may know less; the client is the other git, too. What is
offered is shown first: the same client, asking the forge itself, does go elsewhere.
"""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credgate.git.pktline import DELIMITER, FLUSH, encode
from tests.fakes.forge import PythonForge
from tests.fakes.needs import not_here
from tests.fakes.recorder import Recorder
from tests.fakes.repositories import Repositories, git
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Enter, StartGateway, Visit

ELSEWHERE = "http://127.0.0.2:9"
"""Where nobody listens: going there is seen in the client's words."""


@pytest.fixture
def other_git() -> Path:
    """Return the folder of the other git."""
    folder = Path(os.environ.get("CREDGATE_TEST_GIT") or Path(__file__).parents[2] / ".tox/second-git/bin")
    if not (folder / "git").exists():
        not_here(f"no other git in {folder}, see .ci/second-git")
    return folder


@pytest.fixture
def newer(other_git: Path, tmp_path: Path) -> Iterator[tuple[PythonForge, Recorder]]:
    """Start a forge of the other git, with a recorder before it."""
    for name in ("newer", "repositories"):
        (tmp_path / name).mkdir()
    path = f"{other_git}:{os.environ['PATH']}"
    forge = PythonForge(tmp_path / "repositories", "ghp_" + "n" * 36, tmp_path / "newer", path)
    recorder = Recorder(forge.port)
    yield forge, recorder
    recorder.close()
    forge.close()


def offers(repositories: Repositories) -> str:
    """Make a repository that offers downloads from elsewhere, as its forge would configure it; its path."""
    path = repositories.seeded()
    blob = git("-C", repositories.folder(path), "rev-parse", "main:README").decode()
    for key, value in (
        ("uploadpack.advertiseBundleURIs", "true"),
        ("bundle.version", "1"),
        ("bundle.mode", "all"),
        ("bundle.one.uri", f"{ELSEWHERE}/one.bundle"),
        ("uploadpack.blobPackfileUri", f"{blob} {'2' * 40} {ELSEWHERE}/pack"),
        ("promisor.advertise", "true"),  # git 2.47 does not know this one yet
        ("remote.there.promisor", "true"),
        ("remote.there.url", f"{ELSEWHERE}/there"),
    ):
        git("-C", repositories.folder(path), "config", key, value)
    return path


def ask(visit: Visit, port: int, path: str, body: bytes) -> bytes:
    """Send a request of version 2; its answer's body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    head = {
        "Authorization": f"Bearer {visit.lease.line}",
        "Content-Type": "application/x-git-upload-pack-request",
        "Git-Protocol": "version=2",
    }
    connection.request("POST", f"/git/{path}.git/git-upload-pack", body, head)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def test_downloads_from_elsewhere_are_not_offered(
    newer: tuple[PythonForge, Recorder], other_git: Path, enter: Enter, start_gateway: StartGateway
) -> None:
    """The forge offers them and its own client takes them; through the gateway it sees none, and refused if it asks."""
    forge, recorder = newer
    path = offers(Repositories(forge.root))
    door = start_gateway(url=recorder.url, secret=forge.secret)
    visit = enter([path], login="bearer", door=door)
    willing = ("-c", "transfer.bundleURI=true", "-c", "fetch.uriProtocols=http", "-c", "protocol.version=2")
    version = visit.box.run(other_git / "git", "--version").fine()

    own = recorder.url.replace("http://", f"http://x-access-token:{forge.secret}@")
    direct = visit.box.run(other_git / "git", *willing, "clone", f"{own}/{path}.git", "direct")
    assert ELSEWHERE.removeprefix("http://") in direct.err or "127.0.0.2" in direct.err, f"{version}\n{direct.err}"
    assert b"command=bundle-uri" in recorder.up
    for word in (b"bundle-uri", b"packfile-uris"):
        assert word in recorder.down

    recorder.clear()
    door.front.clear()
    visit.box.run(other_git / "git", *willing, "clone", address(path), "clone").fine()
    for word in (b"bundle-uri", b"packfile-uris"):
        assert word in recorder.down
    for word in (b"bundle-uri", b"packfile-uris", b"promisor-remote", ELSEWHERE.encode()):
        assert word not in door.front.down
        assert word not in recorder.up


def test_downloads_from_elsewhere_are_refused(
    newer: tuple[PythonForge, Recorder], enter: Enter, start_gateway: StartGateway
) -> None:
    """A client that requests it anyway is refused without a byte of an answer; a plain request is served."""
    forge, recorder = newer
    path = offers(Repositories(forge.root))
    door = start_gateway(url=recorder.url, secret=forge.secret)
    visit = enter([path], login="bearer", door=door)
    want = encode(b"want " + Repositories(forge.root).head(path).encode())
    asked = encode(b"command=fetch")

    def fetch(keys: bytes = b"", argument: bytes = b"") -> bytes:
        body = asked + keys + DELIMITER + argument + want + encode(b"done") + FLUSH
        return ask(visit, door.gateway.port, path, body)

    assert b"PACK" in fetch()
    recorder.clear()
    for refused, name in (
        (fetch(argument=encode(b"packfile-uris http")), b"packfile-uris"),
        (fetch(keys=encode(b"promisor-remote=there")), b"promisor-remote"),
        (ask(visit, door.gateway.port, path, encode(b"command=bundle-uri") + FLUSH), b"ls-refs, fetch and object-info"),
    ):
        assert refused[4:].startswith(b"ERR credgate: ")
        assert name in refused
        assert b"PACK" not in refused
    for word in (b"bundle-uri", b"packfile-uris", b"promisor-remote"):
        assert word not in recorder.up
    assert ELSEWHERE.encode() not in recorder.down
