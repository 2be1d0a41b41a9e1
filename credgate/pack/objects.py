"""The fields of git objects that push rules need: a commit's tree and parents, a tag's target, a tree's entries.

    commit = "tree " hex LF *("parent " hex LF) "author " ...          ; parents directly follow the tree
    tag    = "object " hex LF "type " kind LF "tag " ...
    tree   = *(mode SP name NUL oid)                                    ; sorted as if a tree's name ended in "/"

Follows git's ``fsck`` and the parsers of ``commit.c`` and ``tree-walk.c``. It is stricter where two of git's readers
disagree: lower-case ids only, no duplicate name, no unsorted tree, no unknown mode. It never reads authors, dates,
messages or blobs. Object ids are binary here: 20 bytes for SHA-1, 32 for SHA-256.
"""

from __future__ import annotations

import hashlib
import re
from binascii import unhexlify
from collections.abc import Generator
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from attrs import frozen

from credgate.pack.memory import BUDGET

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

Sliced = Generator[None, None, T]
"""Long work as a generator: it yields every few milliseconds, so that its caller can pause, and returns a ``T``."""


class PackError(ValueError):
    """The bytes are not a valid pack, or an object in it is malformed. The text says what is wrong."""


class LimitError(PackError):
    """An object is well-formed but exceeds a limit. The text names the limit and quotes nothing of the object."""


class ObjectType(IntEnum):
    """Object types, numbered as in a pack."""

    COMMIT = 1
    TREE = 2
    BLOB = 3
    TAG = 4


_WORDS: dict[int, bytes] = {
    ObjectType.COMMIT: b"commit",
    ObjectType.TREE: b"tree",
    ObjectType.BLOB: b"blob",
    ObjectType.TAG: b"tag",
}
_KINDS = {word: ObjectType(kind) for kind, word in _WORDS.items()}


class HashState(Protocol):
    """A hash object of ``hashlib``."""

    def update(self, data: memoryview, /) -> None: ...  # noqa: D102

    def digest(self) -> bytes: ...  # noqa: D102


@frozen(slots=True)
class ObjectFormat:
    """A repository's hash: its name in ``object-format=``, its size in bytes, and its constructor."""

    name: bytes
    size: int
    new: Callable[[bytes], HashState]


# git defines these hashes for its object ids and pack checksums; they protect no secret here.
SHA1 = ObjectFormat(b"sha1", 20, lambda data: hashlib.sha1(data, usedforsecurity=False))
SHA256 = ObjectFormat(b"sha256", 32, lambda data: hashlib.sha256(data, usedforsecurity=False))
_FORMATS = {2 * one.size: one for one in (SHA1, SHA256)}


def format_of(hexadecimal: bytes) -> ObjectFormat:
    """Return the format whose ids have this length. Raises ``KeyError`` for any other length."""
    return _FORMATS[len(hexadecimal)]


def object_id(object_format: ObjectFormat, kind: int, body: bytes) -> bytes:
    """Return an object's id: the hash over its type, its length and its body."""
    return object_format.new(b"%s %d\x00%s" % (_WORDS[kind], len(body), body)).digest()


class Commit(NamedTuple):
    """A commit's tree and parents."""

    tree: bytes
    parents: tuple[bytes, ...]


class Tag(NamedTuple):
    """The object that an annotated tag points to."""

    target: bytes
    kind: ObjectType


class TreeEntry(NamedTuple):
    """One entry of a tree: the mode in git's canonical form, and the id."""

    mode: int
    oid: bytes

    @property
    def is_tree(self) -> bool:
        """Whether the entry is a directory."""
        return self.mode == DIRECTORY

    @property
    def leads_away(self) -> bool:
        """Whether the entry is a symbolic link or a submodule: its content is not in this repository's trees."""
        return self.mode in {LINK, GITLINK}


Tree = dict[bytes, TreeEntry]

DIRECTORY = 0o040000
LINK = 0o120000
GITLINK = 0o160000
_REGULAR, _PLAIN, _EXECUTABLE = 0o100000, 0o100644, 0o100755

_COMMIT = {
    size: re.compile(b"tree ([0-9a-f]{%d})\n((?:parent [0-9a-f]{%d}\n)*)author " % (size, size)) for size in (40, 64)
}
_TAG = {size: re.compile(b"object ([0-9a-f]{%d})\ntype (commit|tree|blob|tag)\ntag " % size) for size in (40, 64)}
# Old tools wrote "040000" for a directory. Such trees still exist in histories, and git accepts them.
_ENTRY = {
    size: re.compile(b"(0?[1-7][0-7]{4,5}) ([^\x00/]+)\x00(.{%d})" % size, re.DOTALL)
    for size in (SHA1.size, SHA256.size)
}
_PARENT = len(b"parent ")
_NAMES_PER_SLICE = 1000  # about 2 ms


def parse_commit(object_format: ObjectFormat, body: bytes) -> Commit:
    """Read a commit's tree and parents. Raises :class:`PackError`."""
    size = 2 * object_format.size
    match = _COMMIT[size].match(body)
    if match is None:
        raise PackError("malformed commit")
    lines, step = match[2], size + _PARENT + 1
    parents = tuple(unhexlify(lines[at + _PARENT : at + step - 1]) for at in range(0, len(lines), step))
    return Commit(unhexlify(match[1]), parents)


def parse_tag(object_format: ObjectFormat, body: bytes) -> Tag:
    """Read the target of an annotated tag. Raises :class:`PackError`."""
    match = _TAG[2 * object_format.size].match(body)
    if match is None:
        raise PackError("malformed tag")
    return Tag(unhexlify(match[1]), _KINDS[match[2]])


def parse_tree(object_format: ObjectFormat, body: bytes) -> Sliced[Tree]:
    """Read a tree's entries by name. Raises :class:`PackError`."""
    # In slices: a tree of 4 MiB has 150,000 names and takes about 0.3 s.
    entries: Tree = {}
    try:
        yield from _read_entries(_ENTRY[object_format.size], body, entries)
    except BaseException:
        BUDGET.discard(entries)
        raise
    return entries


def _read_entries(pattern: re.Pattern[bytes], body: bytes, entries: Tree) -> Sliced[None]:
    at, last = 0, b""
    while at < len(body):
        if len(entries) % _NAMES_PER_SLICE == _NAMES_PER_SLICE - 1:
            yield
        match = pattern.match(body, at)
        if match is None:
            raise PackError("malformed tree")
        entry, name = TreeEntry(_canonical(int(match[1], 8)), match[3]), match[2]
        key = name + b"/" if entry.is_tree else name
        # The order alone does not exclude a file and a directory of the same name: git's readers would disagree on
        # which of the two is there.
        if key <= last or name in entries or name in {b".", b".."}:
            raise PackError("malformed tree: unsorted, duplicate or invalid name")
        entries[name] = entry
        at, last = match.end(), key


def _canonical(mode: int) -> int:
    """Return the mode that git uses in its place (``canon_mode``), but refuse a mode of unknown type."""
    kind = mode & 0o170000
    if kind == _REGULAR:
        return _EXECUTABLE if mode & 0o100 else _PLAIN
    if kind not in {DIRECTORY, LINK, GITLINK}:
        raise PackError("malformed tree: unknown mode")
    return kind
