"""Path folding: spellings that a file system treats as equal are folded to the same form."""

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
def test_equal_spellings_are_folded(spelt: str, same: str) -> None:
    """The matcher ignores the case of ASCII letters. A name is never folded to an empty one."""
    assert folded(spelt.encode()) == same.encode()


@given(st.binary(max_size=40))
def test_folding_keeps_directories(path: bytes) -> None:
    """Also for invalid UTF-8: no component disappears, and the slashes stay."""
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
def test_long_name_matches_its_8_3_names(name: str, short: bytes) -> None:
    """Numbered names, and the hashed form from the fifth on."""
    pattern = short_name(name)
    assert pattern is not None
    assert re.fullmatch(pattern, short, re.IGNORECASE)
    assert not re.fullmatch(pattern, name.encode(), re.IGNORECASE)


@pytest.mark.parametrize("name", ["Makefile", "a", "docs", "abc.txt"])
def test_short_name_has_no_8_3_name(name: str) -> None:
    """It is its own."""
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
def test_limits_of_a_path(path: bytes, limit: str | None) -> None:
    """A path within them is folded quickly, whatever it contains."""
    assert fault(path) == limit
    if limit is None:
        folded(path)
