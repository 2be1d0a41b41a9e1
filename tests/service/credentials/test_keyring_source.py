"""The system's keyring, by the keyring library; its backend here is in memory."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from credgate.errors import ConfigError
from credgate.service.credentials.keyring_source import check_installed, read_entry, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

keyring = pytest.importorskip("keyring")


@pytest.fixture
def entries() -> Iterator[dict[tuple[str, str], str]]:
    """Have a keyring of these entries; what the library would find on this machine is put back."""
    held: dict[tuple[str, str], str] = {}

    class InMemory(keyring.backend.KeyringBackend):  # type: ignore[misc, name-defined]
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            if service == "locked":
                raise keyring.errors.KeyringLocked("the CANARY is locked")
            return held.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(InMemory())
    yield held
    keyring.set_keyring(before)


def test_an_entry_is_read(entries: dict[tuple[str, str], str]) -> None:
    """By service and user; it does not say when it ends."""
    entries["gh:github.com", "alice"] = "ghp_1\n"
    printed = read_entry("gh:github.com", "alice")
    assert (printed.secret, printed.expires_at) == ("ghp_1", None)


def test_an_entry_may_have_lines(entries: dict[tuple[str, str], str]) -> None:
    """Where a key in PEM is meant."""
    entries["credgate", "app"] = "one\ntwo\n"
    assert read_lines("credgate", "app").secret == "one\ntwo\n"


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "has no such entry"), (" ", "has no such entry"), ("CANARY\nx", "more than one line")],
)
def test_what_is_no_secret_is_told(entries: dict[tuple[str, str], str], value: str | None, said: str) -> None:
    """Without repeating it."""
    if value is not None:
        entries["s", "u"] = value
    with pytest.raises(ConfigError, match=said) as caught:
        read_entry("s", "u")
    assert "CANARY" not in str(caught.value)


def test_a_locked_keyring_is_told_by_the_kind_of_its_error(entries: dict[tuple[str, str], str]) -> None:
    """A backend's own text may hold anything."""
    with pytest.raises(ConfigError, match=r"the keyring cannot be read \(KeyringLocked\)"):
        read_entry("locked", "u")


def test_without_the_library_the_start_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    check_installed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'credgate\[keyring\]'"):
        check_installed()
