"""The socket's place: whose directory, whose lock, which modes."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from credgate.errors import ConfigError
from credgate.service.control.unixsocket import SocketPlace, bind
from tests.fakes.needs import NOT_SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

root_only = pytest.mark.skipif(os.geteuid() != 0, reason=f"{NOT_SHOWN}: only root can make what belongs to another")


@pytest.fixture
def home() -> Iterator[Path]:
    """Make a directory of our own whose path is short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="cg-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Umasks that an operator or a container may have set."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def listener(path: Path, kept: list[socket.socket], chmod: int | None = None) -> Callable[[], None]:
    """Return what binds a socket there, as Twisted would."""

    def listen() -> None:
        made = socket.socket(socket.AF_UNIX)
        kept.append(made)
        made.bind(str(path))
        if chmod is not None:
            path.chmod(chmod)
        made.listen()

    return listen


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Sockets that are closed at the end."""
    kept: list[socket.socket] = []
    yield kept
    for each in kept:
        each.close()


# Modes.


def test_directory_socket_and_lock_are_private_for_any_umask(
    home: Path, umask: int, sockets: list[socket.socket]
) -> None:
    """A permissive umask never opens a window, a strict one never locks us out."""
    place = SocketPlace(home / "a" / "b" / "control.sock")
    bind(place, listener(place.path, sockets))
    place.check()
    assert [mode(path) for path in (home / "a", home / "a/b", place.path, home / "a/b/control.sock.lock")] == [
        0o700,
        0o700,
        0o600,
        0o600,
    ]
    assert os.umask(umask) == umask
    place.release()


def test_shared_socket_is_reachable_but_its_directory_only_searchable(
    home: Path, umask: int, sockets: list[socket.socket]
) -> None:
    """A mode cannot name a user, so the peer's uid decides."""
    place = SocketPlace(home / "run" / "control.sock", shared=True)
    bind(place, listener(place.path, sockets, chmod=place.mode))
    place.check()
    assert [mode(path) for path in (place.path.parent, place.path, home / "run/control.sock.lock")] == [
        0o711,
        0o666,
        0o600,
    ]
    place.release()


def test_existing_directory_keeps_its_mode(home: Path) -> None:
    """A wrong path such as /run must not be tightened."""
    home.chmod(0o755)
    place = SocketPlace(home / "control.sock")
    place.take()
    assert mode(home) == 0o755
    place.release()


# Places that are refused.


def refusal(place: SocketPlace) -> str:
    """Take a place that is refused; return why."""
    with pytest.raises(ConfigError) as caught:
        place.take()
    assert "\n" not in str(caught.value)
    assert caught.value.key == "listen.control"
    assert str(place.path) in str(caught.value)
    return caught.value.text


def test_symbolic_link_as_directory_is_refused(home: Path) -> None:
    """Its owner could redirect it."""
    (home / "real").mkdir(mode=0o700)
    (home / "link").symlink_to(home / "real")
    assert "is a symbolic link" in refusal(SocketPlace(home / "link" / "control.sock"))
    assert list((home / "real").iterdir()) == []
    positive = SocketPlace(home / "real" / "control.sock")
    positive.take()
    positive.release()


def test_link_above_the_directory_is_followed(home: Path) -> None:
    """/var/run is one on every Linux."""
    (home / "run").mkdir()
    (home / "var-run").symlink_to(home / "run")
    place = SocketPlace(home / "var-run" / "gateway" / "gateway.sock")
    place.take()
    place.release()
    assert mode(home / "run" / "gateway") == 0o700


@root_only
def test_directory_of_another_user_is_refused(home: Path) -> None:
    """Its owner could replace the socket."""
    (home / "theirs").mkdir()
    os.chown(home / "theirs", 65534, 65534)
    text = refusal(SocketPlace(home / "theirs" / "control.sock"))
    assert "belongs to uid 65534, not to credgate's own 0" in text


@pytest.mark.parametrize("open_mode", [0o770, 0o720, 0o707, 0o702, 0o777, 0o1777])
def test_directory_writable_by_others_is_refused(home: Path, open_mode: int) -> None:
    """Even with the sticky bit, others could create the socket first."""
    (home / "open").mkdir()
    (home / "open").chmod(open_mode)
    assert f"is writable by others (mode {open_mode:04o})" in refusal(SocketPlace(home / "open" / "control.sock"))


def test_directory_that_others_could_rename_is_refused(home: Path) -> None:
    """That is possible in a world-writable parent without sticky bit."""
    open_parent = home / "open"
    open_parent.mkdir()
    open_parent.chmod(0o777)
    place = SocketPlace(open_parent / "run" / "control.sock")
    assert f"its parent {open_parent} is writable by every user" in refusal(place)
    open_parent.chmod(0o1777)
    place.take()
    place.release()


def test_relative_path_is_refused() -> None:
    """A daemon changes its directory."""
    assert "must be absolute" in refusal(SocketPlace(Path("control.sock")))


def test_path_that_is_too_long_is_refused(home: Path) -> None:
    """The limit of 107 bytes is inclusive."""
    longest = home / ("x" * (107 - len(str(home)) - 1))
    assert "longer than 107 bytes" in refusal(SocketPlace(longest.with_name(longest.name + "x")))
    place = SocketPlace(longest)
    place.take()
    place.release()


def test_directory_that_cannot_be_created_is_reported_in_one_line(home: Path) -> None:
    """The operator reads which path, and why."""
    (home / "file").write_text("")
    assert "Not a directory" in refusal(SocketPlace(home / "file" / "x" / "control.sock"))
    assert "File exists" in refusal(SocketPlace(home / "file" / "control.sock"))


def test_file_that_is_not_a_socket_is_not_removed(home: Path) -> None:
    """A mistyped path must not destroy it."""
    path = home / "sessions.db"
    path.write_text("precious")
    assert "not a socket; remove it" in refusal(SocketPlace(path))
    assert path.read_text() == "precious"
    path.unlink()
    place = SocketPlace(path)
    place.take()
    place.release()


def test_link_in_place_of_the_lock_is_not_followed(home: Path) -> None:
    """It could make any file of ours."""
    (home / "control.sock.lock").symlink_to(home / "elsewhere")
    assert "symbolic links" in refusal(SocketPlace(home / "control.sock"))
    assert not (home / "elsewhere").exists()


@pytest.mark.parametrize(
    ("chmod", "text"),
    [(0o666, "does not keep the mode of a socket"), (0o600, ""), (0o700, "does not keep the mode of a socket")],
)
def test_file_system_without_modes_or_owners_is_detected(
    home: Path, sockets: list[socket.socket], chmod: int, text: str
) -> None:
    """Some shared directories show everything as open, or as another's."""
    place = SocketPlace(home / "control.sock")
    bind(place, listener(place.path, sockets, chmod=chmod))
    if text:
        with pytest.raises(ConfigError, match=text):
            place.check()
    else:
        place.check()
    place.release()


def test_vanished_or_replaced_socket_is_detected(home: Path) -> None:
    """What is checked is what was bound."""
    place = SocketPlace(home / "control.sock")
    with pytest.raises(ConfigError, match="No such file"):
        place.check()
    place.path.write_text("")
    with pytest.raises(ConfigError, match="does not keep the owner of a socket"):
        place.check()


def test_error_is_made_by_the_given_function(home: Path) -> None:
    """The configuration adds file and line."""
    place = SocketPlace(
        Path("x"), complain=lambda text: ConfigError(text, file="credgate.toml", line=3, key="listen.control")
    )
    with pytest.raises(ConfigError) as caught:
        place.take()
    assert str(caught.value) == "credgate.toml:3: listen.control: x: the path must be absolute"


# Stale or live.


def test_stale_socket_is_taken_over(home: Path) -> None:
    """What a kill -9 leaves: the file, and nobody behind it."""
    path = home / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    place = SocketPlace(path)
    place.take()
    assert not path.exists()
    place.release()


def test_held_lock_refuses_and_keeps_the_socket(home: Path, sockets: list[socket.socket]) -> None:
    """The second process may start once the lock is released."""
    first, second = SocketPlace(home / "control.sock"), SocketPlace(home / "control.sock")
    bind(first, listener(first.path, sockets))
    inode = first.path.stat().st_ino
    assert refusal(second).endswith("another credgate is serving this socket")
    assert first.path.stat().st_ino == inode
    sockets.pop().close()
    first.release()
    second.take()
    second.release()


def test_live_socket_without_a_lock_is_not_taken_over(home: Path) -> None:
    """It may belong to another program."""
    path = home / "control.sock"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        assert refusal(SocketPlace(path)).endswith("another program is serving this socket")
        assert path.exists()


def test_live_socket_with_a_full_queue_is_not_taken_over(home: Path, sockets: list[socket.socket]) -> None:
    """Busy is not dead."""
    path = home / "control.sock"
    live = socket.socket(socket.AF_UNIX)
    sockets.append(live)
    live.bind(str(path))
    live.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    sockets.append(waiting)
    waiting.connect(str(path))
    assert refusal(SocketPlace(path)).endswith("another program is serving this socket")


def test_failed_listener_releases_the_lock(home: Path) -> None:
    """Otherwise a second try in one process would find itself."""
    place = SocketPlace(home / "control.sock")

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        bind(place, fail)
    place.take()
    place.release()
    place.release()


def test_lock_is_not_inherited_by_child_processes(home: Path) -> None:
    """A child that survives a crash would hold it."""
    place = SocketPlace(home / "control.sock")
    place.take()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, close_fds=False, **pipes) as child:  # type: ignore[call-overload]
        child.stdout.readline()  # the kernel closes what is not inherited a moment after Popen returns
        place.release()
        with (home / "control.sock.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.communicate(b"\n")
