"""``credgate``: its commands, and the format of all errors."""

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
    ("words", "expected"),
    [
        (["--help"], ["policy", "dns-check", "twistd credgate", "Exit status: 0 success;"]),
        (["policy", "-h"], ["test"]),
        (["policy", "test", "--help"], ["FILE...", "--config", "[[push]]\n", "Exit status: 0", "--quiet"]),
        (["dns-check", "--help"], ["usage: credgate-dns-check", "--client"]),
        (["--version"], [f"credgate {package.__version__}\n"]),
    ],
)
def test_help_lists_commands_and_options(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """For the program and some commands."""
    result = credgate(*words)
    assert result.status == 0
    assert [one for one in expected if one not in result.out + capsys.readouterr().out] == []


def commands(group: object = main, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the words of every command."""
    below = getattr(group, "commands", None)
    if below is None:
        return [before]
    return [words for name, one in below.items() for words in commands(one, (*before, name))]


@pytest.mark.parametrize("words", [words for words in commands() if words != ("dns-check",)], ids=" ".join)
def test_every_command_has_help_and_refuses_unknown_options(words: tuple[str, ...]) -> None:
    """One line, status 2."""
    assert f"Usage: credgate {' '.join(words)} " in credgate(*words, "--help").out
    result = credgate(*words, "--no-such-option")
    assert result.status == 2
    assert "--no-such-option" in result.line


ID = "s-0123456789abcdef"
USAGE = [
    (["frob"], "No such command 'frob'"),
    (["policy", "tests"], "No such command 'tests'"),
    ([], "missing command: credgate dns-check|session|env|"),
    (["session"], "missing command: credgate session create|list|show|extend|revoke"),
    (["session", "show"], "Missing argument 'ID'"),
    (["session", "show", "x"], "a session id is s- and 16 hexadecimal digits"),
    (["session", "extend", ID], "Missing option '--for'"),
    (["session", "create", "--repo", "octo/hello:admin"], "--repo must be OWNER/REPO"),
    (["session", "create", "--repo", "o/r", "--push", "refs/heads/x:smash"], "--push must be REFS"),
    (["session", "create", "--repo", "o/r:read", "--push", "refs/heads/x"], "--push needs a repository"),
    (["session", "revoke"], "name the sessions to revoke, or use --all"),
    (["session", "revoke", ID, "--all"], "name the sessions to revoke, or use --all"),
    (["session", "revoke", "--all"], "standard input is not a terminal: use --yes"),
    (["env", ID, "--format", "yaml"], "Invalid value for '--format'"),
    (["explain", "octo/hello", "fetch"], "name a session or a grant"),
    (["explain", "octo/hello", "frob", "--session", ID], "Invalid value for"),
    (["top", "--interval", "0"], "Invalid value for '--interval'"),
    (["audit", "grep"], "Missing argument 'EXPR...'"),
    (["audit", "grep", "repo~(", "--file", "x"], "invalid regular expression (: "),
    (["audit", "tail", "--file", "none"], "none cannot be read: No such file or directory"),
    (["check-config", "none.toml"], "none.toml: the file cannot be read: No such file or directory"),
    (["run"], "Missing argument '[--] CMD...'"),
    (["run", "--private", "--socket", "x", "--", "true"], "--socket selects a running gateway"),
    (["run", "--config", "none.toml", "--", "true"], "none.toml: the file cannot be read"),
    (
        ["session", "create", "--token-file", "no/such/place"],
        "no/such/place cannot be created: No such file or directory",
    ),
]


@pytest.mark.parametrize(("words", "text"), USAGE, ids=[" ".join(words) for words, _ in USAGE])
def test_usage_error_is_one_line_with_status_2(words: list[str], text: str) -> None:
    """No traceback and no help page."""
    result = credgate(*words)
    assert (result.status, result.out) == (2, "")
    assert result.line.startswith(text)


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
async def test_missing_gateway_is_one_line_with_status_3(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as JSON."""
    borrow_reactor(monkeypatch)
    result = await asked(*words, "--socket", "no.sock")
    assert (result.status, result.out) == (3, "")
    assert result.line.startswith("no gateway answers at no.sock (No such file or directory); start one (twistd -n")
    for wanted in ([*words, "--json", "--socket", "no.sock"], ["--json", "--socket", "no.sock", *words]):
        result = await asked(*wanted)
        jsonschema.validate(json.loads(result.err), schema("error"))
        assert (result.status, '"exit": 3' in result.err) == (3, True)


def test_invalid_gateway_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default socket depends on the gateway's environment variables."""
    monkeypatch.setenv("GATEWAY_PORT", "many")
    result = credgate("session", "list")
    assert result.status == 2
    assert result.line.startswith("GATEWAY_PORT: ")


def test_dns_check_passes_arguments_and_status_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """``credgate dns-check`` is ``credgate-dns-check``."""
    given: list[object] = []
    monkeypatch.setattr(dns_check, "main", lambda words: given.append(tuple(words)) or 1)
    assert credgate("dns-check", "x.example", "AAAA", "--client", "10.0.0.7", "--tcp").status == 1
    assert given == [("x.example", "AAAA", "--client", "10.0.0.7", "--tcp")]


@pytest.mark.parametrize(("name", "least"), [("click", (8, 3)), ("rich", (15, 0)), ("treq", (26, 7))])
def test_libraries_have_the_required_versions(name: str, least: tuple[int, ...]) -> None:
    """Those of ``setup.cfg``."""
    assert tuple(map(int, version(name).split(".")[:2])) >= least
