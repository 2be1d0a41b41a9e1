"""Where the store's file may be."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from credgate import private_file
from credgate.errors import StoreError
from tests.fakes.needs import not_here


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def refusal(path: Path) -> str:
    """Return the text that refuses ``path``."""
    with pytest.raises(StoreError) as caught:
        private_file.prepare(path)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _loose_umask() -> object:
    """Whatever the umask: the modes are ours to set."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_missing_directory_and_file_are_made_private(tmp_path: Path) -> None:
    """Digests are no secret to speak of, but who may write here makes sessions."""
    path = tmp_path / "lib" / "credgate" / "sessions.db"
    private_file.prepare(path)
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    """It may turn out to be another program's."""
    path = tmp_path / "sessions.db"
    path.write_bytes(b"mine")
    path.chmod(0o644)
    private_file.prepare(path)
    assert (path.read_bytes(), mode(path)) == (b"mine", 0o644)
    private_file.close_to_others(path)
    assert mode(path) == 0o600


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, bits: int) -> None:
    """They could put a file with sessions of their own in ours' place."""
    inner = tmp_path / "open"
    inner.mkdir()
    inner.chmod(bits)
    assert refusal(inner / "sessions.db") == (
        f"{inner} can be written by others; "
        "chown it to credgate's user and chmod it to 0700, or configure another directory"
    )
    inner.chmod(0o755)
    private_file.prepare(inner / "sessions.db")


def test_another_user_s_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can write there."""
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    inner = tmp_path / "theirs"
    inner.mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(inner, 4343, -1)
    assert refusal(inner / "sessions.db").startswith(f"{inner} can be written by others")


def test_another_user_s_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory of root's, say."""
    path = tmp_path / "sessions.db"
    path.touch()
    if os.getuid() != 0:
        not_here("only root's directory is let pass for another user")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert refusal(path) == f"{path} is not a regular file of credgate's user; configure another path, or chown it"


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """It may lead to a file that somebody else can write."""
    target, path = tmp_path / "elsewhere.db", tmp_path / "sessions.db"
    path.symlink_to(target)
    assert refusal(path).startswith(f"{path} cannot be used (Too many levels of symbolic links)")
    assert not target.exists()


def test_what_is_no_regular_file_is_refused_and_does_not_block(tmp_path: Path) -> None:
    """Opening a FIFO waits for its other end."""
    fifo, inner = tmp_path / "fifo", tmp_path / "directory"
    os.mkfifo(fifo)
    inner.mkdir()
    assert "is not a regular file" in refusal(fifo)
    assert "cannot be used (Is a directory)" in refusal(inner)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        assert "cannot be used (No such device or address)" in refusal(tmp_path / "socket")


def test_a_path_through_a_file_is_refused_with_the_path(tmp_path: Path) -> None:
    """The line names what to look at."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "sub" / "sessions.db"
    assert refusal(path) == (
        f"{path} cannot be used (Not a directory); make the file and its directory writable for credgate's user"
    )


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """One left open, and closing it later would drop SQLite's locks."""
    fds = Path("/proc/self/fd")
    before = len(list(fds.iterdir()))
    private_file.prepare(tmp_path / "sessions.db")
    refusal(tmp_path)
    assert len(list(fds.iterdir())) == before
