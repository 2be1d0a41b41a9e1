"""The tables of short-lived credentials: they hold references, and show none."""

from __future__ import annotations

import pytest
from attrs import fields

from credgate.config.short_lived import AppConfig, OAuthConfig, RotateConfig

CANARY = "file:///CANARY"
SHOWN = {"app_id", "installation_id", "client_id", "lifetime"}
"""What is no secret, nor the way to one."""


@pytest.mark.parametrize("table", [AppConfig, OAuthConfig, RotateConfig])
def test_no_reference_is_shown(table: type[AppConfig | OAuthConfig | RotateConfig]) -> None:
    """A token that was pasted where a reference belongs must not come out of a log or a traceback."""
    hidden = [one.name for one in fields(table) if one.name not in SHOWN]
    assert hidden
    made = table(**dict.fromkeys(hidden, CANARY))
    assert "CANARY" not in repr(made)
    assert CANARY in {getattr(made, name) for name in hidden}


@pytest.mark.parametrize("table", [AppConfig, OAuthConfig, RotateConfig])
def test_a_table_that_says_nothing_names_nothing(table: type[AppConfig | OAuthConfig | RotateConfig]) -> None:
    """``rules`` tells what is missing; nothing here may stand in for it."""
    made = table()
    assert not any(getattr(made, one.name) for one in fields(table) if one.name != "lifetime")


def test_a_token_is_asked_to_live_a_week() -> None:
    """It is rotated at half of it: a gateway may be down over a long weekend, and loses nothing."""
    assert RotateConfig().lifetime == 7 * 24 * 3600
