"""``credgate env`` and git's settings for the gateway, read by shells and by git."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import jsonschema
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from credgate.cli.env import (
    FORMATS,
    as_env_file,
    as_gitconfig,
    as_shell,
    credential_helper,
    formatted,
    git_settings,
    git_variables,
    listener_url,
)
from tests.fakes.cli import asked
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.control_gateway import Gateway

GATE = "http://gateway:8080"
ENTRIES = [(f"url.{GATE}/git/.insteadOf", "https://github.com/"), (f"credential.{GATE}.helper", "h --gateway x")]


def leads(environ: dict[str, str]) -> str:
    """Return the URL that git uses for an address of github.com."""
    command = ["git", "ls-remote", "--get-url", "https://github.com/octo/hello"]
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(command, env=base | environ, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("form", FORMATS)
def test_git_uses_the_gateway_with_each_format(form: str, tmp_path: Path) -> None:
    """Read by a shell, a JSON parser, ``--env-file`` rules, and git."""
    text = formatted(form, ENTRIES, GATE, "/run/token")
    if form == "gitconfig":
        (tmp_path / "gitconfig").write_text(text)
        environ = {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    elif form == "json":
        environ = json.loads(text)
    elif form == "docker":
        environ = dict(line.split("=", 1) for line in text.splitlines())
    else:
        ran = subprocess.run(["sh", "-c", f"{text}\nenv -0"], env={}, capture_output=True, text=True, check=True)
        environ = dict(line.split("=", 1) for line in ran.stdout.split("\0") if line)
    assert leads(environ) == f"{GATE}/git/octo/hello"
    if form != "gitconfig":
        assert environ["CREDGATE_TOKEN_FILE"] == "/run/token"
        assert (environ["GITHUB_TOKEN"], environ["GH_TOKEN"]) == ("", "")


@pytest_twisted.ensureDeferred
async def test_output_contains_no_secret(gateway: Gateway) -> None:
    """Only ``session create`` prints it."""
    made = (await asked("session", "create", "--repo", "octo/hello", "--json")).json
    result = await asked("env", made["id"], "--json", "--gateway", f"{GATE}/")
    jsonschema.validate(result.json, schema("env"))
    assert result.json["CREDGATE_URL"] == GATE
    assert made["secret"] not in result.out
    assert made["token"] not in result.out
    assert "CREDGATE_URL=http://127.0.0.1:8080\n" in (await asked("env", made["id"], "--format", "docker")).out


@pytest_twisted.ensureDeferred
async def test_missing_session_or_unusable_url_is_an_error(gateway: Gateway) -> None:
    """The gateway's URL must be http or https."""
    result = await asked("env", "s-0123456789abcdef")
    assert (result.status, result.line) == (1, "Session not found")
    made = (await asked("session", "create", "--json")).json
    result = await asked("env", made["id"], "--gateway", "gateway:8080")
    assert (result.status, result.line[:46]) == (2, "the sandbox needs the gateway's URL: --gateway")


# The settings themselves.

LOCAL = "http://127.0.0.1:8080"
STATUS = {
    "default_forge": "github.com",
    "forges": [
        {"name": "github.com", "url": "https://github.com"},
        {"name": "lab", "url": "https://gitlab.example:8443/gitlab"},
    ],
}


def rewritten(address: str, *, everything: bool = True) -> str:
    """Return the URL that git uses for an address."""
    settings = git_settings(LOCAL, STATUS, "x", everything=everything)
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **git_variables(settings)}
    ran = subprocess.run(["git", "ls-remote", "--get-url", address], env=environ, capture_output=True, check=True)
    return ran.stdout.decode().strip()


@pytest.mark.parametrize(
    ("address", "leads"),
    [
        ("https://github.com/octo/hello", "/git/octo/hello"),
        ("http://github.com/octo/hello", "/git/octo/hello"),
        ("git@github.com:octo/hello.git", "/git/octo/hello.git"),
        ("ssh://git@github.com/octo/hello", "/git/octo/hello"),
        ("ssh://git@github.com:22/octo/hello", "/git/octo/hello"),
        ("ssh://git@ssh.github.com:443/octo/hello", "/git/octo/hello"),
        ("https://gitlab.example:8443/gitlab/a/b/c", "/forge/lab/a/b/c"),
        ("https://other.example/a/b", "/forge/other.example/a/b"),
        ("git@other.example:a/b", "/forge/other.example:a/b"),
        ("ssh://git@other.example/a/b", "/forge/other.example/a/b"),
        ("git://other.example/a/b", "/forge/other.example/a/b"),
        (f"{LOCAL}/git/octo/hello", "/git/octo/hello"),
    ],
)
def test_every_address_is_rewritten_to_the_gateway(address: str, leads: str) -> None:
    """Those of configured forges to their routes, all others to a route that is refused."""
    assert rewritten(address) == f"{LOCAL}{leads}"


def test_other_addresses_are_unchanged_without_everything() -> None:
    """The sandbox's network restricts these."""
    assert rewritten("https://other.example/a/b", everything=False) == "https://other.example/a/b"
    assert rewritten("https://github.com/octo/hello", everything=False) == f"{LOCAL}/git/octo/hello"


@pytest.mark.parametrize("place", ["/run/credgate/token", "/run/it's a dir/$(x)/token"])
def test_credential_helper_answers_get_only(tmp_path: Path, place: str) -> None:
    """With any path; it reads its whole input."""
    file = tmp_path / place.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_text("TOKEN:SECRET\n")
    helper = credential_helper(str(file)).removeprefix("!")
    for action, expected in (
        ("get", "username=x-gateway-token\npassword=TOKEN:SECRET\n"),
        ("store", ""),
        ("erase", ""),
    ):
        ran = subprocess.run(
            ["sh", "-c", f"{helper} {action}"], input="host=x\n\n", capture_output=True, text=True, check=True
        )
        assert (ran.stdout, ran.stderr) == (expected, "")


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=12)


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True).map("CG_{}".format), TEXTS, max_size=3))
def test_shell_output_is_read_back_unchanged(variables: dict[str, str]) -> None:
    """For any values."""
    script = as_shell(variables) + "env -0"
    ran = subprocess.run(["sh", "-c", script], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    read = dict(line.split("=", 1) for line in ran.stdout.decode().split("\0") if line.startswith("CG_"))
    assert read == variables


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_gitconfig_output_is_read_back_unchanged(values: list[str]) -> None:
    """For any values."""
    written = as_gitconfig([("url.http://x/.insteadOf", value) for value in values])
    ran = subprocess.run(
        ["git", "config", "-z", "--file", "-", "--get-all", "url.http://x/.insteadof"],
        input=written.encode(),
        capture_output=True,
        check=True,
    )
    assert ran.stdout.decode().split("\0")[:-1] == values


def test_env_file_has_one_line_per_variable() -> None:
    """The format has no quoting."""
    assert as_env_file({"A": "x y", "B": "'"}) == "A=x y\nB='\n"
    with pytest.raises(ValueError, match="more than one line"):
        as_env_file({"A": "x\ny"})


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:80", "http://[::1]:80"),
        ("[::1]:80", "http://[::1]:80"),
        ("/run/git.sock", ""),
        ("", ""),
    ],
)
def test_listener_url(address: str, url: str) -> None:
    """Of TCP addresses only."""
    assert listener_url(address) == url
