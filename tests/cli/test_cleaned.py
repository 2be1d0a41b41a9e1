"""What a command's environment has of its caller's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from credgate.cli import cleaned as module
from credgate.cli.cleaned import cleaned, given, is_taken

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.mark.parametrize(
    "name",
    [
        *("GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN", "NPM_TOKEN", "TOKEN", "CI_JOB_TOKEN", "github_token"),
        *("CLIENT_SECRET", "DB_PASSWORD", "PGPASSWORD", "ANTHROPIC_API_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
        *("GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_DIR"),
        *("SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "KUBECONFIG", "DOCKER_HOST", "NETRC", "XDG_RUNTIME_DIR"),
        *("CREDGATE_SOCKET", "GATEWAY_SESSION_MGMT_KEY", "SECRET_KEY_BASE"),
    ],
)
def test_credentials_and_agents_are_taken(name: str) -> None:
    """By name, whatever the case."""
    assert is_taken(name)
    assert not is_taken(name, keep=[name])


@pytest.mark.parametrize(
    "name", ["PATH", "LANG", "TERM", "EDITOR", "GIT_AUTHOR_NAME", "GIT_COMMITTER_DATE", "GIT_EDITOR", "CI", "KEYBOARD"]
)
def test_what_is_no_secret_stays(name: str) -> None:
    """A command works as it would without."""
    assert not is_taken(name)


def test_home_is_another_unless_it_is_kept() -> None:
    """With what git and others find below it."""
    environ = {"HOME": "/home/me", "XDG_CONFIG_HOME": "/home/me/.config", "PATH": "/bin", "X_TOKEN": "x", "MINE": "y"}
    assert cleaned(environ, also={"MINE"}) == {"PATH": "/bin"}
    assert cleaned(environ, ["MINE", "X_TOKEN"], keep_home=True, also={"MINE"}) == {
        "HOME": "/home/me",
        "XDG_CONFIG_HOME": "/home/me/.config",
        "PATH": "/bin",
        "X_TOKEN": "x",
    }


def test_what_is_given_forgets_every_file_s_helpers_first() -> None:
    """Then come the gateway's own: the order is git's rule."""
    made = given([("credential.http://g.helper", "h")], [("user.name", "me")], "/box", "http://g", "s-1")
    count = int(made["GIT_CONFIG_COUNT"])
    entries = [(made[f"GIT_CONFIG_KEY_{n}"], made[f"GIT_CONFIG_VALUE_{n}"]) for n in range(count)]
    assert entries[0] == ("user.name", "me")
    assert entries.index(("credential.helper", "")) < entries.index(("credential.http://g.helper", "h"))
    assert ("protocol.https.allow", "never") in entries
    assert made["GIT_CONFIG_NOSYSTEM"] == "1"
    assert (made["CREDGATE_TOKEN_FILE"], made["CREDGATE_SESSION"]) == ("/box/token", "s-1")


def test_the_document_lists_what_is_taken() -> None:
    """All of it, and no more."""
    section = DOCS.read_text(encoding="utf-8").partition("Taken out of the environment:")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([^`]+)`", section)) == set(module.TAKEN)
