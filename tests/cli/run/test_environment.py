"""What a command's environment has of its caller's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from credgate.cli.run import environment as module
from credgate.cli.run.environment import cleaned, given

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


@pytest.mark.parametrize(
    "name",
    [
        *("GITHUB_TOKEN", "GH_TOKEN", "CI_JOB_TOKEN", "github_token", "GH_PAT", "GITHUB_PAT", "CR_PAT", "SSHPASS"),
        *("PGPASSWORD", "DB_PWD", "MY_KEY", "NPM_AUTH", "X_JWT_1", "DATABASE_URL", "AWS_PROFILE", "NO_NAME_FOR_IT"),
        *("GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_0", "GIT_DIR"),
        *("SSH_AUTH_SOCK", "SSH_ASKPASS", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS", "KUBECONFIG", "DOCKER_HOST"),
        *("XDG_RUNTIME_DIR", "CREDGATE_SOCKET", "LD_PRELOAD", "BASH_ENV", "BASH_FUNC_x%%", "path", "LC_GITHUB", "HOME"),
    ],
)
def test_a_variable_that_is_not_on_the_list_is_not_passed(name: str) -> None:
    """Whatever its name and value; ``keep`` passes this one name."""
    assert cleaned({name: "value", "PATH": "/bin"}) == {"PATH": "/bin"}
    assert cleaned({name: "value", f"X_{name}": "value"}, keep=[name]) == {name: "value"}


@pytest.mark.parametrize(
    ("name", "value", "passed"),
    [
        *((name, "value", True) for name in ("PATH", "LANG", "LC_ALL", "TERM", "EDITOR", "CI", "TZ", "NO_COLOR")),
        *((name, "value", True) for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_DATE", "GIT_EDITOR", "USER")),
        ("LC_TIME", "de_DE.UTF-8@euro", True),
        ("GIT_AUTHOR_EMAIL", "me@example.com", True),
        ("HTTPS_PROXY", "http://proxy:3128", True),
        ("https_proxy", "http://proxy:3128", True),
        ("HTTPS_PROXY", "http://me:secret@proxy:3128", False),
        ("http_proxy", "me:secret@proxy:3128", False),
        ("EDITOR", "edit https://token@host/x", False),
        ("PAGER", "https://host/@x", True),
    ],
)
def test_a_value_with_a_login_is_not_passed(name: str, value: str, *, passed: bool) -> None:
    """Under a name of the list either; any other value is."""
    assert cleaned({name: value}) == ({name: value} if passed else {})


def test_home_is_another_unless_it_is_kept() -> None:
    """With what git and others find below it."""
    environ = {"HOME": "/home/me", "XDG_CONFIG_HOME": "/home/me/.config", "PATH": "/bin", "X": "x"}
    assert cleaned(environ) == {"PATH": "/bin"}
    assert cleaned(environ, ["X"], keep_home=True) == environ


def test_a_credential_of_the_gateway_is_never_kept() -> None:
    """By its variable's name, and by its value in another; a short one must be the whole value."""
    environ = {"MINE": "0123456789", "URL": "x:0123456789@y", "SHORT": "abc", "LONG": "abcd", "PATH": "/abc"}
    kept = cleaned(environ, [*environ], never={"MINE"}, secrets={"0123456789", "abc"})
    assert kept == {"LONG": "abcd", "PATH": "/abc"}
    assert cleaned(environ, [*environ]) == environ


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


def test_the_document_lists_what_is_passed() -> None:
    """All of it, and no more."""
    section = DOCS.read_text(encoding="utf-8").partition("Passed on of the environment:")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([^`]+)`", section)) == {*module.PASSED, *module.PROXIES}
