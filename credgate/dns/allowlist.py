"""The names that an operator allows, and the syntax of the allowlist.

One entry a line. ``name`` allows that name only; ``*.name`` allows the names below it, but not itself. ``!`` before an
entry denies, and a denial takes precedence. After the name may follow record types in capitals, which the entry grants
in addition to the default ones (``example.com TXT,MX``). ``#`` begins a comment. Names in other scripts are converted
to A-labels. An invalid line is a ``ConfigError`` with file and line.

The ``allowlist.conf`` of foundry-sandbox's gateway is accepted: the word in lower case after a name (``github``,
``ai-tool``) is a category there, and is ignored. One difference remains: there ``*.name`` also allowed ``name``. Here
it does not; ``credgate-dns-check`` points it out.

A lookup takes one dictionary access for each label of the name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate.dns import codes, domain_names
from credgate.dns.codes import RRType
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from credgate.dns.domain_names import Name

DEFAULT_TYPES = frozenset({RRType.A, RRType.AAAA, RRType.CNAME, RRType.HTTPS, RRType.SVCB})
"""Types that are answered for every allowed name."""
# Types that an entry may grant. All others are refused: it is not known that they are safe to answer.
GRANTABLE = frozenset({RRType.MX, RRType.SRV, RRType.TXT, RRType.PTR, RRType.CAA})

_CATEGORY = re.compile(r"[a-z][a-z0-9_-]{0,31}")
MAX_FILE = 4 * 1024 * 1024
"""Largest allowlist file, octets."""


@frozen(slots=True)
class AllowlistEntry:
    """One entry. ``text`` is its spelling; ``place`` says where it is written: ``file:line``, a key, or a session."""

    name: Name
    wildcard: bool = False
    deny: bool = False
    types: frozenset[int] = frozenset()
    text: str = ""
    place: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.place})" if self.place else self.text


def _types(word: str) -> frozenset[int]:
    """Return the types that the second word of a line grants; a category grants no type."""
    if _CATEGORY.fullmatch(word):
        if word.upper() in RRType.__members__:
            raise ValueError(f"{word!r}: write record types in capitals: {word.upper()}")
        return frozenset()
    numbers = frozenset(codes.type_number(part) for part in word.split(","))
    if refused := numbers - GRANTABLE - DEFAULT_TYPES:
        raise ValueError(f"the record type {codes.type_name(min(refused))} cannot be granted")
    return numbers


def parse_entry(text: str, place: str = "") -> AllowlistEntry:
    """Parse one entry; raises ``ValueError`` with the reason."""
    words = text.split()
    if not 1 <= len(words) <= 2:  # noqa: PLR2004 - a name and an optional word
        raise ValueError("expected a name, optionally followed by record types or a category")
    deny, pattern = words[0].startswith("!"), words[0].removeprefix("!")
    wildcard = pattern.startswith("*.")
    types = _types(words[1]) if len(words) > 1 else frozenset()
    return AllowlistEntry(domain_names.parse(pattern.removeprefix("*.")), wildcard, deny, types, words[0], place)


def read_lines(text: str, file: str) -> Iterator[AllowlistEntry]:
    """Parse the text of an allowlist file; raises ``ConfigError`` with file and line."""
    for number, line in enumerate(text.splitlines(), 1):
        if entry := line.partition("#")[0].strip():
            try:
                yield parse_entry(entry, f"{file}:{number}")
            except ValueError as error:
                raise ConfigError(str(error), file=file, line=number) from None


def read_file(path: str) -> list[AllowlistEntry]:
    """Read an allowlist file (UTF-8, at most 4 MiB). Blocks. Raises ``ConfigError``."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise ConfigError("the allowlist is larger than 4 MiB", file=path, key="dns.allowlist_file")
        return list(read_lines(content.decode(), path))
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", file=path, key="dns.allowlist_file") from None
    except UnicodeDecodeError:
        raise ConfigError("the allowlist is not valid UTF-8", file=path, key="dns.allowlist_file") from None


@frozen(slots=True)
class AllowlistMatch:
    """The entries for a name: the one that denies it, or those that allow it, the most specific first."""

    denied: AllowlistEntry | None = None
    allowed: tuple[AllowlistEntry, ...] = ()

    def types(self) -> frozenset[int]:
        """Return all types that the allowing entries grant, including the default ones."""
        return DEFAULT_TYPES.union(*(entry.types for entry in self.allowed))


Table = dict[tuple["Name", bool], AllowlistEntry]
"""Entries by (name, is it a wildcard)."""


def _find(table: Table, name: Name) -> list[AllowlistEntry]:
    """Return the entries that match a folded name: the name itself, then wildcards, the most specific first."""
    if not table:
        return []
    found = [table[name, False]] if (name, False) in table else []
    return found + [table[name[cut:], True] for cut in range(1, len(name)) if (name[cut:], True) in table]


@frozen(slots=True)
class Allowlist:
    """Entries, indexed for lookups. An empty list allows nothing."""

    allows: Table = field(factory=dict, repr=False)
    denies: Table = field(factory=dict, repr=False)

    @classmethod
    def of(cls, entries: Iterable[AllowlistEntry]) -> Allowlist:
        """Make a list; the types of entries for the same name are combined."""
        made = cls()
        for entry in entries:
            table, key = made.denies if entry.deny else made.allows, (entry.name, entry.wildcard)
            old = table.get(key)
            # A name that was written twice keeps the place of the first entry and gets the types of both.
            table[key] = (
                entry
                if old is None
                else AllowlistEntry(old.name, old.wildcard, old.deny, old.types | entry.types, old.text, old.place)
            )
        return made

    def match(self, name: Name) -> AllowlistMatch:
        """Return the entries for a folded name."""
        if denied := _find(self.denies, name):
            return AllowlistMatch(denied=denied[0])
        return AllowlistMatch(allowed=tuple(_find(self.allows, name)))
