"""From tables to sources: what cannot work stops the start, with its key."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet
from pytest_twisted import ensureDeferred

from credgate.config.schema import AppConfig, ForgeConfig, OAuthConfig, RotateConfig
from credgate.errors import ConfigError, CredentialError
from credgate.service.credentials import keyring_source
from tests.fakes.github_api import make_key
from tests.fakes.minting import Lab

if TYPE_CHECKING:
    from pathlib import Path

PEM = make_key()[0]
ENVIRON = {"PEM": PEM, "TOKEN": "glpat-0123456789", "KEY": Fernet.generate_key().decode(), "SHORT": "x"}
APP = AppConfig("42", "env://PEM")
ROTATE = RotateConfig("env://TOKEN", "env://KEY")
OAUTH = OAuthConfig("id", "env://TOKEN", "env://TOKEN", "env://KEY")


@pytest.mark.parametrize(
    ("forge", "kind"),
    [
        (ForgeConfig("a", "github", "https://github.com", app=APP), "app"),
        (ForgeConfig("a", "gitlab", "https://gitlab.com", rotate=ROTATE), "rotated"),
        (ForgeConfig("a", "gitea", "https://gitea.example", oauth=OAUTH), "oauth"),
        (ForgeConfig("a", "bitbucket", "https://bitbucket.org", oauth=OAUTH), "oauth"),
    ],
)
def test_each_table_makes_its_source(tmp_path: Path, forge: ForgeConfig, kind: str) -> None:
    """Nothing is asked yet."""
    assert Lab(tmp_path).source(forge, ENVIRON).kind == kind


@pytest.mark.parametrize(
    ("forge", "key"),
    [
        (ForgeConfig("a", "github", "https://github.com", app=AppConfig("42", "env://TOKEN")), "app.private_key"),
        (ForgeConfig("a", "github", "https://github.com", app=AppConfig("42", "env://NONE")), "app.private_key"),
        (
            ForgeConfig("a", "gitlab", "https://gitlab.com", rotate=RotateConfig("env://TOKEN", "env://SHORT")),
            "rotate.key",
        ),
        (
            ForgeConfig("a", "gitlab", "https://gitlab.com", rotate=RotateConfig("env://NONE", "env://KEY")),
            "rotate.token",
        ),
        (ForgeConfig("a", "github", "https://github.com", app=AppConfig("42", "cmd:///not/there")), "app.private_key"),
        (
            ForgeConfig(
                "a", "gitea", "https://g.example", oauth=OAuthConfig("id", "env://NONE", "env://TOKEN", "env://KEY")
            ),
            "oauth.client_secret",
        ),
    ],
)
def test_what_cannot_work_is_named(tmp_path: Path, forge: ForgeConfig, key: str) -> None:
    """By its key, without a value."""
    with pytest.raises(ConfigError) as caught:
        Lab(tmp_path).source(forge, ENVIRON)
    assert caught.value.key == key
    assert "glpat" not in str(caught.value)
    assert "PATH" in os.environ


async def held(tmp_path: Path, reference: str) -> str:
    """Return the App's key, as its signing reads it."""
    source: Any = Lab(tmp_path).source(
        ForgeConfig("a", "github", "https://github.com", app=AppConfig("42", reference)), ENVIRON
    )
    key: str = await source._app._key.read()
    return key


@ensureDeferred
async def test_a_key_may_be_printed_by_a_command(tmp_path: Path) -> None:
    """With all its lines, and through a real process."""
    path = tmp_path / "key.pem"
    path.write_text(PEM)
    assert await held(tmp_path, f"cmd:///bin/cat {path}") == PEM.strip() + "\n"


@ensureDeferred
async def test_what_a_command_prints_is_judged_when_it_is_used(tmp_path: Path) -> None:
    """The start does not wait for it."""
    with pytest.raises(CredentialError, match=r"app.private_key: an RSA private key in PEM is meant"):
        await held(tmp_path, "cmd:///bin/echo no-key")


@ensureDeferred
async def test_a_key_may_be_in_a_keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all its lines; without the library the start is stopped."""
    monkeypatch.setattr(keyring_source, "check_installed", lambda: None)
    monkeypatch.setattr(
        keyring_source, "_entry", lambda service, user: {("credgate", "app"): PEM.strip()}[service, user]
    )
    assert await held(tmp_path, "keyring://credgate/app") == PEM.strip() + "\n"


def test_a_keyring_without_the_library_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key that asks for it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    oauth = OAuthConfig("id", "keyring://credgate/client", "env://TOKEN", "env://KEY")
    with pytest.raises(ConfigError, match="pip install") as caught:
        Lab(tmp_path).source(ForgeConfig("a", "gitea", "https://g.example", oauth=oauth), ENVIRON)
    assert caught.value.key == "oauth.client_secret"
