"""``credgate session``, against the control API on a real socket."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import pytest_twisted

from credgate.cli import session as module
from tests.fakes.cli import asked
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from tests.fakes.control_gateway import Gateway

CREATE = ("session", "create", "--repo", "octo/hello", "--repo", "octo/docs:read", "--push", "refs/heads/agent/*")


def checked(name: str, value: Any) -> Any:
    """Hold a value against its schema."""
    jsonschema.validate(value, schema(name))
    return value


def content(name: str) -> str:
    """Return a file's text; "" for none."""
    path = Path(name)
    return path.read_text(encoding="ascii") if path.exists() else ""


def mode(name: str) -> int:
    """Return a file's mode."""
    return stat.S_IMODE(Path(name).stat().st_mode)


def occupy(name: str, kind: str) -> None:
    """Have something be there already."""
    there = Path("there" if kind == "link" else name)
    there.write_text("mine\n")
    if kind == "link":
        Path(name).symlink_to(there)


@pytest_twisted.ensureDeferred
async def test_a_secret_is_the_one_line_on_standard_output(gateway: Gateway) -> None:
    """So that a script may capture it; what people read goes elsewhere, and never holds it."""
    told = await asked(*CREATE, "--for", "8h", "--bind", "10.77.0.9", "--label", "x")
    token, secret = told.out.rstrip("\n").split(":")
    (one,) = gateway.registry.all()
    assert gateway.registry.authenticate(token, secret, "10.77.0.9") == one
    assert (told.status, one.absolute_ttl, one.label, str(one.bound_to)) == (0, 8 * 3600.0, "x", "10.77.0.9/32")
    assert told.err.startswith(f"session {one.id} for octo/hello (push refs/heads/agent/*), octo/docs (read), until 20")
    assert token not in told.err
    assert secret not in told.err
    assert [(grant.repo, str(grant.access)) for grant in one.grants] == [("octo/hello", "write"), ("octo/docs", "read")]


@pytest_twisted.ensureDeferred
async def test_a_secret_goes_to_a_new_file_of_mode_0400(gateway: Gateway) -> None:
    """In the helper's form; standard output has the id, and the secret is nowhere else."""
    told = await asked(*CREATE, "--token-file", "token")
    (one,) = gateway.registry.all()
    line = content("token")
    assert mode("token") == 0o400
    assert gateway.registry.authenticate(*line.rstrip("\n").split(":"), "192.0.2.1") == one  # type: ignore[arg-type]
    assert told.out == f"{one.id}\n"
    assert line.strip() not in told.out + told.err


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest_twisted.ensureDeferred
async def test_a_secret_is_written_over_nothing(gateway: Gateway, kind: str) -> None:
    """Neither a file nor what a link names; and no session is made whose secret nobody has."""
    occupy("token", kind)
    told = await asked(*CREATE, "--token-file", "token")
    assert (told.status, told.line) == (2, "token is there already; a secret is written to a new file only")
    assert content("token") == "mine\n"
    assert gateway.registry.count == 0


@pytest_twisted.ensureDeferred
async def test_a_session_that_is_refused_leaves_no_file(gateway: Gateway) -> None:
    """The gateway's own words, and status 1."""
    told = await asked("session", "create", "--repo", "hello", "--token-file", "token")
    assert (told.status, told.line) == (1, "Invalid repo format: hello")
    assert content("token") == ""


@pytest_twisted.ensureDeferred
async def test_what_create_prints_as_json_has_its_schema(gateway: Gateway) -> None:
    """With the secret, or with the file that holds it: never both."""
    made = checked("session create", (await asked(*CREATE, "--json")).json)
    assert gateway.registry.authenticate(made["token"], made["secret"], "192.0.2.1") is not None
    filed = checked("session create", (await asked(*CREATE, "--json", "--token-file", "token")).json)
    assert filed["token_file"] == "token"


@pytest_twisted.ensureDeferred
async def test_sessions_are_listed_and_shown(gateway: Gateway) -> None:
    """In columns for people, by schema for scripts."""
    told = await asked("session", "list")
    assert (told.status, told.out, told.err) == (0, "", "no sessions\n")
    session_id = (await asked(*CREATE, "--token-file", "token", "--label", "box", "--dns", "pypi.org")).out.strip()
    told = await asked("session", "list")
    heads, _, line = told.out.strip().splitlines()
    assert heads.split()[:3] == ["ID", "LABEL", "BOUND"]
    assert line.split()[:3] == [session_id, "box", "anywhere"]
    assert "octo/hello (push refs/heads/agent/*), octo/docs (read)" in line
    shown = (await asked("session", "show", session_id)).out
    assert [word for word in (session_id, "box", "pypi.org", "7d in all, 1d without use") if word not in shown] == []
    listed = checked("session list", (await asked("session", "list", "--json")).json)
    assert listed["sessions"] == [checked("session show", (await asked("session", "show", session_id, "--json")).json)]


@pytest_twisted.ensureDeferred
async def test_a_session_is_extended_within_its_bounds(gateway: Gateway) -> None:
    """The gateway says how much is left."""
    session_id = (await asked(*CREATE, "--for", "1h", "--token-file", "token")).out.strip()
    told = await asked("session", "extend", session_id, "--for", "2h")
    assert (told.status, told.out.startswith(f"session {session_id} for ")) == (0, True)
    assert checked("session extend", (await asked("session", "extend", session_id, "--for", "3h", "--json")).json)
    told = await asked("session", "extend", session_id, "--for", "8d")
    assert (told.status, told.line[:50]) == (1, "for: no session lives longer than the configured 6")


@pytest_twisted.ensureDeferred
async def test_sessions_are_revoked_one_or_all(gateway: Gateway) -> None:
    """One that is not there is said, and keeps no other alive."""
    one, two, three = [(await asked(*CREATE, "--token-file", str(number))).out.strip() for number in range(3)]
    told = await asked("session", "revoke", "s-0123456789abcdef", one)
    assert (told.status, told.out) == (1, f"{one} is revoked\n")
    assert told.line == "s-0123456789abcdef: Session not found"
    told = await asked("session", "revoke", "--all", "--yes", "--json")
    assert checked("session revoke", told.json) == {"revoked": [two, three], "failed": {}}
    assert gateway.registry.count == 0


@pytest_twisted.ensureDeferred
async def test_nothing_is_revoked_when_a_person_says_no(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--all`` asks where somebody can answer (``test_terminal`` has a real one)."""
    monkeypatch.setattr(module, "_is_asked", lambda: True)
    await asked(*CREATE)
    told = await asked("session", "revoke", "--all", stdin="n\n")
    assert (told.status, gateway.registry.count) == (1, 1)
    assert told.err.endswith("credgate: nothing was revoked\n")
    assert (await asked("session", "revoke", "--all", stdin="y\n")).status == 0
    assert gateway.registry.count == 0


@pytest_twisted.ensureDeferred
async def test_a_token_by_mistake_goes_nowhere(gateway: Gateway) -> None:
    """Not into a path, and not onto the screen."""
    told = await asked("session", "revoke", "A" * 43)
    assert (told.status, "A" * 43 in told.err) == (2, False)


@pytest_twisted.ensureDeferred
async def test_a_session_whose_secret_cannot_be_written_is_ended(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: nobody could ever use it."""

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("credgate.cli.tokenfile.os.fsync", full)
    told = await asked(*CREATE, "--token-file", "token")
    assert (told.status, told.line) == (2, "token cannot be written: No space left on device")
    assert gateway.registry.count == 0
    assert content("token") == ""


def test_a_session_without_repositories_says_so() -> None:
    """It grants nothing."""
    one = {"id": "s-1", "repos": [], "expires_at": "2026-01-31T12:00:00Z"}
    assert module.sentence(one) == "session s-1 for no repository, until 2026-01-31T12:00:00Z if it is used"
    view = one | {"label": "", "bind": None, "dns": [], "created_at": one["expires_at"], "used_at": one["expires_at"]}
    shown = dict(module.lines(json.loads(json.dumps(view)) | {"idle_ttl": 60, "absolute_ttl": 90}, 1769860800.0))
    assert (shown["repository"], shown["lives"]) == ("none", "1m 30s in all, 1m without use")
