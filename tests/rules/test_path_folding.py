"""Spellings of paths: what a file system takes for the same is folded to the same, and nothing is lost by it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.rules.path_folding import fault, folded, short_name


@pytest.mark.parametrize(
    ("spelt", "same"),
    [
        ("a/b", "a/b"),
        ("A/b", "A/b"),
        ("a./b", "a/b"),
        ("a . ./b ", "a/b"),
        ("a:s/b::$DATA", "a/b"),
        ("a\u200d/\ufeffb", "a/b"),
        ("\u212a", "k"),
        ("\u017f", "s"),
        ("e\u0301/E\u0301", "\xe9/\xe9"),
        ("...", "..."),
        (":s", ":s"),
    ],
)
def test_what_is_the_same_to_some_file_system_is_folded(spelt: str, same: str) -> None:
    """Case of ASCII letters is the comparison's business; a name is never folded away."""
    assert folded(spelt.encode()) == same.encode()


@given(st.binary(max_size=40))
def test_folding_is_final_and_keeps_the_directories(path: bytes) -> None:
    """What is no text, too; folded components never grow or lose a slash."""
    once = folded(path)
    assert once.count(b"/") == path.count(b"/")
    assert all(bool(one) == bool(other) for one, other in zip(once.split(b"/"), path.split(b"/"), strict=True))


@pytest.mark.parametrize(
    ("name", "short"),
    [
        (".github", b"GITHUB~1"),
        ("CODEOWNERS", b"codeow~4"),
        (".gitlab-ci.yml", b"GITLAB~1.YML"),
        ("azure-pipelines.yml", b"az12ef~1.yml"),
        ("a.b.c", b"ab~1.c"),
        ("x.html", b"x~1.htm"),
    ],
)
def test_long_names_have_short_ones(name: str, short: bytes) -> None:
    """By number, and by a hash for the fifth of a kind."""
    pattern = short_name(name)
    assert pattern is not None
    assert re.fullmatch(pattern, short, re.IGNORECASE)
    assert not re.fullmatch(pattern, name.encode(), re.IGNORECASE)


@pytest.mark.parametrize("name", ["Makefile", "a", "docs", "abc.txt"])
def test_short_names_need_none(name: str) -> None:
    """They are their own."""
    assert short_name(name) is None


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        (b"x" * 255, None),
        (b"x" * 256, "a file name has more than 255 bytes"),
        (b"a/" + "\u0301\u0316".encode() * 1_000_000, "a file name has more than 255 bytes"),
        (b"d/" * 63 + b"f", None),
        (b"d/" * 64 + b"f", "a path has more than 64 names"),
        (b"/".join([b"x" * 255] * 16), None),
        (b"/".join([b"x" * 255] * 16) + b"/y", "a path has more than 4,096 bytes"),
        (b"", None),
    ],
)
def test_a_path_has_limits(path: bytes, limit: str | None) -> None:
    """One that is within them is folded in no time, whatever it is made of."""
    assert fault(path) == limit
    if limit is None:
        folded(path)
