"""Tokens on disk: whole, encrypted, closed to others, and never taken for none when they cannot be read."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from credgate.errors import ConfigError, StoreError
from credgate.service.credentials.token_file import SavedToken, check_key, read, write

if TYPE_CHECKING:
    from pathlib import Path

KEY = Fernet.generate_key().decode()
TOKEN = SavedToken("gtr_the-next-one", 1738324800.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file whose directory is not there yet."""
    return tmp_path / "minting" / "lab.token"


def test_a_written_token_is_read(path: Path) -> None:
    """Under its key, by whoever began with the same first token."""
    write(path, KEY, "first", TOKEN)
    assert read(path, KEY, "first") == TOKEN
    assert "gtr" not in repr(TOKEN)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_missing_file_has_no_token(path: Path) -> None:
    """Or it began with another token, which the operator has replaced."""
    assert read(path, KEY, "first") is None
    write(path, KEY, "first", TOKEN)
    assert read(path, KEY, "another") is None


@pytest.mark.parametrize(
    "content", [b"", b"garbage", Fernet(Fernet.generate_key()).encrypt(b"{}")], ids=["empty", "garbage", "foreign"]
)
def test_a_file_that_cannot_be_decrypted_is_an_error(path: Path, content: bytes) -> None:
    """Never none: then the first token would be used again."""
    write(path, KEY, "first", TOKEN)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be decrypted"):
        read(path, KEY, "first")


def test_a_cut_file_is_an_error(path: Path) -> None:
    write(path, KEY, "first", TOKEN)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(StoreError):
            read(path, KEY, "first")


def test_a_draft_left_by_a_crash_is_overwritten(path: Path) -> None:
    """It was never renamed, so it was never meant."""
    write(path, KEY, "first", TOKEN)
    draft = path.with_name("lab.token.new")
    draft.write_bytes(b"half of it, and longer than what follows" * 100)
    draft.chmod(0o644)
    assert read(path, KEY, "first") == TOKEN
    write(path, KEY, "first", SavedToken("gtr_later", 1.0))
    assert read(path, KEY, "first") == SavedToken("gtr_later", 1.0)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [*path.parent.iterdir()] == [path]


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    """Whoever may write there does not choose what is read."""
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="cannot be read"):
        read(path, KEY, "first")
    path.with_name("lab.token.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        write(path, KEY, "first", TOKEN)
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_others_may_write_to_is_refused(path: Path) -> None:
    """They could put a file in this one's place."""
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(StoreError, match="can be written by others"):
        write(path, KEY, "first", TOKEN)


@pytest.mark.parametrize("key", ["", "short", "x" * 44])
def test_a_key_of_another_length_is_refused(key: str) -> None:
    """The start finds out, and does not repeat it."""
    check_key(KEY)
    with pytest.raises(ConfigError, match="expected a key of 32 bytes in URL-safe base64"):
        check_key(key)


def test_a_file_of_another_user_or_type_is_an_error(path: Path) -> None:
    """Whoever lays a directory or a pipe there must not have the first token used again, nor the start hang."""
    path.parent.mkdir(mode=0o700)
    os.mkfifo(path)
    with pytest.raises(StoreError, match="is not a regular file of credgate's user"):
        read(path, KEY, "first")


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_full_disk_keeps_the_saved_token(path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """At whichever sync it is noticed: it is an error, and what can be read is whole, the old one or the new."""
    write(path, KEY, "first", TOKEN)
    after, fsync, syncs = SavedToken("gtr_the-one-after", TOKEN.expires_at), os.fsync, []

    def full(descriptor: int) -> None:
        syncs.append(descriptor)
        if len(syncs) == step:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"\(No space left on device\)"):
        write(path, KEY, "first", after)
    assert read(path, KEY, "first") in {TOKEN, after}
