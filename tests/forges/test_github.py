"""GitHub: two segments, folded, ``.git`` always sent."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.values import Access

if TYPE_CHECKING:
    from credgate.forges.driver import Driver

SERVICE = "info/refs?service=git-upload-pack"


@pytest.fixture
def github() -> Driver:
    """Make the forge as it is configured by default."""
    return driver_for(ForgeConfig("github.com", "github", "https://github.com"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Octo/Hello-World.git", "octo/hello-world"),
        ("octo/hello-world", "octo/hello-world"),
        ("octo/.GitHub", "octo/.github"),
        ("a_shortcode/x", "a_shortcode/x"),
        ("a" * 39 + "/" + "b" * 100 + ".git", "a" * 39 + "/" + "b" * 100),
    ],
)
def test_names_are_folded(github: Driver, path: str, expected: str) -> None:
    """GitHub answers to every case, so a grant must too, and a scope must not be escaped by one."""
    assert github.normal(path) == expected
    assert github.normal_pattern(path) == expected


@pytest.mark.parametrize(
    "path",
    ["octo", "octo/", "octo/hello/x", "octo/..", "octo/hello.git.git", "octo/hello.GIT", "-octo/x", "o.o/x", "octo/a~b",
     "octo/a+b", "a" * 40 + "/x", "o/" + "b" * 101, ".github/x", "octo/*/x", ""],
)  # fmt: skip
def test_other_names_are_not_legal(github: Driver, path: str) -> None:
    """What GitHub could not have is not sent to it."""
    assert github.normal(path) is None
    assert github.normal_pattern(path) is None


@pytest.mark.parametrize(("text", "expected"), [("**", "**"), ("Octo/*", "octo/*")])
def test_patterns(github: Driver, text: str, expected: str) -> None:
    """An operator's patterns are compared folded as well."""
    assert github.normal_pattern(text) == expected


@pytest.mark.parametrize("text", ["*", "*/*", "octo*", "octo/h*", "octo/**", "octo/hello/*", "/*", "***", "-o/*", ""])
def test_no_other_pattern_exists(github: Driver, text: str) -> None:
    """A pattern that means nothing, or more than its writer thinks, is refused when it is written."""
    assert github.normal_pattern(text) is None


@pytest.mark.parametrize("dot_git", [False, True])
@pytest.mark.parametrize("spelled", ["Octo/Hello", "Octo/Hello.git"])
def test_the_upstream_path_keeps_the_grants_case_and_has_one_suffix(
    github: Driver,
    spelled: str,
    dot_git: bool,  # noqa: FBT001 - a table's column
) -> None:
    """Whatever the client wrote, one URL goes upstream."""
    assert github.path(spelled, SERVICE, dot_git=dot_git) == f"/Octo/Hello.git/{SERVICE}"


def test_an_enterprise_prefix_stands_before_the_path() -> None:
    """GitHub Enterprise may live below a path."""
    driver = driver_for(ForgeConfig("ghe", "github", "https://ghe.example:8443/git"))
    assert driver.path("o/r", "git-upload-pack") == "/git/o/r.git/git-upload-pack"
    assert (driver.host, driver.port, driver.tls, driver.authority) == ("ghe.example", 8443, True, "ghe.example:8443")


@pytest.mark.parametrize("path", ["octo/../x", "octo", "**", "octo/*", "octo/x/y"])
def test_only_a_name_becomes_a_path(github: Driver, path: str) -> None:
    """The last line of defence: a pattern or a hole in scope never reaches the forge."""
    with pytest.raises(ValueError, match="not a repository path"):
        github.path(path, SERVICE)


@pytest.mark.parametrize(("username", "expected"), [("", b"x-access-token:s3cr3t"), ("bot", b"bot:s3cr3t")])
def test_the_login(username: str, expected: bytes) -> None:
    """``x-access-token`` serves all kinds of GitHub tokens; a user name may be configured."""
    driver = driver_for(ForgeConfig("github.com", "github", "https://github.com", username))
    value = driver.login("s3cr3t")
    assert b64decode(value.removeprefix(b"Basic "), validate=True) == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"https://github.com/New/Name.git/info/refs?service=git-upload-pack", "new/name"),
        (b"https://github.com/New/Name/info/refs?service=git-receive-pack", "new/name"),
        (b"https://github.com/a/b/c/info/refs?service=git-upload-pack", None),
        (b"https://evil.example/a/b/info/refs?service=git-upload-pack", None),
        (b"https://github.com/login", None),
    ],
)
def test_moved(github: Driver, location: bytes, expected: str | None) -> None:
    """A renamed repository is told in the form that scope compares."""
    assert github.moved(location) == expected


def test_it_speaks_for_itself(github: Driver) -> None:
    """The forge's configured name is what the user reads."""
    assert github.sentence(429, Access.READ).startswith("github.com answered 429: ")
    assert github.forge.name == "github.com"
