"""Interrupted transfers: a forge or a sandbox that disconnects, and a forge that answers before the end.

A truncated pack never looks complete to the other side, no ref moves, and each end is audited with its refs.
"""

from __future__ import annotations

import http.client
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.pushing import Desk
from tests.fakes.recorder import Recorder
from tests.fakes.repositories import noise
from tests.fakes.sandbox import address
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

MIB = 1024 * 1024
SIZE = 12
"""In MiB: more than all buffers on the path hold."""
REF = "refs/heads/agent"


def sit(enter: Enter, door: Door, repos: Repositories, path: str = "") -> Desk:
    """Start a session with more to push than all buffers hold."""
    path = path or repos.seeded()
    visit = enter([path], login="bearer", door=door)
    desk = Desk(visit.box, visit.lease, door.gateway, repos, path)
    desk.local("branch", "noise", desk.commit("main", files={"noise": noise(SIZE)}))
    return desk


@pytest.fixture
def middle(forge: Forge) -> Iterator[Recorder]:
    """Put a proxy before the forge that a test may close."""
    recorder = Recorder(forge.server.port)
    yield recorder
    recorder.close()


def test_forge_disconnects_during_a_fetch(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, middle: Recorder
) -> None:
    """The clone fails and leaves no repository."""
    path = repos.seeded(files=[{"noise": noise(SIZE)}])
    box = enter([path], door=start_gateway(url=middle.url)).box
    hold = middle.hold("down", 4 * MIB)
    clone = box.begin("git", "clone", address(path), "clone")
    assert hold.reached.wait(60)
    middle.close()
    said = box.finish(clone)
    assert said.code != 0
    assert not (box.home / "clone").exists()


def test_forge_disconnects_during_a_push(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, middle: Recorder
) -> None:
    """Git gets a report for its ref after it has sent everything. No ref moves."""
    desk = sit(enter, start_gateway(url=middle.url), repos)
    before = desk.refs()
    hold = middle.hold("up", 4 * MIB)
    push = desk.box.begin("git", "push", "origin", "noise:main", cwd="work")
    assert hold.reached.wait(60)
    middle.close()
    said = desk.box.finish(push)
    assert said.code == 1
    assert "! [remote rejected] noise -> main (credgate: " in said.err
    assert "Everything up-to-date" not in said.err
    assert desk.refs() == before
    assert desk.audited("refs/heads/main", decision="deny")["refs/heads/main"]["verb"] == "update"


@pytest.mark.parametrize("ref", ["refs/heads/main", REF], ids=["walked", "unwalked"])
def test_sandbox_disconnects_during_a_push(
    repos: Repositories, enter: Enter, door: Door, forge: Forge, ref: str
) -> None:
    """The forge gets no last chunk, no ref moves, and the audit line names the ref."""
    desk = sit(enter, door, repos)
    before = desk.refs()
    forge.plain.clear()
    hold = forge.plain.hold("up", 4 * MIB)
    push = desk.box.begin("git", "push", "origin", f"noise:{ref}", cwd="work")
    try:
        assert hold.reached.wait(60)
        os.killpg(push.pid, signal.SIGKILL)
        desk.box.finish(push)
    finally:
        hold.release()
    line = door.gateway.audited(repo=desk.path, reason="client-left")
    assert [(one["ref"], one["reason"], one.get("forge")) for one in line["refs"]] == [(ref, "allowed", None)]
    posts = [one for one in forge.plain.exchanges if one.up.startswith(b"POST") and len(one.up) > MIB]
    wait_until(lambda: all(one.closed for one in posts), "the forge's connection is gone")
    assert len(posts) == 1
    assert not posts[0].up.endswith(b"\r\n0\r\n\r\n")
    assert desk.refs() == before
    assert not desk.has(desk.local("rev-parse", "noise"))
    desk.push("origin", f"noise:{ref}").fine()
    assert desk.refs()[ref] == desk.local("rev-parse", "noise")


class _Early(BaseHTTPRequestHandler):
    """Forwards discoveries and answers probes, and answers 413 to the head of any other push."""

    protocol_version = "HTTP/1.1"
    forge: int
    drained: list[int]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's own name
        """Log nothing."""

    def do_GET(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.forge, timeout=20)
        connection.request("GET", self.path, headers={"Authorization": self.headers["Authorization"]})
        answer = connection.getresponse()
        self._say(answer.status, answer.headers["Content-Type"], answer.read())
        connection.close()

    def do_POST(self) -> None:
        first = self.rfile.readline()
        piece = self.rfile.read(int(first, 16) + 2)
        if piece == b"0000\r\n":
            self.rfile.read(5)
            self._say(200, "application/x-git-receive-pack-result", b"")
            return
        self._say(413, "text/plain", b"too large\n")
        size = 0
        while read := self.rfile.read1(MIB):
            size += len(read)
            if read.endswith(b"0\r\n\r\n"):
                break
        self.drained.append(size)
        self.close_connection = True

    def _say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


@pytest.fixture
def early(forge: Forge) -> Iterator[str]:
    """Start a forge that answers before the end of a request."""
    handler = type("Early", (_Early,), {"forge": forge.server.port, "drained": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_forge_answers_413_before_the_end_of_a_push(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, early: str
) -> None:
    """The rest of the push is read, and git gets the forge's status for its ref."""
    door = start_gateway(url=early)
    desk = sit(enter, door, repos)
    door.front.clear()
    before = desk.refs()
    said = desk.push("origin", f"noise:{REF}")
    assert said.code == 1
    assert "! [remote rejected] noise -> agent (credgate: " in said.err
    assert "413" in said.err
    assert "Everything up-to-date" not in said.err
    assert len(door.front.up) > SIZE * MIB, "the sandbox could send it all"
    assert door.front.up.count(b"POST /git/") == 2, "one probe, one push"
    assert desk.refs() == before
    assert desk.audited(REF, decision="deny", upstream_status=413)[REF]["verb"] == "create"
