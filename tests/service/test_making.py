"""From what the operator wrote to sources: one a reference, and every mistake before anything listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from credgate.config.credential_output import Printed
from credgate.config.schema import App, Config, Forge
from credgate.errors import ConfigError
from credgate.forges.registry import driver_for
from credgate.service import keyrings
from credgate.service.fetched import FetchedSource
from credgate.service.files import EnvSource, FileSource
from credgate.service.making import Making
from tests.fakes.files import write_secret
from tests.fakes.minting import grant, session, wanted

if TYPE_CHECKING:
    from pathlib import Path

    from credgate.forges.choice import Choice
    from credgate.service.sources import Source

CANARY = "ghp_CANARY0123456789"
ENVIRON = {"TOKEN": CANARY, "PATH": "/usr/bin:/bin", "SECRET_OF_OURS": CANARY}


def choice(credential: str = "", credentials: dict[str, str] | None = None, **more: Any) -> Choice[Source]:
    """Make one forge's sources; its keys stand in lines 7 and 8 of the file."""
    mint = more.pop("mint", lambda _forge, _driver: None)
    forge = Forge("a", "github", "https://a.example", credential=credential, credentials=credentials or {}, **more)
    lines: dict[Any, int] = {("forges", "a", key): 7 for key in ("credential", "credentials", "app")}
    lines |= {("forges", "a", "credentials", pattern): 8 for pattern in credentials or {}}
    config = Config(forges={"a": forge}, source="c.toml", lines=lines)
    making = Making(config, mint, ENVIRON, reactor, lambda call, *args: succeed(call(*args)), lambda: 0.0)
    return making.choice(forge, driver_for(forge))


def test_each_form_has_its_source(tmp_path: Path) -> None:
    """By the room that knows how it is read."""
    path = write_secret(tmp_path / "token", CANARY)
    kinds = {"env://TOKEN": EnvSource, f"file://{path}": FileSource, "cmd://true": FetchedSource}
    for reference, kind in kinds.items():
        assert isinstance(choice(reference).find("octo/hello"), kind)


def test_one_reference_is_one_source() -> None:
    """However many patterns name it: a file is watched once, a command run once, and its value has one id."""
    made = choice("env://TOKEN", {"octo/*": "env://TOKEN", "octo/x": "env://PATH"})
    assert made.find("octo/hello") is made.find("else/where")
    assert made.find("octo/x") is not made.find("octo/hello")


def test_no_credential_is_no_source() -> None:
    """Such a forge is asked anonymously."""
    assert choice().find("octo/hello") is None


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"credentials": {"octo/*": CANARY}}, 'c.toml:8: forges.a.credentials."octo/*": a reference is meant'),
    ({"credentials": {"Octo/*": "file:///none"}}, 'c.toml:8: forges.a.credentials."Octo/*": '),
    ({"credentials": {"a/b/c": "env://TOKEN"}}, 'c.toml:8: forges.a.credentials."a/b/c": no pattern of repositories'),
    ({"credential": "env://NONE"}, "c.toml:7: forges.a.credential: "),
    ({"credential": f"cmd://{CANARY}"}, "c.toml:7: forges.a.credential: the program that cmd:// names is not there"),
    (
        {"credential": "env://TOKEN", "credentials": {"**": "env://PATH"}},
        "c.toml:7: forges.a.credential: another credential stands for every repository already",
    ),
    (
        {"credential": "env://TOKEN", "app": App("7"), "mint": lambda *_: object()},
        "c.toml:7: forges.a.app: another credential stands for every repository already",
    ),
]


@pytest.mark.parametrize(("written", "said"), MISTAKES)
def test_a_mistake_stops_the_start_with_its_place(written: dict[str, Any], said: str) -> None:
    """File, line and key as they were written; what was pasted there is not repeated."""
    with pytest.raises(ConfigError) as caught:
        choice(**written)
    assert str(caught.value).startswith(said)
    assert "CANARY" not in str(caught.value).replace(f'"{CANARY}"', "")


def test_what_a_minting_table_lacks_is_told_by_its_key() -> None:
    """The factory knows only what is wrong; where that stands is known here."""

    def mint(*_: object) -> None:
        raise ConfigError("what was meant", key="app.private_key")

    with pytest.raises(ConfigError, match=r"^c.toml:7: forges\.a\.app\.private_key: what was meant$"):
        choice(app=App("7"), mint=mint)


def test_what_is_minted_stands_for_every_repository() -> None:
    """Patterns beside it are more particular, and win."""
    minted: Any = object()
    made = choice(credentials={"octo/x": "env://TOKEN"}, app=App("7"), mint=lambda *_: minted)
    assert made.find("octo/hello") is minted
    assert isinstance(made.find("octo/x"), EnvSource)


WANTED = wanted(session(grant("octo/hello")))


async def printed(reference: str) -> str:
    """Return the secret that a reference comes to."""
    source = choice(reference).find("octo/hello")
    assert source is not None
    credential = await Deferred.fromCoroutine(source.obtain(WANTED)).addTimeout(20, reactor)
    return credential.secret


@ensureDeferred
async def test_a_command_sees_three_variables_and_no_secret() -> None:
    """The gateway's environment holds every other forge's credential."""
    assert await printed("cmd://sh -c 'echo ${TOKEN:-none},${SECRET_OF_OURS:-none},$PATH'") == "none,none,/usr/bin:/bin"


@ensureDeferred
async def test_a_keyring_s_entry_is_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library may ask a service of the desktop, and that may ask a person."""
    monkeypatch.setattr(keyrings, "check_installed", lambda: None)
    monkeypatch.setattr(keyrings, "read_entry", lambda service, user: Printed(f"{service} {user}"))
    assert await printed("keyring://forge/git/robot") == "forge/git robot"


def test_a_keyring_that_is_not_installed_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the first request it would be an outage."""
    monkeypatch.setattr(keyrings.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"c.toml:7: forges.a.credential: keyring:// needs the keyring library"):
        choice("keyring://forge/robot")
