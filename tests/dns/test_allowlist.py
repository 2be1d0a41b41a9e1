"""Entries as operators write them, and what they match."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.dns import allowlist
from credgate.dns.allowlist import Allowlist, parse_entry
from credgate.dns.codes import RRType
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def made(*texts: str) -> Allowlist:
    """Make a list."""
    return Allowlist.of(parse_entry(text) for text in texts)


def name(text: str) -> tuple[bytes, ...]:
    """Make labels of a dotted name."""
    return tuple(text.encode().split(b"."))


def allows(entries: Allowlist, text: str) -> bool:
    """Whether the list allows a dotted name."""
    return bool(entries.match(name(text)).allowed)


def test_a_name_allows_itself_only() -> None:
    """Neither what is below it nor what ends or begins like it."""
    entries = made("Example.com")
    assert allows(entries, "example.com")
    for other in ("www.example.com", "com", "notexample.com", "example.com.evil", "example.comx", "xexample.com"):
        assert not allows(entries, other)


def test_a_wildcard_allows_what_is_below_it_and_not_itself() -> None:
    """At any depth, at label borders."""
    entries = made("*.example.com")
    assert allows(entries, "a.example.com")
    assert allows(entries, "a.b.c.example.com")
    for other in ("example.com", "notexample.com", "a.example.com.evil", "com", "a.com"):
        assert not allows(entries, other)


def test_labels_are_compared_not_dots() -> None:
    """One label ``git.example.com`` is not the three; nor does a dot in a label reach a wildcard."""
    entries = made("git.example.com", "*.example.com")
    assert entries.match((b"git", b"example", b"com")).allowed
    for tricky in [(b"git.example.com",), (b"git", b"example.com"), (b"git.example", b"com"), (b"a", b"example.com")]:
        assert not entries.match(tricky).allowed
    assert not entries.match(()).allowed
    assert not made("git.example.com").match((b"git\0", b"example", b"com")).allowed


def test_denial_takes_precedence_in_any_order() -> None:
    """Before, behind, narrower or wider than what allows."""
    entries = made("!bad.example.com", "*.example.com", "ok.example.com", "!*.ok.example.com", "bad.example.com")
    assert str(entries.match(name("bad.example.com")).denied) == "!bad.example.com"
    assert str(entries.match(name("x.ok.example.com")).denied) == "!*.ok.example.com"
    assert allows(entries, "ok.example.com")
    assert allows(entries, "x.bad.example.com")
    assert not allows(made("!*.com", "*.example.com"), "a.example.com")


def test_types_add_up_over_the_entries_that_match() -> None:
    """An entry grants beside the default types; the closest entry is named first."""
    match = made("a.example.com TXT", "*.example.com MX,SRV", "*.com", "a.example.com CAA").match(name("a.example.com"))
    assert match.types() == allowlist.DEFAULT_TYPES | {RRType.TXT, RRType.MX, RRType.SRV, RRType.CAA}
    assert [str(entry) for entry in match.allowed] == ["a.example.com", "*.example.com", "*.com"]


def test_an_empty_list_allows_nothing() -> None:
    """Default deny."""
    assert Allowlist().match(name("example.com")) == allowlist.AllowlistMatch()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "!",
        "a.*.b",
        "**.a",
        "!!a.b",
        "! a.b",
        "a.b c d",
        "a.b TXT MX",
        "a.b txt",
        "a.b TXTT",
        "a.b ANY",
        "a.b NULL",
        "a.b AXFR",
        "a.b TYPE65280",
        "a.b TXT,",
        "10.0.0.1",
        "a.b#c",
        "a_b!.c",
        "a.b GITHUB",
    ],
)
def test_a_bad_entry_is_refused(text: str) -> None:
    """An invalid line stops the start."""
    with pytest.raises(ValueError, match=r".+"):
        parse_entry(text)


ANCESTOR = """\
# Domain allowlist
# Format: domain [type]

github.com github
*.openai.com ai   # wildcard
api.z.ai ai-tool
!dns.google
models.dev
rotating.example rotating_ip
"""


def test_allowlist_conf_of_foundry_sandbox_is_accepted() -> None:
    """``domain [type]`` with its categories: they grant nothing and refuse nothing."""
    entries = Allowlist.of(allowlist.read_lines(ANCESTOR, "allowlist.conf"))
    for allowed in ("github.com", "x.openai.com", "api.z.ai", "models.dev", "rotating.example"):
        assert allows(entries, allowed)
    assert not allows(entries, "openai.com")
    assert str(entries.match(name("dns.google")).denied) == "!dns.google (allowlist.conf:7)"
    assert entries.match(name("github.com")).types() == allowlist.DEFAULT_TYPES


def test_a_file_is_read_with_line_numbers(tmp_path: Path) -> None:
    """Types in capitals, IDNA, CRLF, comments."""
    file = tmp_path / "names"
    file.write_bytes("b\u00fccher.example TXT\r\n\r\n# c\r\n*.Example.org".encode())
    first, second = allowlist.read_file(str(file))
    assert (first.name, first.types, first.place) == ((b"xn--bcher-kva", b"example"), frozenset({16}), f"{file}:1")
    assert (second.name, second.wildcard, second.place) == ((b"example", b"org"), True, f"{file}:4")


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"ok.example\nnot a name at all\n", 2), (b"\n\n10.0.0.1", 3), (b"a..b", 1), (b"a.b\x00.c", 1)],
)
def test_a_bad_line_stops_with_file_and_line(tmp_path: Path, content: bytes, line: int) -> None:
    """The error has the file and the line."""
    file = tmp_path / "names"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        allowlist.read_file(str(file))
    assert (caught.value.file, caught.value.line) == (str(file), line)
    assert str(caught.value).startswith(f"{file}:{line}: ")


def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """Missing, not text, or too large: it is never treated as an empty list."""
    latin, large = tmp_path / "latin", tmp_path / "large"
    latin.write_bytes(b"b\xfccher.example\n")
    large.write_bytes(b"#" * (allowlist.MAX_FILE + 1))
    for file, text in ((tmp_path / "missing", "cannot read"), (latin, "not valid UTF-8"), (large, "larger than")):
        with pytest.raises(ConfigError, match=text) as caught:
            allowlist.read_file(str(file))
        assert caught.value.file == str(file)


@given(st.text(max_size=60))
def test_any_text_raises_only_value_error(text: str) -> None:
    """An entry, or ``ValueError``: whatever a file holds."""
    try:
        entry = parse_entry(text)
    except ValueError:
        return
    assert entry.name
    assert all(label.isascii() for label in entry.name)
