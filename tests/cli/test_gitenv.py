"""What git is told, judged by git."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.cli import gitenv

if TYPE_CHECKING:
    from pathlib import Path

GATE = "http://127.0.0.1:8080"
STATUS = {
    "default_forge": "github.com",
    "forges": [
        {"name": "github.com", "url": "https://github.com"},
        {"name": "lab", "url": "https://gitlab.example:8443/gitlab"},
    ],
}


def rewritten(address: str, *, everything: bool = True) -> str:
    """Ask git where an address leads."""
    entries = gitenv.entries(GATE, STATUS, "x", everything=everything)
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **gitenv.counted(entries)}
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
        (f"{GATE}/git/octo/hello", "/git/octo/hello"),
    ],
)
def test_every_address_leads_to_the_gateway(address: str, leads: str) -> None:
    """Forges that are configured to their own route, all others to where they are refused by name."""
    assert rewritten(address) == f"{GATE}{leads}"


def test_without_everything_other_addresses_stay() -> None:
    """A sandbox's network decides there."""
    assert rewritten("https://other.example/a/b", everything=False) == "https://other.example/a/b"
    assert rewritten("https://github.com/octo/hello", everything=False) == f"{GATE}/git/octo/hello"


@pytest.mark.parametrize("place", ["/run/credgate/token", "/run/it's a dir/$(x)/token"])
def test_the_snippet_answers_get_alone(tmp_path: Path, place: str) -> None:
    """In any shell that is sh, for any path; it reads what git says to the end."""
    file = tmp_path / place.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_text("TOKEN:SECRET\n")
    snippet = gitenv.snippet(str(file)).removeprefix("!")
    for action, said in (("get", "username=x-gateway-token\npassword=TOKEN:SECRET\n"), ("store", ""), ("erase", "")):
        ran = subprocess.run(
            ["sh", "-c", f"{snippet} {action}"], input="host=x\n\n", capture_output=True, text=True, check=True
        )
        assert (ran.stdout, ran.stderr) == (said, "")


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=12)


@given(st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True).map("CG_{}".format), TEXTS, max_size=3))
def test_the_shell_reads_what_was_written(variables: dict[str, str]) -> None:
    """Whatever a value holds."""
    script = gitenv.shell(variables) + "env -0"
    ran = subprocess.run(["sh", "-c", script], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    read = dict(line.split("=", 1) for line in ran.stdout.decode().split("\0") if line.startswith("CG_"))
    assert read == variables


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_git_reads_what_was_written(values: list[str]) -> None:
    """A gitconfig quotes what has to be."""
    written = gitenv.gitconfig([("url.http://x/.insteadOf", value) for value in values])
    ran = subprocess.run(
        ["git", "config", "-z", "--file", "-", "--get-all", "url.http://x/.insteadof"],
        input=written.encode(),
        capture_output=True,
        check=True,
    )
    assert ran.stdout.decode().split("\0")[:-1] == values


def test_an_env_file_has_one_line_a_variable() -> None:
    """Docker's form knows no quotes."""
    assert gitenv.docker({"A": "x y", "B": "'"}) == "A=x y\nB='\n"
    with pytest.raises(ValueError, match="one line"):
        gitenv.docker({"A": "x\ny"})


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
def test_a_listener_is_reached_by_its_address(address: str, url: str) -> None:
    """What is no TCP port is reached by no URL."""
    assert gitenv.reached(address) == url
