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


def test_missing_directory_and_file_are_created_private(tmp_path: Path) -> None:
    """Whoever can write there can create sessions."""
    path = tmp_path / "lib" / "credgate" / "sessions.db"
    private_file.prepare(path)
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)


def test_existing_file_is_not_changed(tmp_path: Path) -> None:
    """It may belong to another program."""
    path = tmp_path / "sessions.db"
    path.write_bytes(b"mine")
    path.chmod(0o644)
    private_file.prepare(path)
    assert (path.read_bytes(), mode(path)) == (b"mine", 0o644)
    private_file.close_to_others(path)
    assert mode(path) == 0o600


@pytest.mark.parametrize("bits", [0o770, 0o707, 0o777])
def test_directory_writable_by_others_is_refused(tmp_path: Path, bits: int) -> None:
    """They could replace the file."""
    inner = tmp_path / "open"
    inner.mkdir()
    inner.chmod(bits)
    assert refusal(inner / "sessions.db") == (
        f"{inner} can be written by others; "
        "chown it to credgate's user and chmod it to 0700, or configure another directory"
    )
    inner.chmod(0o755)
    private_file.prepare(inner / "sessions.db")


def test_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can write there."""
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    inner = tmp_path / "theirs"
    inner.mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(inner, 4343, -1)
    assert refusal(inner / "sessions.db").startswith(f"{inner} can be written by others")


def test_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in a directory of root."""
    path = tmp_path / "sessions.db"
    path.touch()
    if os.getuid() != 0:
        not_here("only root's directory is let pass for another user")
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert refusal(path) == f"{path} is not a regular file of credgate's user; configure another path, or chown it"


def test_symbolic_link_is_refused(tmp_path: Path) -> None:
    """Its target may be writable by others."""
    target, path = tmp_path / "elsewhere.db", tmp_path / "sessions.db"
    path.symlink_to(target)
    assert refusal(path).startswith(f"{path} cannot be used (Too many levels of symbolic links)")
    assert not target.exists()


def test_fifo_is_refused_without_blocking(tmp_path: Path) -> None:
    """Opening a FIFO waits for its other end."""
    fifo, inner = tmp_path / "fifo", tmp_path / "directory"
    os.mkfifo(fifo)
    inner.mkdir()
    assert "is not a regular file" in refusal(fifo)
    assert "cannot be used (Is a directory)" in refusal(inner)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        assert "cannot be used (No such device or address)" in refusal(tmp_path / "socket")


def test_path_through_a_file_is_refused(tmp_path: Path) -> None:
    """The error names the path."""
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "sub" / "sessions.db"
    assert refusal(path) == (
        f"{path} cannot be used (Not a directory); make the file and its directory writable for credgate's user"
    )


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """Closing one later would release SQLite's locks."""
    fds = Path("/proc/self/fd")
    before = len(list(fds.iterdir()))
    private_file.prepare(tmp_path / "sessions.db")
    refusal(tmp_path)
    assert len(list(fds.iterdir())) == before
