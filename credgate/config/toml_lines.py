"""On which line of a TOML document each key stands.

``tomllib`` returns values without places, and an operator needs ``credgate.toml:12``. This reads a document that
``tomllib`` has already accepted a second time, for its keys only: tables, arrays of tables, dotted and quoted keys,
inline tables; strings of all four kinds, comments and multi-line arrays are stepped over. It judges nothing, and for a
document that ``tomllib`` refuses it may return anything. Grammar: TOML 1.0 (toml.io/en/v1.0.0).

A table's own line is that of its header, or of the first key that implies it. Elements of an array have no path of
their own: keys inside them are found under the array's.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str, ...]

# Multi-line strings end at the first three quotes and take up to two more with them (TOML 1.0, "String").
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
    # A document's last line need not end: this end serves both.
    yield _Token("newline", "\n", line)


def _name(token: _Token) -> str:
    """Return what a key's token spells: quoted keys may hold dots and escapes."""
    if token.kind == "bare":
        return token.text
    return str(tomllib.loads(f"key = {token.text}")["key"])


@define(slots=True)
class _Reader:
    """Walks the tokens once; ``found`` collects."""

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
        """Read a dotted key up to and with ``end``; note it and every table that it implies."""
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
    """Return the line of ``path``, else that of the innermost table around it that is written, else 0."""
    for length in range(len(path), 0, -1):
        if path[:length] in found:
            return found[path[:length]]
    return 0


def dotted(path: Path) -> str:
    """Return ``path`` as TOML writes it: ``forges."github.com".url``."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"' for part in path)
