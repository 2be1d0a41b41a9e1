"""References to secrets and the files they name."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from credgate.config.secrets import (
    MAX_SECRET_BYTES,
    Reference,
    located,
    read_document,
    read_file,
    read_reference,
    stamp,
)
from credgate.errors import ConfigError

CANARY = "ghp_CANARY0123456789"


def _file(folder: Path, content: bytes, mode: int = 0o600) -> Reference:
    path = folder / "token"
    path.write_bytes(content)
    path.chmod(mode)
    return Reference("file", str(path))


def _refused(reference: Reference, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read_reference(reference, environ or {})
    assert "CANARY" not in str(caught.value)
    return str(caught.value).removeprefix(str(reference)).strip()


def test_variable_is_read_without_surrounding_whitespace() -> None:
    """``$(cat token)`` and env files leave line ends."""
    assert read_reference(Reference("env", "TOKEN"), {"TOKEN": f" {CANARY}\n"}) == CANARY


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({}, "cannot be read: the variable is not set"),
        ({"TOKEN": ""}, "cannot be read: the variable is not set"),
        ({"TOKEN": " \n"}, "is empty"),
        ({"TOKEN": f"{CANARY}\nsecond"}, "contains more than one line, or control characters"),
    ],
)
def test_unset_or_empty_variable_is_refused(environ: dict[str, str], text: str) -> None:
    """An empty credential would cause an unexplained 401 for every request."""
    assert _refused(Reference("env", "TOKEN"), environ) == text


@pytest.mark.parametrize(
    "content",
    [CANARY.encode(), CANARY.encode() + b"\n", b"\xef\xbb\xbf" + CANARY.encode() + b"\r\n"],
    ids=["bare", "a line", "from Windows"],
)
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660])
def test_file_of_one_line_is_read(tmp_path: Path, content: bytes, mode: int) -> None:
    """Files of secrets come with and without newline, in several modes."""
    assert read_reference(_file(tmp_path, content, mode), {}) == CANARY


def test_utf8_secret_of_maximum_size_is_read(tmp_path: Path) -> None:
    """Passwords of generic forges may be UTF-8; the limit of 64 KiB is inclusive."""
    assert read_reference(_file(tmp_path, "pässwort ☃".encode()), {}) == "pässwort ☃"
    assert len(read_reference(_file(tmp_path, b"x" * MAX_SECRET_BYTES), {})) == MAX_SECRET_BYTES


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (CANARY.encode() + b"\nsecond\n", "contains more than one line, or control characters"),
        (CANARY.encode() + b"\x00", "contains more than one line, or control characters"),
        (CANARY.encode() + b"\x7fx", "contains more than one line, or control characters"),
        (CANARY.encode() + "\x85x".encode(), "contains more than one line, or control characters"),
        (b"\xff" + CANARY.encode(), "is not UTF-8 text"),
        (b"x" * (MAX_SECRET_BYTES + 1), "is larger than 65536 bytes; one line is expected"),
    ],
    ids=["empty", "blank", "two lines", "NUL", "DEL", "C1", "bytes", "large"],
)
def test_file_without_exactly_one_line_of_text_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    """It is the wrong file, and the error does not contain its content."""
    assert _refused(_file(tmp_path, content)) == text


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666, 0o777])
def test_file_accessible_to_every_user_is_refused(tmp_path: Path, mode: int) -> None:
    """Other users could read the secret or replace it."""
    assert _refused(_file(tmp_path, CANARY.encode(), mode)) == (
        f"is accessible to every user (mode {mode:04o}); chmod o-rw it"
    )


def test_symbolic_link_is_refused(tmp_path: Path) -> None:
    """Whoever can write to the directory could redirect it to another file."""
    real = _file(tmp_path, CANARY.encode())
    link = tmp_path / "link"
    link.symlink_to(real.target)
    assert (
        _refused(Reference("file", str(link)))
        == "cannot be read: it is a symbolic link; set the path of the file itself"
    )
    assert read_reference(real, {}) == CANARY


def test_linked_directory_in_the_path_is_followed(tmp_path: Path) -> None:
    """Kubernetes rotates secrets by replacing a linked directory, ``..data``."""
    (tmp_path / "..v1").mkdir()
    _file(tmp_path / "..v1", CANARY.encode())
    (tmp_path / "..data").symlink_to("..v1")
    assert read_reference(Reference("file", f"{tmp_path}/..data/token"), {}) == CANARY


def test_fifo_or_directory_is_refused_without_blocking(tmp_path: Path) -> None:
    """Opening a FIFO without a writer would block the thread."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    answers: list[str] = []
    reader = threading.Thread(target=lambda: answers.append(_refused(Reference("file", str(fifo)))), daemon=True)
    reader.start()
    reader.join(timeout=10)
    assert answers == ["is not a regular file"]
    assert _refused(Reference("file", "/dev/null")) == "is not a regular file"
    assert _refused(Reference("file", str(tmp_path))) in {"is not a regular file", "cannot be read: Is a directory"}


def test_missing_file_is_reported(tmp_path: Path) -> None:
    """The error has the system's text, and no traceback."""
    reference = Reference("file", str(tmp_path / "none"))
    assert _refused(reference) == "cannot be read: No such file or directory"
    assert stamp(reference) is None


def test_stamp_changes_with_the_content(tmp_path: Path) -> None:
    """Rotation is detected by it, whether the file is rewritten or replaced."""
    reference = _file(tmp_path, CANARY.encode())
    secret, first = read_file(reference)
    assert (secret, stamp(reference)) == (CANARY, first)
    _file(tmp_path, b"longer-than-before-" + CANARY.encode())
    second = stamp(reference)
    (tmp_path / "new").write_bytes(b"longer-than-before-" + CANARY.encode())
    (tmp_path / "new").rename(reference.target)
    third = stamp(reference)
    assert len({first, second, third}) == 3


def test_reading_closes_its_descriptor(tmp_path: Path) -> None:
    """The file may be read every second for days."""
    good, bad = _file(tmp_path, CANARY.encode()), Reference("file", "/dev/null")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        read_reference(good, {})
        _refused(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_systemd_reference_is_read_from_the_credentials_directory(tmp_path: Path) -> None:
    """It is checked and watched like any other file."""
    _file(tmp_path, b"of systemd\n")
    environ = {"CREDENTIALS_DIRECTORY": f"{tmp_path}/"}
    assert read_reference(Reference("systemd", "token"), environ) == "of systemd"
    assert located(Reference("systemd", "token"), environ) == Reference("file", f"{tmp_path}/token")


@pytest.mark.parametrize("environ", [{}, {"CREDENTIALS_DIRECTORY": ""}, {"CREDENTIALS_DIRECTORY": "run"}])
def test_systemd_reference_without_credentials_directory_is_refused(environ: dict[str, str]) -> None:
    """The error names the missing line of the unit."""
    text = _refused(Reference("systemd", "token"), environ)
    assert text == "cannot be read: CREDENTIALS_DIRECTORY is not set; add LoadCredential=token:/path to the unit"


def test_document_may_have_several_lines(tmp_path: Path) -> None:
    """A key in PEM has several lines; as a secret of one line it is refused."""
    reference = _file(tmp_path, b"\n-----BEGIN KEY-----\nabc\n-----END KEY-----\n\n")
    assert read_document(reference, {}) == "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"
    assert "more than one line" in _refused(reference)
    assert read_document(Reference("env", "A"), {"A": "one"}) == "one\n"


def test_empty_document_is_refused(tmp_path: Path) -> None:
    """Otherwise the key would fail later, with a worse error."""
    with pytest.raises(ConfigError, match="is empty"):
        read_document(_file(tmp_path, b" \n"), {})


@pytest.mark.parametrize("reference", [Reference("cmd", f"echo {CANARY}"), Reference("keyring", "a/b")])
def test_commands_and_keyrings_are_refused(reference: Reference) -> None:
    """They need a process, which a blocking read cannot supervise."""
    with pytest.raises(ConfigError, match=f"{reference.kind}:// cannot be used here") as caught:
        read_reference(reference, {})
    assert "CANARY" not in str(caught.value)
