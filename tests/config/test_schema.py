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


def test_repr_of_a_forge_hides_its_credential() -> None:
    """A token pasted in place of a reference must not reach a log."""
    forge = ForgeConfig(name="a", credential="CANARY")
    assert "CANARY" not in repr(forge)
    assert "CANARY" not in repr(Config(forges={"a": forge}))


def test_store_path_begins_with_one_slash() -> None:
    """Both spellings of the URL mean the same file."""
    assert SessionsConfig(store="sqlite:////var/s.db").store_path == "/var/s.db"
    assert SessionsConfig(store="sqlite:///var/s.db").store_path == "/var/s.db"
    assert SessionsConfig(store="memory:").store_path == ""


def test_error_has_the_place_of_its_key() -> None:
    """Without a file it has the key alone."""
    config = Config(source="/etc/credgate.toml", lines={("listen",): 3, ("listen", "git"): 4})
    assert str(config.error("no", "listen", "git")) == "/etc/credgate.toml:4: listen.git: no"
    assert str(config.error("no", "listen", "dns")) == "/etc/credgate.toml:3: listen.dns: no"
    assert str(Config().error("no", "listen", "git")) == "listen.git: no"
