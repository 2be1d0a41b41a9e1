"""The environment variables of a command of ``credgate run``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from credgate.cli.run import environment
from credgate.cli.run.environment import added_variables, inherited_variables

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
def test_unlisted_variable_is_not_inherited(name: str) -> None:
    """``keep`` adds exactly the name that it contains."""
    assert inherited_variables({name: "value", "PATH": "/bin"}) == {"PATH": "/bin"}
    assert inherited_variables({name: "value", f"X_{name}": "value"}, keep=[name]) == {name: "value"}


@pytest.mark.parametrize(
    ("name", "value", "inherited"),
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
def test_listed_variable_is_inherited_unless_its_value_has_a_login(name: str, value: str, *, inherited: bool) -> None:
    """A login is a user, a password or a token in a URL."""
    assert inherited_variables({name: value}) == ({name: value} if inherited else {})


def test_home_variables_are_inherited_with_keep_home_only() -> None:
    """Programs find credentials below HOME and the XDG directories."""
    environ = {"HOME": "/home/me", "XDG_CONFIG_HOME": "/home/me/.config", "PATH": "/bin", "X": "x"}
    assert inherited_variables(environ) == {"PATH": "/bin"}
    assert inherited_variables(environ, ["X"], keep_home=True) == environ


def test_gateway_credentials_are_never_inherited() -> None:
    """Neither by name nor by value. A short credential must equal the whole value."""
    environ = {"MINE": "0123456789", "URL": "x:0123456789@y", "SHORT": "abc", "LONG": "abcd", "PATH": "/abc"}
    inherited = inherited_variables(environ, [*environ], never={"MINE"}, secrets={"0123456789", "abc"})
    assert inherited == {"LONG": "abcd", "PATH": "/abc"}
    assert inherited_variables(environ, [*environ]) == environ


def test_added_git_settings_clear_configured_helpers_before_the_gateways() -> None:
    """Git applies the settings in order."""
    added = added_variables([("credential.http://g.helper", "h")], [("user.name", "me")], "/d", "http://g", "s-1")
    count = int(added["GIT_CONFIG_COUNT"])
    settings = [(added[f"GIT_CONFIG_KEY_{n}"], added[f"GIT_CONFIG_VALUE_{n}"]) for n in range(count)]
    assert settings[0] == ("user.name", "me")
    assert settings.index(("credential.helper", "")) < settings.index(("credential.http://g.helper", "h"))
    assert ("protocol.https.allow", "never") in settings
    assert added["GIT_CONFIG_NOSYSTEM"] == "1"
    assert (added["CREDGATE_TOKEN_FILE"], added["CREDGATE_SESSION"]) == ("/d/token", "s-1")


def test_document_lists_every_inherited_variable() -> None:
    """The list in docs/cli.md is complete and has no other name."""
    section = DOCS.read_text(encoding="utf-8").partition("These variables are inherited:")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([^`]+)`", section)) == {*environment.INHERITED, *environment.PROXIES}
