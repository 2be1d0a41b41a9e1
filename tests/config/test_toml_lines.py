"""The lines of a TOML document's keys, judged by tomllib and by documents whose lines are known."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.toml_lines import Path, dotted, line_of, lines

DOCUMENTS: list[tuple[str, str, dict[Path, int]]] = [
    ("empty", "", {}),
    ("only a comment", "# a = 1", {}),
    ("keys after blank lines", "\n\na = 1\n\nb = 2\n", {("a",): 3, ("b",): 5}),
    ("no line end at the end", "a = 1", {("a",): 1}),
    ("CRLF", "a = 1\r\nb = 2\r\n", {("a",): 1, ("b",): 2}),
    ("a table", "[t]\na = 1", {("t",): 1, ("t", "a"): 2}),
    (
        "a quoted table",
        '[ forges . "git.example.com" ] # [x]\nurl = "u"',
        {("forges",): 1, ("forges", "git.example.com"): 1, ("forges", "git.example.com", "url"): 2},
    ),
    ("a dotted key", "a.'b c'.d = 1", {("a",): 1, ("a", "b c"): 1, ("a", "b c", "d"): 1}),
    ("an escaped key", '"\\u0061\\"" = 1', {('a"',): 1}),
    ("an array of tables", "[[t]]\na = 1\n[[t]]\nb = 2", {("t",): 1, ("t", "a"): 2, ("t", "b"): 4}),
    ("a comment that looks like keys", "a = 1 # b = 2\n# [t]\nc = 3", {("a",): 1, ("c",): 3}),
    ("a string that looks like keys", 'a = """\nb = 2\n[t]\n"""\nc = 3', {("a",): 1, ("c",): 5}),
    ("a literal string of lines", "a = '''\nb = 2\\'''\nc = 3", {("a",): 1, ("c",): 3}),
    (
        "quotes before the end of a string",
        "a = \"\"\"x\"\"\"\"\"\nb = '''y'''''\nc = 3",
        {("a",): 1, ("b",): 2, ("c",): 3},
    ),
    ("an escaped quote", 'a = "\\" # b = 2"\nc = 3', {("a",): 1, ("c",): 2}),
    ("brackets in strings", "a = '['\nb = \"{\"\nc = 3", {("a",): 1, ("b",): 2, ("c",): 3}),
    ("an array over lines", 'a = [\n  1, # ]\n  "]",\n  [2, 3],\n]\nb = 2', {("a",): 1, ("b",): 6}),
    (
        "an inline table",
        "a = { b = 1, c.d = 2 }\ne = 3",
        {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1, ("e",): 2},
    ),
    ("inline tables in an array", "a = [\n{ b = 1 },\n{ c = [2] }]", {("a",): 1, ("a", "b"): 2, ("a", "c"): 3}),
    ("dates and floats", "a = 1979-05-27 07:32:00.5Z\nb = -1.5e+3\nc = 0xdead_beef", {("a",): 1, ("b",): 2, ("c",): 3}),
]


@pytest.mark.parametrize(
    ("document", "expected"), [each[1:] for each in DOCUMENTS], ids=[each[0] for each in DOCUMENTS]
)
def test_line_of_every_key_is_found(document: str, expected: dict[Path, int]) -> None:
    """An error with a wrong line is worse than one without."""
    assert lines(document) == expected


@pytest.mark.parametrize("document", [each[1] for each in DOCUMENTS])
def test_documents_above_are_valid_toml(document: str) -> None:
    """The table is useful only if tomllib accepts it."""
    tomllib.loads(document)


def _paths(value: object, path: Path = ()) -> set[Path]:
    """Collect the key paths that tomllib sees."""
    if isinstance(value, dict):
        return {each for key, inner in value.items() for each in {(*path, key)} | _paths(inner, (*path, key))}
    if isinstance(value, list):
        return {each for inner in value for each in _paths(inner, path)}
    return set()


_KEYS = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
_LEAVES = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(), st.text(max_size=12), st.datetimes(), st.dates()
)
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3))
_DOCUMENTS = st.dictionaries(_KEYS, _VALUES, max_size=4)


@given(_DOCUMENTS, st.booleans())
def test_keys_equal_those_of_tomllib(values: dict[str, Any], multiline: bool) -> None:  # noqa: FBT001 - hypothesis chooses
    """Differential: whatever is written, both readers agree on which keys there are."""
    document = tomli_w.dumps(values, multiline_strings=multiline)
    assert set(lines(document)) == _paths(tomllib.loads(document))


@given(_DOCUMENTS, st.integers(0, 3))
def test_leading_empty_lines_shift_all_lines(values: dict[str, Any], empty: int) -> None:
    """Line numbers must be counted from the start of the file."""
    document = tomli_w.dumps(values)
    moved = {path: line + empty for path, line in lines(document).items()}
    assert lines("\n" * empty + document) == moved


@given(st.text(st.sampled_from("[]{}=,.\"'\\#\n a1"), max_size=40))
def test_arbitrary_text_neither_loops_nor_raises(document: str) -> None:
    """Such documents are refused by tomllib."""
    try:
        found = lines(document)
    except tomllib.TOMLDecodeError:
        return
    assert all(1 <= line <= document.count("\n") + 1 for line in found.values())


def test_missing_key_has_the_line_of_its_table() -> None:
    """The operator adds a missing key there."""
    found = lines("\n[sessions]\nstore = 1")
    assert line_of(found, ("sessions", "store")) == 3
    assert line_of(found, ("sessions", "idle_ttl")) == 2
    assert line_of(found, ("limits", "max_head")) == 0


def test_path_is_printed_as_toml() -> None:
    """The key of an error can be copied into the file."""
    assert dotted(("forges", "github.com", "url")) == 'forges."github.com".url'
    assert dotted(()) == ""
