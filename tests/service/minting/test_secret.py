"""The secrets that minting needs: read at the start, files again when they are used, commands when they must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pytest_twisted import ensureDeferred

from credgate.config.credential_output import Printed
from credgate.config.references import parse_reference
from credgate.errors import ConfigError, CredentialError
from credgate.service.minting.secret import HELD_SECONDS, AskedSecret, WrittenSecret
from credgate.values import Reason
from tests.fakes.minting import at_once

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def fit(secret: str) -> None:
    """Take all but one."""
    if secret.strip() == "unfit":
        raise ConfigError("another kind of key is meant")


def written(reference: str, environ: Mapping[str, str], *, lines: bool = False) -> WrittenSecret:
    """Make one."""
    return WrittenSecret(parse_reference(reference), environ, at_once, fit, lines=lines)


@ensureDeferred
async def test_a_variable_is_what_it_was_at_the_start() -> None:
    """It is removed afterwards."""
    environ = {"KEY": "secret-one"}
    secret = written("env://KEY", environ)
    environ.clear()
    assert (await secret.read(), secret.variable) == ("secret-one", "KEY")


@ensureDeferred
async def test_a_file_is_what_it_is_now(tmp_path: Path) -> None:
    """It may be replaced; a key may have lines."""
    path = tmp_path / "key"
    path.write_text("one\ntwo\n")
    path.chmod(0o600)
    secret = written(f"file://{path}", {}, lines=True)
    before = await secret.read()
    path.write_text("three\n")
    assert (before, await secret.read()) == ("one\ntwo\n", "three\n")


@ensureDeferred
async def test_a_file_that_went_is_told(tmp_path: Path) -> None:
    """By its reference, never by its content."""
    path = tmp_path / "key"
    path.write_text("secret-one")
    path.chmod(0o600)
    secret = written(f"file://{path}", {})
    path.unlink()
    with pytest.raises(CredentialError, match="cannot be read: No such file") as caught:
        await secret.read()
    assert "secret-one" not in caught.value.text


@pytest.mark.parametrize("reference", ["env://NOT_SET", "file:///not/there", "secret-pasted-here"])
def test_what_cannot_be_read_stops_the_start(reference: str) -> None:
    """And what was pasted is not repeated."""
    with pytest.raises(ConfigError) as caught:
        written(reference, {})
    assert "secret-pasted" not in str(caught.value)


def test_what_is_unfit_stops_the_start() -> None:
    """It is there, and no key."""
    with pytest.raises(ConfigError, match="another kind of key is meant"):
        written("env://KEY", {"KEY": "unfit"})


@ensureDeferred
async def test_a_file_that_became_unfit_is_told(tmp_path: Path) -> None:
    """As a refusal, not as a defect of ours."""
    path = tmp_path / "key"
    path.write_text("secret-one")
    path.chmod(0o600)
    secret = written(f"file://{path}", {})
    path.write_text("unfit")
    with pytest.raises(CredentialError, match="another kind of key is meant"):
        await secret.read()


class Vault:
    """What a command asks: its answers in turn, and two clocks."""

    def __init__(self, *answers: Printed | Exception) -> None:
        self.answers, self.asked, self.now = list(answers), 0, 1000.0
        self.secret = AskedSecret("oauth.key", self.fetch, fit, lambda: self.now, lambda: self.now)

    async def fetch(self) -> Printed:
        """Give the next."""
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@ensureDeferred
async def test_a_command_is_asked_when_it_must_be() -> None:
    """Not at the start, once for all who need it soon, and again later: what it prints may have changed."""
    vault = Vault(Printed("one"), Printed("two"))
    assert vault.asked == 0
    assert [await vault.secret.read(), await vault.secret.read()] == ["one", "one"]
    vault.now += HELD_SECONDS
    assert (await vault.secret.read(), vault.asked) == ("two", 2)


@ensureDeferred
async def test_the_end_that_a_command_printed_is_kept() -> None:
    """Nothing is used beyond it."""
    vault = Vault(Printed("one", 1010.0), Printed("two"))
    assert await vault.secret.read() == "one"
    vault.now = 1010.0
    assert await vault.secret.read() == "two"


@pytest.mark.parametrize("trouble", [CredentialError("it ended with status 1"), ConfigError("it printed nothing")])
@ensureDeferred
async def test_what_cannot_be_asked_is_told_and_left_alone_for_a_while(trouble: Exception) -> None:
    """By its key; then it is tried again."""
    vault = Vault(trouble, Printed("one"))
    for _ in range(2):
        with pytest.raises(CredentialError, match=f"no credential can be made: oauth.key: {trouble}") as caught:
            await vault.secret.read()
        assert caught.value.reason is Reason.CREDENTIAL_UNAVAILABLE
    assert vault.asked == 1
    vault.now += 5
    assert await vault.secret.read() == "one"


@ensureDeferred
async def test_what_is_unfit_is_never_given() -> None:
    """What a command prints is judged like what a file holds."""
    vault = Vault(Printed("unfit"))
    with pytest.raises(CredentialError, match="another kind of key is meant") as caught:
        await vault.secret.read()
    assert "unfit" not in caught.value.text
