"""Any smart-HTTP server: any depth, exact names, the client's choice of ``.git``."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

import pytest

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.values import Access

if TYPE_CHECKING:
    from credgate.forges.driver import Driver

SERVICE = "info/refs?service=git-receive-pack"


@pytest.fixture
def lab() -> Driver:
    """Make a local server below a path."""
    return driver_for(ForgeConfig("lab", "generic", "http://127.0.0.1:8000/srv", "ci"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("r", "r"),
        ("r.git", "r"),
        ("Group/Sub/R.git", "Group/Sub/R"),
        ("~user/r", "~user/r"),
        ("g/.github", "g/.github"),
    ],
)
def test_names_keep_their_case(lab: Driver, path: str, expected: str) -> None:
    """Most servers keep ``R`` and ``r`` apart: so does scope."""
    assert lab.normal(path) == expected
    assert lab.normal_pattern(path) == expected


@pytest.mark.parametrize("path", ["", "a//b", "a/../b", "a.git/b", "a/b.git.git", "a%2fb"])
def test_other_names_are_not_legal(lab: Driver, path: str) -> None:
    """The rules of all names hold here too."""
    assert lab.normal(path) is None
    assert lab.normal_pattern(path) is None


@pytest.mark.parametrize("text", ["**", "group/*", "Group/sub/*"])
def test_patterns(lab: Driver, text: str) -> None:
    assert lab.normal_pattern(text) == text


@pytest.mark.parametrize("text", ["*", "*/*", "g/**", "g*", "g.git/*", "/*", "../*", "g//*", "g/*/r"])
def test_no_other_pattern_exists(lab: Driver, text: str) -> None:
    """``g.git/*`` would lose its suffix and grant another group."""
    assert lab.normal_pattern(text) is None


@pytest.mark.parametrize(
    ("spelled", "dot_git", "expected"),
    [
        ("g/r", False, f"/srv/g/r/{SERVICE}"),
        ("g/r", True, f"/srv/g/r.git/{SERVICE}"),
        ("g/r.git", False, f"/srv/g/r/{SERVICE}"),
        ("g/r.git", True, f"/srv/g/r.git/{SERVICE}"),
    ],
)
def test_the_suffix_follows_the_client(lab: Driver, spelled: str, dot_git: bool, expected: str) -> None:  # noqa: FBT001 - a table's column
    """A URL that works without the gateway works with it: servers differ about ``.git``."""
    assert lab.path(spelled, SERVICE, dot_git=dot_git) == expected


@pytest.mark.parametrize("path", ["g/../x", "**", "g/*", ""])
def test_only_a_name_becomes_a_path(lab: Driver, path: str) -> None:
    """The last line of defence before the wire."""
    with pytest.raises(ValueError, match="not a repository path"):
        lab.path(path, SERVICE)


@pytest.mark.parametrize(("username", "expected"), [("ci", b"ci:pw"), ("", b"x-access-token:pw")])
def test_the_login(username: str, expected: bytes) -> None:
    """A fixed user name, or the one that most forges take."""
    driver = driver_for(ForgeConfig("lab", "generic", "http://127.0.0.1:8000", username))
    assert b64decode(driver.login("pw").removeprefix(b"Basic "), validate=True) == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"http://127.0.0.1:8000/srv/a/b/C.git/info/refs?service=git-upload-pack", "a/b/C"),
        (b"http://127.0.0.1:8000/a/b/info/refs?service=git-upload-pack", None),
        (b"/srv/a.git/b/info/refs?service=git-upload-pack", None),
    ],
)
def test_moved(lab: Driver, location: bytes, expected: str | None) -> None:
    """Only inside the prefix, and only to a legal name."""
    assert lab.moved(location) == expected


def test_the_place(lab: Driver) -> None:
    assert (lab.host, lab.port, lab.tls, lab.authority) == ("127.0.0.1", 8000, False, "127.0.0.1:8000")
    assert lab.sentence(500, Access.WRITE).startswith("lab answered 500: ")
