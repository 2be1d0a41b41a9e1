"""``credgate``: what there is, and the one form of every error."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

import jsonschema
import pytest
import pytest_twisted

import credgate as package
from credgate.cli import dns_check
from credgate.cli.main import main
from tests.fakes.cli import asked, borrow_reactor, credgate
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("CREDGATE_SOCKET", raising=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--help"], ["policy", "dns-check", "twistd credgate", "Exit status: 0 done;"]),
        (["policy", "-h"], ["test"]),
        (["policy", "test", "--help"], ["FILE...", "--config", "[[push]]\n", "Exit status: 0", "--quiet"]),
        (["dns-check", "--help"], ["usage: credgate-dns-check", "--client"]),
        (["--version"], [f"credgate {package.__version__}\n"]),
    ],
)
def test_help_says_what_there_is(words: list[str], said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody should have to read the code for it."""
    told = credgate(*words)
    assert told.status == 0
    assert [one for one in said if one not in told.out + capsys.readouterr().out] == []


def commands(group: object = main, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return every command's words."""
    below = getattr(group, "commands", None)
    if below is None:
        return [before]
    return [words for name, one in below.items() for words in commands(one, (*before, name))]


@pytest.mark.parametrize("words", [words for words in commands() if words != ("dns-check",)], ids=" ".join)
def test_every_command_has_help_and_takes_no_unknown_option(words: tuple[str, ...]) -> None:
    """One line, and status 2."""
    assert f"Usage: credgate {' '.join(words)} " in credgate(*words, "--help").out
    told = credgate(*words, "--no-such-option")
    assert told.status == 2
    assert "--no-such-option" in told.line


ID = "s-0123456789abcdef"
USAGE = [
    (["frob"], "No such command 'frob'"),
    (["policy", "tests"], "No such command 'tests'"),
    ([], "say which: credgate dns-check|session|env|"),
    (["session"], "say which: credgate session create|list|show|extend|revoke"),
    (["session", "show"], "Missing argument 'ID'"),
    (["session", "show", "x"], "a session's id is s- and 16 hexadecimal digits"),
    (["session", "extend", ID], "Missing option '--for'"),
    (["session", "create", "--repo", "octo/hello:admin"], "--repo is OWNER/REPO"),
    (["session", "create", "--repo", "o/r", "--push", "refs/heads/x:smash"], "--push is REFS"),
    (["session", "create", "--repo", "o/r:read", "--push", "refs/heads/x"], "--push is for a repository"),
    (["session", "revoke"], "name the sessions to revoke, or say --all"),
    (["session", "revoke", ID, "--all"], "name the sessions to revoke, or say --all"),
    (["session", "revoke", "--all"], "nobody is there to ask: say --yes"),
    (["env", ID, "--format", "yaml"], "Invalid value for '--format'"),
    (["explain", "octo/hello", "fetch"], "say for whom"),
    (["explain", "octo/hello", "frob", "--session", ID], "Invalid value for"),
    (["top", "--interval", "0"], "Invalid value for '--interval'"),
    (["audit", "grep"], "Missing argument 'EXPR...'"),
    (["audit", "grep", "repo~(", "--file", "x"], "( is no regular expression"),
    (["audit", "tail", "--file", "none"], "none cannot be read: No such file or directory"),
    (["check-config", "none.toml"], "none.toml: the file cannot be read: No such file or directory"),
    (["run"], "Missing argument '[--] CMD...'"),
    (["run", "--private", "--socket", "x", "--", "true"], "--socket names a gateway that runs"),
    (["run", "--config", "none.toml", "--", "true"], "none.toml: the file cannot be read"),
    (["session", "create", "--token-file", "no/such/place"], "no/such/place cannot be made: No such file or directory"),
]


@pytest.mark.parametrize(("words", "text"), USAGE, ids=[" ".join(words) for words, _ in USAGE])
def test_what_cannot_be_used_is_one_line_and_status_2(words: list[str], text: str) -> None:
    """No traceback, no page of help."""
    told = credgate(*words)
    assert (told.status, told.out) == (2, "")
    assert told.line.startswith(text)


@pytest.mark.parametrize(
    "words",
    [
        ["session", "create", "--repo", "octo/hello"],
        ["session", "list"],
        ["session", "show", ID],
        ["session", "extend", ID, "--for", "8h"],
        ["session", "revoke", ID],
        ["session", "revoke", "--all", "--yes"],
        ["env", ID],
        ["status"],
        ["top", "--once"],
        ["explain", "octo/hello", "fetch", "--session", ID],
        ["audit", "tail"],
        ["audit", "grep", "x"],
    ],
    ids=" ".join,
)
@pytest_twisted.ensureDeferred
async def test_a_gateway_that_is_not_there_is_status_3(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way to name another; as JSON where that was asked for, before or behind the command."""
    borrow_reactor(monkeypatch)
    told = await asked(*words, "--socket", "no.sock")
    assert (told.status, told.out) == (3, "")
    assert told.line.startswith("no gateway answers at no.sock (No such file or directory); start one (twistd -n")
    for wanted in ([*words, "--json", "--socket", "no.sock"], ["--json", "--socket", "no.sock", *words]):
        told = await asked(*wanted)
        jsonschema.validate(json.loads(told.err), schema("error"))
        assert (told.status, '"exit": 3' in told.err) == (3, True)


def test_no_socket_can_be_named_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then somebody must say where; a bad variable of the gateway's own is told by its name."""
    monkeypatch.setenv("GATEWAY_PORT", "many")
    told = credgate("session", "list")
    assert told.status == 2
    assert told.line.startswith("GATEWAY_PORT: ")


def test_dns_check_is_the_same_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words and its exit status pass unchanged."""
    given: list[object] = []
    monkeypatch.setattr(dns_check, "main", lambda words: given.append(tuple(words)) or 1)
    assert credgate("dns-check", "x.example", "AAAA", "--client", "10.0.0.7", "--tcp").status == 1
    assert given == [("x.example", "AAAA", "--client", "10.0.0.7", "--tcp")]


@pytest.mark.parametrize(("name", "least"), [("click", (8, 3)), ("rich", (15, 0)), ("treq", (26, 7))])
def test_libraries_are_what_the_package_asks_for(name: str, least: tuple[int, ...]) -> None:
    """``setup.cfg`` names them."""
    assert tuple(map(int, version(name).split(".")[:2])) >= least
