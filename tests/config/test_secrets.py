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


def test_a_variable_is_read_without_its_spaces() -> None:
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
def test_a_variable_without_a_secret_is_refused(environ: dict[str, str], text: str) -> None:
    """An empty credential would turn every request into a puzzling 401."""
    assert _refused(Reference("env", "TOKEN"), environ) == text


@pytest.mark.parametrize(
    "content",
    [CANARY.encode(), CANARY.encode() + b"\n", b"\xef\xbb\xbf" + CANARY.encode() + b"\r\n"],
    ids=["bare", "a line", "from Windows"],
)
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660])
def test_a_file_of_one_line_is_read(tmp_path: Path, content: bytes, mode: int) -> None:
    """The forms in which files of secrets come, in the modes that keep others out."""
    assert read_reference(_file(tmp_path, content, mode), {}) == CANARY


def test_a_secret_of_any_letters_and_the_largest_size_is_read(tmp_path: Path) -> None:
    """Passwords of generic forges are UTF-8; 64 KiB are within the limit."""
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
def test_a_file_that_is_not_one_line_of_text_is_refused(tmp_path: Path, content: bytes, text: str) -> None:
    """It is the wrong file, and its content is not shown."""
    assert _refused(_file(tmp_path, content)) == text


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666, 0o777])
def test_a_file_open_to_every_user_is_refused(tmp_path: Path, mode: int) -> None:
    """A secret that others read is none; one that others write is theirs."""
    assert _refused(_file(tmp_path, CANARY.encode(), mode)) == (
        f"is accessible to every user (mode {mode:04o}); chmod o-rw it"
    )


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """Whoever may write the directory could point it at any file of ours; the real file is read."""
    real = _file(tmp_path, CANARY.encode())
    link = tmp_path / "link"
    link.symlink_to(real.target)
    assert (
        _refused(Reference("file", str(link)))
        == "cannot be read: it is a symbolic link; set the path of the file itself"
    )
    assert read_reference(real, {}) == CANARY


def test_a_linked_directory_on_the_way_is_followed(tmp_path: Path) -> None:
    """Kubernetes rotates secrets by exchanging a linked directory, ``..data``."""
    (tmp_path / "..v1").mkdir()
    _file(tmp_path / "..v1", CANARY.encode())
    (tmp_path / "..data").symlink_to("..v1")
    assert read_reference(Reference("file", f"{tmp_path}/..data/token"), {}) == CANARY


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A FIFO without a writer must not hold the thread; a directory has no line."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    answers: list[str] = []
    reader = threading.Thread(target=lambda: answers.append(_refused(Reference("file", str(fifo)))), daemon=True)
    reader.start()
    reader.join(timeout=10)
    assert answers == ["is not a regular file"]
    assert _refused(Reference("file", "/dev/null")) == "is not a regular file"
    assert _refused(Reference("file", str(tmp_path))) in {"is not a regular file", "cannot be read: Is a directory"}


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """The system's own words, without a traceback."""
    reference = Reference("file", str(tmp_path / "none"))
    assert _refused(reference) == "cannot be read: No such file or directory"
    assert stamp(reference) is None


def test_the_stamp_changes_with_the_content(tmp_path: Path) -> None:
    """Rotation is seen by it: rewritten in place or replaced by rename."""
    reference = _file(tmp_path, CANARY.encode())
    secret, first = read_file(reference)
    assert (secret, stamp(reference)) == (CANARY, first)
    _file(tmp_path, b"longer-than-before-" + CANARY.encode())
    second = stamp(reference)
    (tmp_path / "new").write_bytes(b"longer-than-before-" + CANARY.encode())
    (tmp_path / "new").rename(reference.target)
    third = stamp(reference)
    assert len({first, second, third}) == 3


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """One a second would end the process within the day."""
    good, bad = _file(tmp_path, CANARY.encode()), Reference("file", "/dev/null")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        read_reference(good, {})
        _refused(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_systemd_credential_is_a_file_of_the_service_managers(tmp_path: Path) -> None:
    """It is checked and watched as any other file; the reference spells itself as it was written."""
    _file(tmp_path, b"of systemd\n")
    environ = {"CREDENTIALS_DIRECTORY": f"{tmp_path}/"}
    assert read_reference(Reference("systemd", "token"), environ) == "of systemd"
    assert located(Reference("systemd", "token"), environ) == Reference("file", f"{tmp_path}/token")


@pytest.mark.parametrize("environ", [{}, {"CREDENTIALS_DIRECTORY": ""}, {"CREDENTIALS_DIRECTORY": "run"}])
def test_without_a_service_manager_there_are_no_systemd_credentials(environ: dict[str, str]) -> None:
    """The unit's own line that is missing is named."""
    text = _refused(Reference("systemd", "token"), environ)
    assert text == "cannot be read: CREDENTIALS_DIRECTORY is not set; add LoadCredential=token:/path to the unit"


def test_a_document_may_have_many_lines(tmp_path: Path) -> None:
    """A key in PEM has. It is one line where one is meant."""
    reference = _file(tmp_path, b"\n-----BEGIN KEY-----\nabc\n-----END KEY-----\n\n")
    assert read_document(reference, {}) == "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"
    assert "more than one line" in _refused(reference)
    assert read_document(Reference("env", "A"), {"A": "one"}) == "one\n"


def test_an_empty_document_is_none(tmp_path: Path) -> None:
    """An empty key would be told by whoever uses it, later and worse."""
    with pytest.raises(ConfigError, match="is empty"):
        read_document(_file(tmp_path, b" \n"), {})


@pytest.mark.parametrize("reference", [Reference("cmd", f"echo {CANARY}"), Reference("keyring", "a/b")])
def test_what_takes_a_process_is_not_read_here(reference: Reference) -> None:
    """Reading blocks a thread; a command must be watched."""
    with pytest.raises(ConfigError, match=f"{reference.kind}:// cannot be used here") as caught:
        read_reference(reference, {})
    assert "CANARY" not in str(caught.value)
