"""The secrets that minting needs: read at the start, and files again when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pytest_twisted import ensureDeferred

from credgate.errors import ConfigError, CredentialError
from credgate.service.minting.secret import Secret
from tests.fakes.minting import at_once

if TYPE_CHECKING:
    from pathlib import Path


@ensureDeferred
async def test_a_variable_is_what_it_was_at_the_start() -> None:
    """It is removed afterwards."""
    environ = {"KEY": "secret-one"}
    secret = Secret("env://KEY", environ, at_once)
    environ.clear()
    assert (await secret.read(), secret.variable) == ("secret-one", "KEY")


@ensureDeferred
async def test_a_file_is_what_it_is_now(tmp_path: Path) -> None:
    """It may be replaced; a key may have lines."""
    path = tmp_path / "key"
    path.write_text("one\ntwo\n")
    path.chmod(0o600)
    secret = Secret(f"file://{path}", {}, at_once, lines=True)
    path.write_text("three\n")
    assert (secret.first, await secret.read()) == ("one\ntwo\n", "three\n")


@ensureDeferred
async def test_a_file_that_went_is_told(tmp_path: Path) -> None:
    """By its reference, never by its content."""
    path = tmp_path / "key"
    path.write_text("secret-one")
    path.chmod(0o600)
    secret = Secret(f"file://{path}", {}, at_once)
    path.unlink()
    with pytest.raises(CredentialError, match="cannot be read: No such file") as caught:
        await secret.read()
    assert "secret-one" not in caught.value.text


@pytest.mark.parametrize("reference", ["env://NOT_SET", "file:///not/there", "secret-pasted-here", "cmd://true"])
def test_what_cannot_be_read_stops_the_start(reference: str) -> None:
    """And what was pasted is not repeated."""
    with pytest.raises(ConfigError) as caught:
        Secret(reference, {}, at_once)
    assert "secret-pasted" not in str(caught.value)
