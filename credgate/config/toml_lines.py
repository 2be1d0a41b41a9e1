"""Finds the line of each key in a TOML document.

``tomllib`` returns values without positions, but an error must name ``credgate.toml:12``. This module reads a document
that ``tomllib`` has accepted a second time, for its keys only: tables, arrays of tables, dotted and quoted keys, inline
tables. Strings, comments and multi-line arrays are skipped. For a document that ``tomllib`` refuses, the result is
undefined. Grammar: TOML 1.0 (toml.io/en/v1.0.0).

The line of a table is that of its header, or of the first key that implies it. Keys inside the elements of an array are
recorded under the path of the array.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str, ...]

# A multi-line string ends at the first three quotes and includes up to two more quotes (TOML 1.0, "String").
_TOKEN = re.compile(
    r'''
      (?P<blank>    [ \t\r]+ | \#[^\n]* )
    | (?P<newline>  \n )
    | (?P<string>   """ (?: \\. | [^\\] )*? """ "{0,2}
                  | \'\'\' .*? \'\'\' \'{0,2}
                  | " (?: \\. | [^"\\] )* "
                  | ' [^']* ' )
    | (?P<mark>     [\[\]{},=.] )
    | (?P<bare>     [^\s\[\]{},=.\#"']+ )
    ''',
    re.VERBOSE | re.DOTALL,
)


@frozen(slots=True)
class _Token:
    kind: str
    text: str
    line: int


def _tokens(document: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(document):
        kind = match.lastgroup or ""
        if kind != "blank":
            yield _Token(kind, match[0], line)
        line += match[0].count("\n")
    # The last line of a document may lack its newline.
    yield _Token("newline", "\n", line)


def _name(token: _Token) -> str:
    """Return the name in a key token; quoted keys may contain dots and escapes."""
    if token.kind == "bare":
        return token.text
    return str(tomllib.loads(f"key = {token.text}")["key"])


@define(slots=True)
class _Reader:
    """Reads the tokens once and collects the lines of keys in ``found``."""

    tokens: list[_Token]
    at: int = 0
    found: dict[Path, int] = field(factory=dict)

    def document(self) -> None:
        table: Path = ()
        while self.at < len(self.tokens):
            if self.tokens[self.at].kind == "newline":
                self.at += 1
            elif self.tokens[self.at].text == "[":
                self._skip("[")
                table = self._key((), "]")
                self._skip("]")
            else:
                self._value(self._key(table, "="))

    def _skip(self, *texts: str) -> None:
        while self.at < len(self.tokens) and self.tokens[self.at].text in texts:
            self.at += 1

    def _key(self, table: Path, end: str) -> Path:
        """Read a dotted key up to and including ``end``; record it and every table that it implies."""
        path = table
        while self.at < len(self.tokens) - 1 and (token := self.tokens[self.at]).text != end:
            if token.kind in {"bare", "string"}:
                path = (*path, _name(token))
                self.found.setdefault(path, token.line)
            self.at += 1
        self.at += 1
        return path

    def _value(self, path: Path) -> None:
        opening = self.tokens[self.at].text if self.at < len(self.tokens) else ""
        if opening == "{":
            self._inline_table(path)
        elif opening == "[":
            self._array(path)
        else:
            while self.at < len(self.tokens) and not self._ends_value(self.tokens[self.at]):
                self.at += 1

    @staticmethod
    def _ends_value(token: _Token) -> bool:
        return token.kind == "newline" or token.text in {",", "]", "}"}

    def _inline_table(self, path: Path) -> None:
        self.at += 1
        while self.at < len(self.tokens) and self.tokens[self.at].text != "}":
            if self._ends_value(self.tokens[self.at]):
                self.at += 1
            else:
                self._value(self._key(path, "="))
        self.at += 1

    def _array(self, path: Path) -> None:
        self.at += 1
        while self.at < len(self.tokens) and self.tokens[self.at].text != "]":
            if self._ends_value(self.tokens[self.at]):
                self.at += 1
            else:
                self._value(path)
        self.at += 1


def lines(document: str) -> dict[Path, int]:
    """Return the line, counted from 1, of every key and table of a document that ``tomllib`` accepts."""
    reader = _Reader(list(_tokens(document)))
    reader.document()
    return reader.found


def line_of(found: dict[Path, int], path: Path) -> int:
    """Return the line of ``path``, else of the innermost enclosing table in the document, else 0."""
    for length in range(len(path), 0, -1):
        if path[:length] in found:
            return found[path[:length]]
    return 0


def dotted(path: Path) -> str:
    """Return ``path`` as TOML writes it: ``forges."github.com".url``."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in path)
