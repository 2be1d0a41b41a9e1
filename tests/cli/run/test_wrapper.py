"""``credgate run`` beside a gateway in the test's process (with git: ``tests/e2e/test_run.py``)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from credgate.cli.output import CommandError
from credgate.cli.run import wrapper
from credgate.config.secret_locations import SecretLocations
from tests.fakes.cli import credgate
from tests.fakes.control_gateway import within
from tests.fakes.run_processes import command, request

if TYPE_CHECKING:
    import subprocess

    from tests.fakes.control_gateway import Gateway

CONFIG = '[forges."github.com"]\nkind = "github"\nurl = "https://github.com"\n'


def remaining(home: Path) -> list[Path]:
    """Return the directories of sessions that exist."""
    return list(home.glob("credgate-run-*"))


async def run(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run ``credgate run`` while the reactor runs."""
    ran: subprocess.CompletedProcess[str] = await within(deferToThread(command, "run", *words, **more))
    return ran


@pytest_twisted.ensureDeferred
async def test_command_has_a_session_while_it_runs(gateway: Gateway, home: Path) -> None:
    """It gets it by environment variables and a file; the session ends with the command."""
    words = ("--repo", "octo/hello", "--label", "box", "--", "sh", "-c", 'cat "$CREDGATE_TOKEN_FILE"; env; exit 7')
    ran = await run(*words)
    assert (ran.returncode, ran.stderr) == (7, "")
    shown = dict(line.split("=", 1) for line in ran.stdout.splitlines() if re.match(r"[A-Z_0-9]+=", line))
    assert shown["CREDGATE_URL"] == "http://127.0.0.1:8080"
    assert shown["HOME"] == str(Path(shown["CREDGATE_TOKEN_FILE"]).parent / "home")
    assert "CREDGATE_SOCKET" not in shown
    created, sessions = gateway.audit.events[0], gateway.registry.all()
    assert (created.session, sessions) == (shown["CREDGATE_SESSION"], [])
    assert remaining(home) == []


@pytest_twisted.ensureDeferred
async def test_keep_home_keeps_the_callers_home(gateway: Gateway, home: Path) -> None:
    """Including any credentials in it."""
    ran = await run("--keep-home", "--", "printenv", "HOME")
    assert ran.stdout == f"{home}\n"


@pytest_twisted.ensureDeferred
async def test_command_that_cannot_be_started_has_the_status_of_a_shell(gateway: Gateway) -> None:
    """One line is printed, and no session remains."""
    ran = await run("--", "no-such-command")
    assert (ran.returncode, ran.stderr) == (127, "credgate: no-such-command: command not found\n")
    assert gateway.registry.all() == []


@pytest_twisted.ensureDeferred
async def test_session_that_could_not_be_revoked_is_reported(gateway: Gateway) -> None:
    """The exit status is still the command's. The message has the command that revokes the session."""
    ran = await run("--", "rm", str(gateway.socket))
    (session,) = gateway.registry.all()
    assert ran.returncode == 0
    text = "the session may still be valid; revoke it: credgate session revoke"
    assert ran.stderr == f"credgate: {text} {session.id}\n"


@pytest_twisted.ensureDeferred
async def test_command_is_not_run_if_the_gateway_refuses_the_session(gateway: Gateway, home: Path) -> None:
    """Its git would not work."""
    ran = await run("--repo", "octo/hello", "--forge", "nowhere", "--", "touch", str(home / "ran"))
    assert ran.returncode == 1
    assert "nowhere" in ran.stderr
    assert not (home / "ran").exists()


def test_private_gateway_is_started_if_none_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no gateway was named and none listens on the default socket."""
    monkeypatch.delenv("CREDGATE_SOCKET", raising=False)
    ran = command("run", "--", "sh", "-c", 'echo "$CREDGATE_URL"')
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", ran.stdout)
    assert remaining(home) == []


def test_named_gateway_must_run(home: Path) -> None:
    """A private one instead would have other grants, other credentials and another audit log."""
    ran = command("run", "--socket", str(home / "none"), "--", "true")
    assert (ran.returncode, "no gateway answers at" in ran.stderr) == (3, True)
    result = credgate("run", "--socket", "x", "--private", "--", "true")
    assert (result.status, "use one of them" in result.line) == (2, True)


def test_path_to_hide_must_exist(home: Path) -> None:
    """A misspelt path would hide nothing."""
    result = credgate("run", "--isolate", "--hide", str(home / "none"), "--", "true")
    assert (result.status, "does not exist" in result.line) == (2, True)


def test_secrets_of_the_private_gateways_configuration_are_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables, files, and the credentials in them. The configuration of a shared gateway is not known."""
    path, token = home / "credgate.toml", home / "token"
    token.write_text("from-the-file\n")
    token.chmod(0o600)
    credentials = f'{{ "octo/x" = "file://{token}", "octo/y" = "file:///nowhere" }}'
    path.write_text(f'{CONFIG}credential = "env://FORGE_TOKEN"\ncredentials = {credentials}\n')
    monkeypatch.setenv("FORGE_TOKEN", "from-the-environment")
    found = wrapper.configured_locations(path, private=True)
    assert (found.variables, found.secrets) == ({"FORGE_TOKEN"}, (token, Path("/nowhere")))
    assert wrapper.read_secrets(found) == {"from-the-environment", "from-the-file"}
    assert wrapper.configured_locations(None, private=False) == SecretLocations()
    path.write_text("[nonsense]\n")
    with pytest.raises(CommandError, match="nonsense") as caught:
        wrapper.configured_locations(path, private=True)
    assert caught.value.status == 2


def test_token_of_the_private_gateway_is_never_passed_to_the_command(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """Without a configuration file it is GITHUB_TOKEN; ``--keep-env`` does not override this."""
    monkeypatch.delenv("CREDGATE_SOCKET", raising=False)
    monkeypatch.setenv("GITHUB_TOKEN", "ghp_0123456789")
    monkeypatch.setenv("COPY", "token ghp_0123456789")
    monkeypatch.setenv("PLAIN", "stays")
    keep = [word for name in ("GITHUB_TOKEN", "COPY", "PLAIN") for word in ("--keep-env", name)]
    ran = command("run", "--private", *keep, "--", "env")
    assert "PLAIN=stays" in ran.stdout.splitlines()
    assert "ghp_0123456789" not in ran.stdout
    assert remaining(home) == []


def test_only_the_git_identity_of_the_caller_is_taken_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git refuses to commit without one. Other settings, such as credential helpers, are not taken over."""
    (home / ".gitconfig").write_text("[user]\n\tname = A U Thor\n[credential]\n\thelper = store\n")
    assert wrapper.git_identity() == [("user.name", "A U Thor")]
    monkeypatch.setenv("PATH", str(home))
    assert wrapper.git_identity() == []


# Failures of the supervisor.


def scripted(monkeypatch: pytest.MonkeyPatch, home: Path, script: str) -> wrapper.Supervisor:
    """Return a supervisor that is a script of the test."""
    path = home / "python"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "$SCRIPT"\n')
    path.chmod(0o755)
    monkeypatch.setenv("SCRIPT", script)
    monkeypatch.setattr(sys, "executable", str(path))
    return wrapper.Supervisor(request(None), isolated=False)


def test_supervisor_that_ends_early_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command is run, because its session would not be revoked."""
    supervisor = scripted(monkeypatch, home, "")
    with pytest.raises(CommandError, match="ended before it created a session") as caught:
        supervisor.__enter__()
    assert caught.value.status == 1
    with supervisor.process:
        """Close its pipes."""


def test_supervisor_that_does_not_end_is_waited_for_with_a_timeout(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message says that the session may still be valid."""
    monkeypatch.setattr(wrapper, "END_TIMEOUT", 0.2)
    supervisor = scripted(monkeypatch, home, 'import signal; print(\'{"id": "s-1"}\', flush=True); signal.pause()')
    with supervisor:
        assert supervisor.session == {"id": "s-1"}
    supervisor.process.kill()
    supervisor.process.wait(20)
    assert capsys.readouterr().err.endswith("revoke it: credgate session revoke s-1\n")
