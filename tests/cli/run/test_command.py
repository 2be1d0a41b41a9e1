"""``credgate run`` beside a gateway in the test's process: what its command gets, and what is left (with git: e2e)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from credgate.cli.output import CommandError
from credgate.cli.run import command as running
from credgate.config.named import Named
from tests.fakes.cli import credgate
from tests.fakes.control_gateway import within
from tests.fakes.keeping import command, orders

if TYPE_CHECKING:
    import subprocess

    from tests.fakes.control_gateway import Gateway

FILE = '[forges."github.com"]\nkind = "github"\nurl = "https://github.com"\n'


def left(home: Path) -> list[Path]:
    """Return the directories of sessions that are there."""
    return list(home.glob("credgate-run-*"))


async def run(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run it while the reactor goes on."""
    ran: subprocess.CompletedProcess[str] = await within(deferToThread(command, "run", *words, **more))
    return ran


@pytest_twisted.ensureDeferred
async def test_a_command_has_a_session_while_it_runs(gateway: Gateway, home: Path) -> None:
    """Told by its environment and by git's configuration in it, and by no argument; it ends with the command."""
    words = ("--repo", "octo/hello", "--label", "box", "--", "sh", "-c", 'cat "$CREDGATE_TOKEN_FILE"; env; exit 7')
    ran = await run(*words)
    assert (ran.returncode, ran.stderr) == (7, "")
    shown = dict(line.split("=", 1) for line in ran.stdout.splitlines() if re.match(r"[A-Z_0-9]+=", line))
    assert shown["CREDGATE_URL"] == "http://127.0.0.1:8080"
    assert shown["HOME"] == str(Path(shown["CREDGATE_TOKEN_FILE"]).parent / "home")
    assert "CREDGATE_SOCKET" not in shown
    created, ended = gateway.audit.events[0], gateway.registry.all()
    assert (created.session, ended) == (shown["CREDGATE_SESSION"], [])
    assert left(home) == []


@pytest_twisted.ensureDeferred
async def test_a_home_is_kept_where_that_was_asked_for(gateway: Gateway, home: Path) -> None:
    """With whatever credentials lie there: the option says so."""
    ran = await run("--keep-home", "--", "printenv", "HOME")
    assert ran.stdout == f"{home}\n"


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_run_has_the_shell_s_status(gateway: Gateway) -> None:
    """One line, and no session is left of it."""
    ran = await run("--", "no-such-command")
    assert (ran.returncode, ran.stderr) == (127, "credgate: no-such-command: command not found\n")
    assert gateway.registry.all() == []


@pytest_twisted.ensureDeferred
async def test_a_session_that_may_live_on_is_told(gateway: Gateway) -> None:
    """The command's status stays its own; the line says how to end the session by hand."""
    ran = await run("--", "rm", str(gateway.socket))
    (held,) = gateway.registry.all()
    assert ran.returncode == 0
    assert ran.stderr == f"credgate: the session may live on: credgate session revoke {held.id}\n"


@pytest_twisted.ensureDeferred
async def test_what_the_gateway_refuses_runs_nothing(gateway: Gateway, home: Path) -> None:
    """A command that was meant to have git must not run without it."""
    ran = await run("--repo", "octo/hello", "--forge", "nowhere", "--", "touch", str(home / "ran"))
    assert ran.returncode == 1
    assert "nowhere" in ran.stderr
    assert not (home / "ran").exists()


def test_where_no_gateway_runs_one_is_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody named one, and nobody listens at the usual place: it is there for this command alone."""
    monkeypatch.delenv("CREDGATE_SOCKET", raising=False)
    ran = command("run", "--", "sh", "-c", 'echo "$CREDGATE_URL"')
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", ran.stdout)
    assert left(home) == []


def test_a_gateway_that_was_named_must_be_the_one(home: Path) -> None:
    """Another in its place would have other grants, other credentials and another audit log."""
    ran = command("run", "--socket", str(home / "none"), "--", "true")
    assert (ran.returncode, "no gateway answers at" in ran.stderr) == (3, True)
    told = credgate("run", "--socket", "x", "--private", "--", "true")
    assert (told.status, "choose" in told.line) == (2, True)


def test_a_place_that_is_not_there_cannot_be_hidden(home: Path) -> None:
    """A mistyped path would hide nothing."""
    told = credgate("run", "--isolate", "--hide", str(home / "none"), "--", "true")
    assert (told.status, "does not exist" in told.line) == (2, True)


# What a private gateway's configuration names.


def test_what_the_gateway_is_told_no_command_shall_have(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables and files of its credentials, and what is in them. One that runs already names nothing to us."""
    path = home / "credgate.toml"
    token = home / "token"
    token.write_text("from-the-file\n")
    token.chmod(0o600)
    credentials = f'{{ "octo/x" = "file://{token}", "octo/y" = "file:///nowhere" }}'
    path.write_text(f'{FILE}credential = "env://FORGE_TOKEN"\ncredentials = {credentials}\n')
    monkeypatch.setenv("FORGE_TOKEN", "from-the-environment")
    found = running.referred(path, private=True)
    assert (found.variables, found.secrets) == ({"FORGE_TOKEN"}, (token, Path("/nowhere")))
    assert running.credentials(found) == {"from-the-environment", "from-the-file"}
    assert running.referred(None, private=False) == Named()
    path.write_text("[nonsense]\n")
    with pytest.raises(CommandError, match="nonsense") as caught:
        running.referred(path, private=True)
    assert caught.value.status == 2


def test_a_private_gateway_without_a_configuration_has_the_token_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """No command has it, whatever it is asked to keep."""
    monkeypatch.delenv("CREDGATE_SOCKET", raising=False)
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_0123456789")
    monkeypatch.setenv("COPY", "token ghp_0123456789")
    monkeypatch.setenv("PLAIN", "stays")
    keep = [word for name in ("GITHUB_TOKEN", "COPY", "PLAIN") for word in ("--keep-env", name)]
    ran = command("run", "--private", *keep, "--", "env")
    assert "PLAIN=stays" in ran.stdout.splitlines()
    assert "ghp_0123456789" not in ran.stdout
    assert left(home) == []


def test_the_author_is_the_caller(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git refuses to commit without one. Nothing else of the caller's configuration is taken, helpers least of all."""
    (home / ".gitconfig").write_text("[user]\n\tname = A U Thor\n[credential]\n\thelper = store\n")
    assert running._identity() == [("user.name", "A U Thor")]
    monkeypatch.setenv("PATH", str(home))
    assert running._identity() == []


# The keeper's end of it.


def scripted(monkeypatch: pytest.MonkeyPatch, home: Path, script: str) -> running.Supervisor:
    """Have a script of ours in the keeper's place."""
    path = home / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "$SCRIPT"\n')
    path.chmod(0o755)
    monkeypatch.setenv("SCRIPT", script)
    monkeypatch.setattr(sys, "executable", str(path))
    return running.Supervisor(orders(None), isolated=False)


def test_a_keeper_that_dies_is_a_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run for a session that nobody would end."""
    keeper = scripted(monkeypatch, home, "")
    with pytest.raises(CommandError, match="ended before it was made") as caught:
        keeper.__enter__()
    assert caught.value.status == 1
    with keeper._process:
        """Close its pipes, as the wrapper's own end does."""


def test_a_keeper_that_does_not_end_is_not_waited_for_without_end(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The caller has its prompt back, and is told what may be left."""
    monkeypatch.setattr(running, "END", 0.2)
    keeper = scripted(monkeypatch, home, 'import signal; print(\'{"id": "s-1"}\', flush=True); signal.pause()')
    with keeper:
        assert keeper.told == {"id": "s-1"}
    keeper._process.kill()
    keeper._process.wait(20)
    assert capsys.readouterr().err == "credgate: the session may live on: credgate session revoke s-1\n"
    assert keeper._process.stdout is not None
    keeper._process.stdout.close()
