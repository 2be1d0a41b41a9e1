"""Repository names: one alphabet, one form, nothing decoded, nothing guessed."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.forges.repository_names import MAX_PATH, bare_path

ALPHABET = frozenset(string.ascii_letters + string.digits + "._~+-/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", "a"),
        ("a/b", "a/b"),
        ("a/b.git", "a/b"),
        ("Group/Sub/Deep/repo.git", "Group/Sub/Deep/repo"),
        ("o/.github", "o/.github"),
        ("o/.github.git", "o/.github"),
        ("o/a.b_c-d~e+f", "o/a.b_c-d~e+f"),
        ("o/x.wiki", "o/x.wiki"),
        ("o/x.gitx", "o/x.gitx"),
        ("o/-", "o/-"),
        ("o/...x", "o/...x"),
        ("info/x", "info/x"),
        ("o/info", "o/info"),
        ("o/refs", "o/refs"),
    ],
)
def test_a_legal_path_loses_its_suffix_and_nothing_else(path: str, expected: str) -> None:
    """The positive control of every refusal below: ``.github`` is a real repository of most organisations."""
    assert bare_path(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "a/.",
        "a/..",
        "./a",
        "../a",
        "a/../b",
        "a/./b",
        "a/..git",
        "a/...git",
        "a/.git.git",
        ".git",
        "a/.git",
        "a/b/.git",
        "a/b.git/c",
        "a.git/b",
        ".git/a",
        "a/b.git.git",
        "a/b.GIT",
        "a/b.Git.git",
        "a/b.giT",
        "a/b.",
        "a./b",
        "a/b..git",
        "a/...",
        "a/b%2egit",
        "a%2fb",
        "a/b;x",
        "a/b ",
        " a/b",
        "a/b\n",
        "a/b\0",
        "a\\b",
        "a/b?x",
        "a/b#x",
        "a/b@x",
        "a:b",
        "a/b*",
        "a/\uff42",
        "a/b\u2025",
        "a\uff0fb",
        "\uff41/b",
        "a/é",
        "a/info/refs",
        "a/info/refs/b",
        "a/INFO/LFS/b",
        "a/info/lfs",
        "a/git-upload-pack",
        "git-receive-pack/a",
        "a/git-upload-archive",
        "a/Git-Upload-Pack/b",
    ],
)
def test_no_other_spelling_is_a_path(path: str) -> None:
    """Each of these is another repository, or none, to some server: guessing is how scopes leak."""
    assert bare_path(path) is None


def test_the_longest_path_and_one_more() -> None:
    """A bound, so that no pattern ever runs over more than it."""
    assert MAX_PATH == 255
    assert bare_path("a" * MAX_PATH) == "a" * MAX_PATH
    assert bare_path("a" * (MAX_PATH + 1)) is None


@given(st.text(alphabet="ab./git-GIT~+_%\\ \n", max_size=40))
def test_a_bare_path_is_stable_and_plain(path: str) -> None:
    """A normal form is its own normal form, holds no dots segment and no foreign character."""
    bare = bare_path(path)
    if bare is not None:
        assert bare_path(bare) == bare
        assert path in {bare, f"{bare}.git"}
        assert set(bare) <= ALPHABET
        assert not {"", ".", "..", ".git"} & set(bare.split("/"))
