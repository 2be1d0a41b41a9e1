"""Refusals as users see them: a server that sends only credgate's bytes, and the installed git.

The server is the standard library's, on loopback; its advertisements are made by git. What is asserted is what the user
reads and the exit status, because an agent acts on those.
"""

from __future__ import annotations

import os
import re
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from credgate.git.push_list import PushReader
from credgate.git.refusal import RECEIVE_PACK_RESULT, TEXT, UPLOAD_PACK_RESULT, err, report, text_body

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAIN = "main:refs/heads/main"


class Forge(ThreadingHTTPServer):
    """A server that refuses at discovery, at a fetch or at a push."""

    daemon_threads = True

    def __init__(self, repository: Path, env: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repository, self.env = repository, env
        self.refuse_discovery = False
        self.url = f"http://127.0.0.1:{self.server_port}/x.git"

    def advertise(self, service: str, protocol: str) -> bytes:
        """Return git's own advertisement."""
        command = ["git", service.removeprefix("git-"), "--http-backend-info-refs", str(self.repository)]
        env = self.env | {"GIT_PROTOCOL": protocol}
        found = subprocess.run(command, env=env, check=True, capture_output=True).stdout
        line = f"# service={service}\n".encode()
        return found if "2" in protocol else b"%04x%s0000%s" % (len(line) + 4, line, found)


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Forge
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        """Advertise, or refuse with a text."""
        service = self.path.rpartition("=")[2]
        if self.server.refuse_discovery:
            self.say(403, TEXT, text_body("octo/hello is outside this session", "it may read: octo/docs"))
        else:
            body = self.server.advertise(service, self.headers.get("Git-Protocol", ""))
            self.say(200, f"application/x-{service}-advertisement".encode(), body)

    def do_POST(self) -> None:
        """Refuse in the form of the service, after the whole body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("git-upload-pack"):
            self.say(200, UPLOAD_PACK_RESULT, err("this session has ended"))
            return
        reader = PushReader()
        reader.receive(body)
        lines = ["push to x refused (policy: branches)", "ask the operator"]
        reason = "credgate: only refs/heads/agent/* may be pushed; caf\xe9"
        self.say(200, RECEIVE_PACK_RESULT, report(reader.refs, reason, sideband=reader.sideband, lines=lines))

    def say(self, status: int, kind: bytes, body: bytes) -> None:
        """Send one answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Isolate git from the user's configuration."""
    people = {f"GIT_{role}_{part}": "x@example" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
        **people,
    }


@pytest.fixture
def forge(tmp_path: Path, env: dict[str, str]) -> Iterator[Forge]:
    """Start the server before a repository with one branch."""
    for words in (["init", "-q", "-b", "main", "work"], ["init", "-q", "--bare", "x.git"]):
        subprocess.run(["git", *words], cwd=tmp_path, env=env, check=True)
    work = tmp_path / "work"
    for words in (["commit", "-q", "--allow-empty", "-m", "one"], ["push", "-q", "../x.git", "main:refs/heads/old"]):
        subprocess.run(["git", *words], cwd=work, env=env, check=True)
    made = Forge(tmp_path / "x.git", env)
    thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def run(tmp_path: Path, env: dict[str, str], *words: str) -> tuple[int, list[str]]:
    """Run git in the work tree; return its exit status and output, without trailing whitespace."""
    done = subprocess.run(
        ["git", *words], cwd=tmp_path / "work", env=env, capture_output=True, check=False, timeout=60, text=True
    )
    return done.returncode, [line.rstrip() for line in (done.stdout + done.stderr).splitlines()]


@pytest.mark.parametrize("words", [["ls-remote"], ["fetch"], ["push"]])
def test_git_prints_a_refused_discovery(tmp_path: Path, env: dict[str, str], forge: Forge, words: list[str]) -> None:
    """Both lines, as the remote's, for fetches and pushes."""
    forge.refuse_discovery = True
    status, lines = run(tmp_path, env, *words, forge.url, *([MAIN] if words == ["push"] else []))
    assert status != 0
    assert lines[:2] == ["remote: credgate: octo/hello is outside this session", "remote: it may read: octo/docs"]
    assert re.fullmatch(r"fatal: unable to access '.*': The requested URL returned error: 403", lines[2])


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_git_prints_a_refused_fetch(tmp_path: Path, env: dict[str, str], forge: Forge, version: str) -> None:
    """In every protocol version; v0 and v1 run in a helper of git, whose end the main process reports."""
    status, lines = run(tmp_path, env, "-c", f"protocol.version={version}", "clone", "-q", forge.url, "copy")
    assert status == 128
    more = [] if version == "2" else ["fatal: the remote end hung up unexpectedly"]
    assert lines == ["fatal: remote error: credgate: this session has ended", *more]


@pytest.mark.parametrize(
    "refspecs",
    [
        [MAIN],
        [":refs/heads/old"],
        [MAIN, "main:refs/tags/v1", ":refs/heads/old"],
        ["--atomic", MAIN, "main:refs/heads/b"],
    ],
)
def test_git_prints_a_refused_push(tmp_path: Path, env: dict[str, str], forge: Forge, refspecs: list[str]) -> None:
    """The text, a reason beside each ref, exit status 1, and never "Everything up-to-date"."""
    status, lines = run(tmp_path, env, "push", forge.url, *refspecs)
    assert status == 1
    assert lines[:2] == ["remote: credgate: push to x refused (policy: branches)", "remote: credgate: ask the operator"]
    rejected = [line for line in lines if line.startswith(" ! [remote rejected]")]
    assert len(rejected) == len([one for one in refspecs if ":" in one])
    assert all(line.endswith("(credgate: only refs/heads/agent/* may be pushed; caf\xe9)") for line in rejected)
    assert lines[-1] == f"error: failed to push some refs to '{forge.url}'"
    assert not [line for line in lines if "up-to-date" in line or "RPC failed" in line or "hung up" in line]


def test_git_prints_a_refused_push_of_a_thousand_refs(tmp_path: Path, env: dict[str, str], forge: Forge) -> None:
    """The report spans several bands."""
    refspecs = [f"main:refs/heads/agent/a-branch-with-a-name-of-some-length-{number}" for number in range(1000)]
    status, lines = run(tmp_path, env, "push", "-q", forge.url, *refspecs)
    assert status == 1
    assert len([line for line in lines if line.startswith(" ! [remote rejected]")]) == 1000
    assert not [line for line in lines if "demultiplexer" in line or "protocol error" in line]
