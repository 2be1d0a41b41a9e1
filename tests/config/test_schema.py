"""What the values say of themselves."""

from __future__ import annotations

import pytest
from attrs import fields

from credgate.config.schema import FORGE_TABLES, Config, ForgeConfig, SessionsConfig

CANARY = "file:///CANARY"
SHOWN = {"app_id", "installation_id", "client_id", "lifetime"}
"""Keys that hold no reference to a secret."""


@pytest.mark.parametrize("table", FORGE_TABLES.values())
def test_repr_of_a_forge_table_hides_its_references(table: type) -> None:
    """A token pasted in place of a reference must not reach a log or a traceback."""
    hidden = [each.name for each in fields(table) if each.name not in SHOWN]
    made = table(**dict.fromkeys(hidden, CANARY))
    assert hidden
    assert "CANARY" not in repr(made)
    assert CANARY in {getattr(made, name) for name in hidden}


def test_no_repr_shows_where_a_credential_is() -> None:
    """A reference is no secret, but a token pasted in its place would be: it stays out of every log."""
    forge = ForgeConfig(name="a", credential="CANARY")
    assert "CANARY" not in repr(forge)
    assert "CANARY" not in repr(Config(forges={"a": forge}))


def test_the_stores_path_has_one_slash() -> None:
    """Both spellings of the URL are one file."""
    assert SessionsConfig(store="sqlite:////var/s.db").store_path == "/var/s.db"
    assert SessionsConfig(store="sqlite:///var/s.db").store_path == "/var/s.db"
    assert SessionsConfig(store="memory:").store_path == ""


def test_an_error_stands_where_its_key_does() -> None:
    """File, line and key; without a file the key alone."""
    config = Config(source="/etc/credgate.toml", lines={("listen",): 3, ("listen", "git"): 4})
    assert str(config.error("no", "listen", "git")) == "/etc/credgate.toml:4: listen.git: no"
    assert str(config.error("no", "listen", "dns")) == "/etc/credgate.toml:3: listen.dns: no"
    assert str(Config().error("no", "listen", "git")) == "listen.git: no"
