"""Secrets from the system's keyring, read by the keyring library; its backend here is in memory."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from pytest_twisted import ensureDeferred

from credgate.config.references import parse_reference
from credgate.errors import ConfigError
from credgate.service.credentials.fetched import fetcher
from tests.fakes.minting import at_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from credgate.service.credentials.fetched import Fetch

keyring = pytest.importorskip("keyring")


@pytest.fixture
def entries() -> Iterator[dict[tuple[str, str], str]]:
    """Install a keyring with these entries; restore the machine's own afterwards."""
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


def fetch(reference: str, *, lines: bool = False) -> Fetch:
    """Make a fetcher of the entry."""
    return fetcher(parse_reference(reference), {}, None, at_once, lambda: 0.0, lines=lines)


@ensureDeferred
async def test_an_entry_is_read_by_service_and_user(entries: dict[tuple[str, str], str]) -> None:
    entries["gh:github.com", "alice"] = "ghp_1\n"
    output = await fetch("keyring://gh:github.com/alice")()
    assert (output.secret, output.expires_at) == ("ghp_1", None)


@ensureDeferred
async def test_a_key_in_pem_keeps_its_lines(entries: dict[tuple[str, str], str]) -> None:
    entries["credgate", "app"] = "one\ntwo\n"
    assert (await fetch("keyring://credgate/app", lines=True)()).secret == "one\ntwo\n"


@pytest.mark.parametrize(
    ("service", "value", "said"),
    [
        ("s", None, "has no such entry"),
        ("s", " ", "has no such entry"),
        ("s", "CANARY\nx", "several lines"),
        ("locked", None, r"the keyring cannot be read \(KeyringLocked\)"),
    ],
)
@ensureDeferred
async def test_an_unusable_entry_is_refused_without_its_content(
    entries: dict[tuple[str, str], str], service: str, value: str | None, said: str
) -> None:
    """The text of a backend's exception is not repeated either: it may contain anything."""
    if value is not None:
        entries[service, "u"] = value
    with pytest.raises(ConfigError, match=said) as caught:
        await fetch(f"keyring://{service}/u")()
    assert "CANARY" not in str(caught.value)


def test_a_missing_library_is_an_error_that_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch("keyring://s/u")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'credgate\[keyring\]'"):
        fetch("keyring://s/u")
