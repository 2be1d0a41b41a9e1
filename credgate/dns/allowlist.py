"""The names an operator allows, and how they are written.

One entry a line: ``name`` allows that name only, ``*.name`` the names below it and not itself, ``!`` before either
denies and wins. Behind it may stand record types that the entry grants beside the default ones, in capitals
(``example.com TXT,MX``). ``#`` begins a comment. The ancestor's ``allowlist.conf`` is read as it is: the word behind
its names (``github``, ``ai-tool``) is a category in lower case, which grants nothing and is dropped. (There ``*.name``
meant ``name`` too; here it does not, and ``credgate-dns-check`` says so.) IDNA is folded to A-labels. A bad line is a
``ConfigError`` with file and line. Lookup is by label tuples in a dictionary: as many steps as the name has labels.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from credgate.dns import codes, names
from credgate.dns.codes import RRType
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from credgate.dns.names import Name

DEFAULT_TYPES = frozenset({RRType.A, RRType.AAAA, RRType.CNAME, RRType.HTTPS, RRType.SVCB})
"""Types that every allowed name may be asked for."""
GRANTABLE = frozenset({RRType.MX, RRType.SRV, RRType.TXT, RRType.PTR, RRType.CAA})
"""Types that an entry may grant. The default ones need no grant; others cannot be told safe and are never answered."""

_CATEGORY = re.compile(r"[a-z][a-z0-9_-]{0,31}")
MAX_FILE = 4 * 1024 * 1024
"""Octets of an allowlist file."""


@frozen(slots=True)
class AllowlistEntry:
    """One line. ``text`` is its own spelling, ``place`` where it stands: ``file:line``, a key, a session."""

    name: Name
    wildcard: bool = False
    deny: bool = False
    types: frozenset[int] = frozenset()
    text: str = ""
    place: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.place})" if self.place else self.text


def _types(word: str) -> frozenset[int]:
    """Return the types that the second word of a line grants; a category grants none."""
    if _CATEGORY.fullmatch(word):
        if word.upper() in RRType.__members__:
            raise ValueError(f"{word!r}: record types are written in capitals: {word.upper()}")
        return frozenset()
    numbers = frozenset(codes.type_number(part) for part in word.split(","))
    if refused := numbers - GRANTABLE - DEFAULT_TYPES:
        raise ValueError(f"{codes.type_name(min(refused))} cannot be granted")
    return numbers


def parse_entry(text: str, place: str = "") -> AllowlistEntry:
    """Read one entry; ``ValueError`` says what is wrong with it."""
    words = text.split()
    if not 1 <= len(words) <= 2:  # noqa: PLR2004 - a name and perhaps a word behind it
        raise ValueError("an entry is a name and, behind it, perhaps record types or a category")
    deny, pattern = words[0].startswith("!"), words[0].removeprefix("!")
    wildcard = pattern.startswith("*.")
    types = _types(words[1]) if len(words) > 1 else frozenset()
    return AllowlistEntry(names.parse(pattern.removeprefix("*.")), wildcard, deny, types, words[0], place)


def read_lines(text: str, file: str) -> Iterator[AllowlistEntry]:
    """Read an allowlist file's text; ``ConfigError`` names file and line."""
    for number, line in enumerate(text.splitlines(), 1):
        if entry := line.partition("#")[0].strip():
            try:
                yield parse_entry(entry, f"{file}:{number}")
            except ValueError as error:
                raise ConfigError(str(error), file=file, line=number) from None


def read_file(path: str) -> list[AllowlistEntry]:
    """Read an allowlist file (UTF-8, at most 4 MiB); blocking. ``ConfigError`` if it cannot be read or used."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise ConfigError("the allowlist is larger than 4 MiB", file=path, key="dns.allowlist_file")
        return list(read_lines(content.decode(), path))
    except OSError as error:
        raise ConfigError(f"cannot read: {error.strerror}", file=path, key="dns.allowlist_file") from None
    except UnicodeDecodeError:
        raise ConfigError("the allowlist is not UTF-8", file=path, key="dns.allowlist_file") from None


@frozen(slots=True)
class AllowlistMatch:
    """What a list says of a name: the entry that denies it, or those that allow it, the closest first."""

    denied: AllowlistEntry | None = None
    allowed: tuple[AllowlistEntry, ...] = ()

    def types(self) -> frozenset[int]:
        """Return the types that the allowing entries grant together, the default ones included."""
        return DEFAULT_TYPES.union(*(entry.types for entry in self.allowed))


Table = dict[tuple["Name", bool], AllowlistEntry]
"""Entries by their name and whether they are wildcards."""


def _merge(old: AllowlistEntry | None, new: AllowlistEntry) -> AllowlistEntry:
    """Return one entry for a line written twice: the first one's place, the types of both."""
    if old is None:
        return new
    return AllowlistEntry(old.name, old.wildcard, old.deny, old.types | new.types, old.text, old.place)


def _find(table: Table, name: Name) -> list[AllowlistEntry]:
    """Return the entries that match a folded name: itself, then wildcards from the closest up."""
    if not table:
        return []
    found = [table[name, False]] if (name, False) in table else []
    return found + [table[name[cut:], True] for cut in range(1, len(name)) if (name[cut:], True) in table]


@frozen(slots=True)
class Allowlist:
    """Entries, made for looking up. Empty: nothing is allowed."""

    allows: Table = field(factory=dict, repr=False)
    denies: Table = field(factory=dict, repr=False)

    @classmethod
    def of(cls, entries: Iterable[AllowlistEntry]) -> Allowlist:
        """Make the list; of entries for the same pattern the types add up."""
        made = cls()
        for entry in entries:
            table, key = made.denies if entry.deny else made.allows, (entry.name, entry.wildcard)
            table[key] = _merge(table.get(key), entry)
        return made

    def match(self, name: Name) -> AllowlistMatch:
        """Say what the list has about a folded name."""
        if denied := _find(self.denies, name):
            return AllowlistMatch(denied=denied[0])
        return AllowlistMatch(allowed=tuple(_find(self.allows, name)))
