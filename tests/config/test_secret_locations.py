"""What a configuration names: variables, secrets, and credgate's own files, in whatever key they stand."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from credgate.config.secret_locations import SecretLocations, secret_locations
from credgate.errors import ConfigError
from credgate.loading.load import from_environment, load

TOML = """
[forges."github.com"]
kind = "github"
url = "https://github.com"
credential = "env://FORGE_TOKEN"
credentials = { "octo/x" = 'file:///run/a"b#c?d é', "octo/y" = "systemd://y", "octo/z" = "cmd://sh '/srv/a b' --k=/k /bin/cat 'cat </s/one|x /s/two; a/b http://h/c'" }
[forges.app]
kind = "github"
url = "https://a.example"
app = { app_id = "1", private_key = "file:///keys/app" }
[forges.rotating]
kind = "gitlab"
url = "https://b.example"
rotate = { token = "file:///keys/token", key = "env://KEY" }
[forges.oauth]
kind = "gitea"
url = "https://c.example"
oauth = { client_id = "x", client_secret = "keyring://a/b", refresh_token = "file:///keys/refresh", key = "file:///keys/k" }
[audit]
to = "/var/log/audit"
[sessions]
store = "sqlite:////srv/state/sessions.db"
"""  # noqa: E501 - TOML's inline tables have one line


def paths(*names: str) -> tuple[Path, ...]:
    """Return paths."""
    return tuple(map(Path, names))


def test_references_under_every_key_are_found(tmp_path: Path) -> None:
    """Of every kind, with any characters in their paths."""
    source = tmp_path / "credgate.toml"
    source.write_text(TOML)
    environ = {"HOME": "/home/me", "CREDENTIALS_DIRECTORY": "/creds"}
    keys = ("/keys/app", "/keys/refresh", "/keys/k", "/keys/token")
    config = load(source, environ)
    trusting = evolve(config.forges["github.com"], ca_file="/etc/ca.pem")
    found = secret_locations(evolve(config, forges=config.forges | {"github.com": trusting}), environ)
    assert found.variables == {"FORGE_TOKEN", "KEY"}
    assert set(found.secrets) == set(paths('/run/a"b#c?d é', "/creds/y", *keys))
    assert set(found.others) == set(paths("/srv/a b", "/srv/a", "/k", "/s/one", "/s/two", "/etc/ca.pem"))
    assert found.own == (source, Path("/srv/state/sessions.db"), Path("/var/log/audit"))


def test_token_of_the_environment_is_found_without_a_file() -> None:
    """The only file is the session store."""
    assert secret_locations(from_environment({"GH_TOKEN": "x", "HOME": "/h"}, uid=1), {}) == SecretLocations(
        frozenset({"GH_TOKEN"}), own=paths("/h/.local/state/credgate/sessions.db")
    )


def test_systemd_reference_without_its_directory_is_an_error(tmp_path: Path) -> None:
    """As when the gateway reads it."""
    (tmp_path / "x").write_text(TOML)
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY is not set"):
        secret_locations(load(tmp_path / "x", {"HOME": "/h"}), {})
