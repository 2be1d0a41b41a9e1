"""The test harness: the forge requires its credential, and both recorders see every byte."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fakes.forge import PythonForge
from tests.fakes.gateway import MEASURED
from tests.fakes.loop_lag import PROMISED, Lag, LoopLag
from tests.fakes.nginx import NginxForge, declined
from tests.fakes.recorder import Recorder
from tests.fakes.repositories import ENVIRON, Repositories, noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "ghp_harness0000000000000000000000000000"
NGINX = pytest.param(NginxForge, marks=pytest.mark.needs("nginx", "fcgiwrap"))
KINDS = [PythonForge, *([] if declined() else [NGINX])]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PythonForge | NginxForge]:
    """Start each forge that can be started here."""
    for name in ("root", "scratch"):
        (tmp_path / name).mkdir()
    server = request.param(tmp_path / "root", SECRET, tmp_path / "scratch")
    yield server
    server.close()


@pytest.fixture
def recorder(server: PythonForge | NginxForge) -> Iterator[Recorder]:
    """Record what the forge receives and says."""
    recorder = Recorder(server.port)
    yield recorder
    recorder.close()


def _git(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    environ = ENVIRON | {"GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(["git", *arguments], cwd=cwd, env=environ, capture_output=True, check=False, timeout=60)


def _login(recorder: Recorder, secret: str) -> str:
    return recorder.url.replace("://", f"://x-access-token:{secret}@")


@pytest.mark.parametrize("version", ["0", "2"])
def test_git_clones_and_pushes_with_the_credential(
    server: PythonForge | NginxForge, recorder: Recorder, tmp_path: Path, version: str
) -> None:
    """The forge is a real one: big chunked pushes, every protocol."""
    path = Repositories(server.root).seeded("octo/hello")
    clone = tmp_path / "clone"
    use = ["-c", f"protocol.version={version}", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    ran = _git(*use, "clone", f"{_login(recorder, SECRET)}/{path}.git", "clone", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    (clone / "noise").write_bytes(noise(3))
    _git(*use, "add", "noise", cwd=clone)
    _git(*use, "commit", "-q", "-m", "noise", cwd=clone)
    ran = _git(*use, "push", "origin", "HEAD", cwd=clone)
    assert ran.returncode == 0, ran.stderr
    assert _git("rev-parse", "HEAD", cwd=clone).stdout.decode().strip() == Repositories(server.root).head(path)
    assert b"Transfer-Encoding: chunked" in recorder.up
    assert recorder.count("up") > 3 * 1024 * 1024


def test_the_wrong_credential_is_refused(server: PythonForge | NginxForge, recorder: Recorder, tmp_path: Path) -> None:
    """Otherwise a successful request would not prove that the gateway sent the right credential."""
    path = Repositories(server.root).seeded("octo/hello")
    ran = _git("ls-remote", f"{_login(recorder, SECRET[:-1])}/{path}.git", cwd=tmp_path)
    assert (ran.returncode, b"Authentication failed" in ran.stderr) == (128, True)
    server.rotate(SECRET[:-1])
    ran = _git("ls-remote", f"{_login(recorder, SECRET[:-1])}/{path}.git", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


def test_the_public_side_serves_reads_only(server: PythonForge | NginxForge, tmp_path: Path) -> None:
    """What anonymous clones are tested against."""
    path = Repositories(server.root).seeded("octo/hello")
    url = f"http://127.0.0.1:{server.public_port}/{path}.git"
    ran = _git("clone", url, "clone", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    ran = _git("push", "origin", "HEAD:refs/heads/new", cwd=tmp_path / "clone")
    assert ran.returncode == 128
    assert b"could not read Username" in ran.stderr


@pytest.mark.parametrize(
    ("old", "target"),
    [
        ("moved-in/hello", b"/octo/hello.git/info/refs?service=git-upload-pack"),
        ("moved-out/hello", b"/elsewhere/hello.git/info/refs?service=git-upload-pack"),
        ("moved-away/hello", b"http://127.0.0.2:9/octo/hello.git/info/refs?service=git-upload-pack"),
    ],
)
def test_renamed_repositories_answer_301(
    server: PythonForge | NginxForge, recorder: Recorder, tmp_path: Path, old: str, target: bytes
) -> None:
    """As GitHub answers for a renamed repository: an absolute Location with the query kept."""
    _git("-c", "http.followRedirects=false", "ls-remote", f"{_login(recorder, SECRET)}/{old}.git", cwd=tmp_path)
    (location,) = [line for line in recorder.down.split(b"\r\n") if line.lower().startswith(b"location:")]
    assert location.endswith(target)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_hold_stops_the_bytes_until_it_is_released(
    server: PythonForge | NginxForge, recorder: Recorder, tmp_path: Path, direction: str
) -> None:
    """Tests that interrupt a transfer depend on this."""
    path = Repositories(server.root).seeded("octo/hello", files=[{"noise": noise(4)}])
    hold = recorder.hold(direction, 200)  # type: ignore[arg-type]
    url = f"{_login(recorder, SECRET)}/{path}.git"
    with subprocess.Popen(["git", "clone", "-q", url, "clone"], cwd=tmp_path, env=ENVIRON) as clone:
        assert hold.reached.wait(20)
        assert clone.poll() is None
        hold.release()
        assert clone.wait(60) == 0


# The recorder of the reactor's turns.

RECORDED = """
import sys, threading, time
from twisted.internet import epollreactor
epollreactor.install()
from twisted.internet import reactor

def spin():
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass

reactor.callLater(0.1, {work})
reactor.callLater(1.5, reactor.stop)
print("started", flush=True)
reactor.run()
"""


def recorded(folder: Path, work: str) -> Lag:
    """Run a reactor that does ``work`` in one turn; what the recorder says of it."""
    lag = LoopLag(folder / "lag")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(MEASURED), **lag.environ}
    lag.reset()
    code = RECORDED.replace("{work}", work)
    ran = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return lag.read()


def test_the_recorder_sees_a_turn_that_computes(tmp_path: Path) -> None:
    """On the processor and by the clock alike; no program without the variable is measured."""
    lag = recorded(tmp_path, "spin")
    assert 50 <= lag.cpu <= lag.stopped <= lag.wall
    assert lag.turns > 1


def test_the_recorder_sees_a_turn_that_waits(tmp_path: Path) -> None:
    """A wait is no processor time, and stops the reactor all the same."""
    lag = recorded(tmp_path, "lambda: threading.Event().wait(0.08)")
    assert lag.cpu < 40
    assert 80 <= lag.stopped <= lag.wall


def test_the_recorder_sees_nothing_in_an_idle_reactor(tmp_path: Path) -> None:
    """Waiting for an event does not count as a turn."""
    lag = recorded(tmp_path, "lambda: None")
    assert lag.turns > 1
    assert lag.stopped < PROMISED


def test_reset_clears_the_recorder(tmp_path: Path) -> None:
    """A record that no turn followed since is empty, not old."""
    recorded(tmp_path, "spin")
    lag = LoopLag(tmp_path / "lag")
    lag.reset()
    assert lag.read().turns == 0
