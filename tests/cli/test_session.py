"""``credgate session`` with a control API on a real socket; grants and token files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import jsonschema
import pytest
import pytest_twisted

from credgate.cli import session as module
from credgate.cli.output import CommandError
from credgate.cli.session import TokenFile, format_grant, parse_grants
from tests.fakes.cli import asked
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from tests.fakes.control_gateway import Gateway

CREATE = ("session", "create", "--repo", "octo/hello", "--repo", "octo/docs:read", "--push", "refs/heads/agent/*")


def checked(name: str, value: Any) -> Any:
    """Check a value against its schema and return it."""
    jsonschema.validate(value, schema(name))
    return value


def content(name: str) -> str:
    """Return the content of a file; "" if there is none."""
    path = Path(name)
    return path.read_text(encoding="ascii") if path.exists() else ""


def mode(name: str) -> int:
    """Return a file's mode."""
    return stat.S_IMODE(Path(name).stat().st_mode)


def occupy(name: str, kind: str) -> None:
    """Create a file, or a link to one."""
    there = Path("there" if kind == "link" else name)
    there.write_text("mine\n")
    if kind == "link":
        Path(name).symlink_to(there)


@pytest_twisted.ensureDeferred
async def test_create_prints_the_secret_on_standard_output_only(gateway: Gateway) -> None:
    """Standard error has the message for people."""
    result = await asked(*CREATE, "--for", "8h", "--bind", "10.77.0.9", "--label", "x")
    token, secret = result.out.rstrip("\n").split(":")
    (one,) = gateway.registry.all()
    assert gateway.registry.authenticate(token, secret, "10.77.0.9") == one
    assert (result.status, one.absolute_ttl, one.label, str(one.bound_to)) == (0, 8 * 3600.0, "x", "10.77.0.9/32")
    assert result.err.startswith(
        f"session {one.id} for octo/hello (push refs/heads/agent/*), octo/docs (read), valid until 20"
    )
    assert token not in result.err
    assert secret not in result.err
    assert [(grant.repo, str(grant.access)) for grant in one.grants] == [("octo/hello", "write"), ("octo/docs", "read")]


@pytest_twisted.ensureDeferred
async def test_create_writes_the_secret_to_a_new_file(gateway: Gateway) -> None:
    """With mode 0400, in the format of the credential helper. Standard output has the session id."""
    result = await asked(*CREATE, "--token-file", "token")
    (one,) = gateway.registry.all()
    line = content("token")
    assert mode("token") == 0o400
    assert gateway.registry.authenticate(*line.rstrip("\n").split(":"), "192.0.2.1") == one  # type: ignore[arg-type]
    assert result.out == f"{one.id}\n"
    assert line.strip() not in result.out + result.err


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest_twisted.ensureDeferred
async def test_create_does_not_overwrite_a_file(gateway: Gateway, kind: str) -> None:
    """Or the target of a link. No session is created then."""
    occupy("token", kind)
    result = await asked(*CREATE, "--token-file", "token")
    assert (result.status, result.line) == (2, "token exists; the secret is only written to a new file")
    assert content("token") == "mine\n"
    assert gateway.registry.count == 0


@pytest_twisted.ensureDeferred
async def test_refused_create_leaves_no_file(gateway: Gateway) -> None:
    """The message is the gateway's, the status 1."""
    result = await asked("session", "create", "--repo", "hello", "--token-file", "token")
    assert (result.status, result.line) == (1, "Invalid repo format: hello")
    assert content("token") == ""


@pytest_twisted.ensureDeferred
async def test_create_json_matches_its_schema(gateway: Gateway) -> None:
    """It contains the secret, or the path of the file with it."""
    made = checked("session create", (await asked(*CREATE, "--json")).json)
    assert gateway.registry.authenticate(made["token"], made["secret"], "192.0.2.1") is not None
    filed = checked("session create", (await asked(*CREATE, "--json", "--token-file", "token")).json)
    assert filed["token_file"] == "token"


@pytest_twisted.ensureDeferred
async def test_list_and_show(gateway: Gateway) -> None:
    """As tables, and as JSON that matches its schema."""
    result = await asked("session", "list")
    assert (result.status, result.out, result.err) == (0, "", "no sessions\n")
    session_id = (await asked(*CREATE, "--token-file", "token", "--label", "box", "--dns", "pypi.org")).out.strip()
    result = await asked("session", "list")
    heads, _, line = result.out.strip().splitlines()
    assert heads.split()[:3] == ["ID", "LABEL", "BOUND"]
    assert line.split()[:4] == [session_id, "box", "any", "address"]
    assert "octo/hello (push refs/heads/agent/*), octo/docs (read)" in line
    shown = (await asked("session", "show", session_id)).out
    assert [word for word in (session_id, "box", "pypi.org", "7d in total, 1d without use") if word not in shown] == []
    listed = checked("session list", (await asked("session", "list", "--json")).json)
    assert listed["sessions"] == [checked("session show", (await asked("session", "show", session_id, "--json")).json)]


@pytest_twisted.ensureDeferred
async def test_extend_within_the_configured_limit(gateway: Gateway) -> None:
    """An error says how much is left."""
    session_id = (await asked(*CREATE, "--for", "1h", "--token-file", "token")).out.strip()
    result = await asked("session", "extend", session_id, "--for", "2h")
    assert (result.status, result.out.startswith(f"session {session_id} for ")) == (0, True)
    assert checked("session extend", (await asked("session", "extend", session_id, "--for", "3h", "--json")).json)
    result = await asked("session", "extend", session_id, "--for", "8d")
    assert (result.status, result.line[:50]) == (1, "for: no session lives longer than the configured 6")


@pytest_twisted.ensureDeferred
async def test_revoke_named_or_all_sessions(gateway: Gateway) -> None:
    """A session that does not exist is reported; the others are revoked."""
    one, two, three = [(await asked(*CREATE, "--token-file", str(number))).out.strip() for number in range(3)]
    result = await asked("session", "revoke", "s-0123456789abcdef", one)
    assert (result.status, result.out) == (1, f"{one} revoked\n")
    assert result.line == "s-0123456789abcdef: Session not found"
    result = await asked("session", "revoke", "--all", "--yes", "--json")
    assert checked("session revoke", result.json) == {"revoked": [two, three], "failed": {}}
    assert gateway.registry.count == 0


@pytest_twisted.ensureDeferred
async def test_revoke_all_asks_for_confirmation(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """``test_terminal`` does so on a real terminal."""
    monkeypatch.setattr(module, "is_interactive", lambda: True)
    await asked(*CREATE)
    result = await asked("session", "revoke", "--all", stdin="n\n")
    assert (result.status, gateway.registry.count) == (1, 1)
    assert result.err.endswith("credgate: no session was revoked\n")
    assert (await asked("session", "revoke", "--all", stdin="y\n")).status == 0
    assert gateway.registry.count == 0


@pytest_twisted.ensureDeferred
async def test_token_instead_of_an_id_is_not_repeated(gateway: Gateway) -> None:
    """It is neither sent nor printed."""
    result = await asked("session", "revoke", "A" * 43)
    assert (result.status, "A" * 43 in result.err) == (2, False)


@pytest_twisted.ensureDeferred
async def test_session_is_revoked_if_its_secret_cannot_be_written(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the disk is full."""

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("credgate.cli.session.os.fsync", full)
    result = await asked(*CREATE, "--token-file", "token")
    assert (result.status, result.line) == (2, "token cannot be written: No space left on device")
    assert gateway.registry.count == 0
    assert content("token") == ""


def test_session_without_repositories_is_described() -> None:
    """It grants nothing."""
    one = {"id": "s-1", "repos": [], "expires_at": "2026-01-31T12:00:00Z"}
    assert module.summary(one) == "session s-1 for no repository, valid until 2026-01-31T12:00:00Z if it is used"
    view = one | {"label": "", "bind": None, "dns": [], "created_at": one["expires_at"], "used_at": one["expires_at"]}
    shown = dict(module.details(json.loads(json.dumps(view)) | {"idle_ttl": 60, "absolute_ttl": 90}, 1769860800.0))
    assert (shown["repository"], shown["limits"]) == ("none", "1m 30s in total, 1m without use")


# Grants on the command line.


def test_grant_is_write_unless_read_is_given() -> None:
    """Push rules apply to repositories with write access, the forge to all."""
    found = parse_grants(["octo/hello", "octo/docs:read", "a/b:write"], ["refs/heads/agent/*"], "git.example")
    rules = [{"refs": "refs/heads/agent/*", "allow": ["create", "update"]}]
    assert found == [
        {"repo": "octo/hello", "access": "write", "forge": "git.example", "push": rules},
        {"repo": "octo/docs", "access": "read", "forge": "git.example"},
        {"repo": "a/b", "access": "write", "forge": "git.example", "push": rules},
    ]
    assert parse_grants(["octo/hello"], [], "") == [{"repo": "octo/hello", "access": "write"}]


def test_push_rule_with_verbs() -> None:
    """After a colon, which no ref contains."""
    (one,) = parse_grants(["o/r"], ["refs/heads/x:create,force", "refs/tags/*:delete"], "")
    assert [(rule["refs"], rule["allow"]) for rule in one["push"]] == [
        ("refs/heads/x", ["create", "force"]),
        ("refs/tags/*", ["delete"]),
    ]


@pytest.mark.parametrize(
    ("repos", "push", "text"),
    [
        (["o/r:admin"], [], "not o/r:admin"),
        ([":read"], [], "not :read"),
        (["o/r"], ["refs/heads/x:smash"], "not smash"),
        (["o/r:read"], ["refs/heads/x"], "--push needs a repository"),
        ([], ["refs/heads/x"], "--push needs a repository"),
    ],
)
def test_invalid_grant_is_refused(repos: list[str], push: list[str], text: str) -> None:
    """A misspelt right must not become another one."""
    with pytest.raises(click.UsageError) as caught:
        parse_grants(repos, push, "")
    assert text in caught.value.format_message()


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        ({"repo": "o/r", "access": "write"}, "o/r"),
        ({"repo": "o/r", "access": "read", "forge": "github.com"}, "o/r (read)"),
        ({"repo": "o/r", "access": "write", "forge": "git.example"}, "git.example/o/r"),
        ({"repo": "o/r", "access": "write", "push": [{"refs": "refs/heads/x"}]}, "o/r (push refs/heads/x)"),
        ({"repo": "o/r", "access": "write", "push": []}, "o/r (push nothing)"),
    ],
)
def test_grant_is_formatted_for_a_table(grant: dict[str, object], words: str) -> None:
    """The default forge is left out."""
    assert format_grant(grant) == words


# The token file.


def test_token_file_has_mode_0400_from_the_start(tmp_path: Path) -> None:
    """It is removed if nothing was written."""
    with TokenFile(tmp_path / "token") as file:
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o400
    assert not file.path.exists()
    with TokenFile(tmp_path / "token") as file:
        file.write("T", "S")
    assert file.path.read_text() == "T:S\n"


@pytest.mark.parametrize("place", ["there", "link", "no/such/place"])
def test_existing_file_or_link_is_not_written_to(tmp_path: Path, place: str) -> None:
    """A file, a dangling link, a missing directory."""
    (tmp_path / "there").touch()
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(CommandError, match=r"exists; the secret|cannot be created"), TokenFile(tmp_path / place):
        pass
    assert not (tmp_path / "elsewhere").exists()
