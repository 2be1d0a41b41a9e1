"""Which hosts an LFS answer may name: a list matched whole, against names that a forge's answer chose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.forges.hosts import among

LISTED = ("git.example", "127.0.0.1", "::1", "*.objects.example")


@pytest.mark.parametrize(
    "host", ["git.example", "GIT.Example", "127.0.0.1", "::1", "a.objects.example", "x-1.b.Objects.example"]
)
def test_a_listed_host_is_found(host: str) -> None:
    """The positive control of the refusals below; names have no case (RFC 4343)."""
    assert among(LISTED, host)


@pytest.mark.parametrize(
    "host",
    ["", ".", "objects.example", ".objects.example", "..objects.example", "xobjects.example", "a.objects.example.",
     "a.objects.example.evil", "a/.objects.example", "a@b.objects.example", "a:1.objects.example",
     "a.objects.example:1",
     "-a.objects.example", "a-.objects.example", "*.objects.example", "a b.objects.example", "a\0.objects.example",
     "a\n.objects.example", "\u00e4.objects.example", "a\uff0eobjects.example", "_a.objects.example",
     "a." * 120 + "objects.example", "x" * 64 + ".objects.example", "[::1]", "127.0.0.1.", "127.1", "git.example.",
     "sub.git.example", "git.example\0"],
)  # fmt: skip
def test_no_other_host_is_listed(host: str) -> None:
    """What one URL parser calls a host and another does not must not ride on a wildcard."""
    assert not among(LISTED, host)


def test_the_longest_name_and_one_more() -> None:
    """253 characters are what DNS has for a name (RFC 1035 section 2.3.4)."""
    front = ".".join(["x" * 63, "y" * 63, "z" * 63, "w" * (253 - 3 * 64 - len(".objects.example"))])
    assert len(f"{front}.objects.example") == 253
    assert among(LISTED, f"{front}.objects.example")
    assert not among(LISTED, f"{front}w.objects.example")


def test_an_empty_list_lists_nothing() -> None:
    assert not among((), "git.example")


@given(st.text(max_size=20))
def test_a_wildcard_matches_plain_host_names_only(front: str) -> None:
    """Whatever stands before the suffix is labels of letters, digits and hyphens, or it does not match."""
    if among(["*.objects.example"], f"{front}.objects.example"):
        assert front.isascii()
        assert front.replace("-", "").replace(".", "").isalnum()
        assert all(front.split("."))
