"""git's objects as a push's rules need them: a commit's tree and parents, a tag's target, a tree's entries, object ids.

    commit = "tree " hex LF *("parent " hex LF) "author " ...          ; parents stand directly behind the tree
    tag    = "object " hex LF "type " kind LF "tag " ...
    tree   = *(mode SP name NUL oid)                                    ; sorted, a tree's name as if it ended in "/"

Follows git's ``fsck`` and the parsers of ``commit.c`` and ``tree-walk.c``, and is stricter where those let two readers
disagree: lower-case ids only, no name twice, no unsorted tree, no unknown mode. Never reads what a rule does not ask
for (authors, dates, messages) and never a blob. Object ids are binary here: 20 bytes of SHA-1 or 32 of SHA-256.
"""

from __future__ import annotations

import hashlib
import re
from binascii import unhexlify
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from attrs import frozen

from credgate.pack.slices import finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.pack.slices import Sliced


class PackError(ValueError):
    """The bytes are no pack, or an object in it is malformed. Its reader makes this the sender's error."""


class LimitError(PackError):
    """An object is well-formed and exceeds a limit of ours; the text names the limit, and nothing that was sent."""


class ObjectType(IntEnum):
    """What an object is, numbered as in a pack."""

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
    """A hash in the making, as ``hashlib`` gives it."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""
        ...

    def digest(self) -> bytes:
        """Return the hash of what was taken."""
        ...


@frozen(slots=True)
class ObjectFormat:
    """A repository's hash: its name in ``object-format=``, its length in bytes, and how to make one."""

    name: bytes
    size: int
    new: Callable[[bytes], HashState]


# Not used for secrecy: this is what git's object ids and pack checksums are.
SHA1 = ObjectFormat(b"sha1", 20, lambda data: hashlib.sha1(data, usedforsecurity=False))
SHA256 = ObjectFormat(b"sha256", 32, lambda data: hashlib.sha256(data, usedforsecurity=False))
_FORMATS = {2 * one.size: one for one in (SHA1, SHA256)}


def format_of(hexadecimal: bytes) -> ObjectFormat:
    """Return the format whose ids are as long as this one. Raises ``KeyError`` for a length that is none."""
    return _FORMATS[len(hexadecimal)]


def object_id(object_format: ObjectFormat, kind: int, body: bytes) -> bytes:
    """Return the id of an object: the hash over its kind, its length and its body."""
    return object_format.new(b"%s %d\x00%s" % (_WORDS[kind], len(body), body)).digest()


class Commit(NamedTuple):
    """What the rules need of a commit."""

    tree: bytes
    parents: tuple[bytes, ...]


class Tag(NamedTuple):
    """What an annotated tag points to."""

    target: bytes
    kind: ObjectType


class TreeEntry(NamedTuple):
    """One name in a tree: the mode as git canonicalises it, and the id."""

    mode: int
    oid: bytes

    @property
    def is_tree(self) -> bool:
        """Whether it is a directory."""
        return self.mode == DIRECTORY

    @property
    def leads_away(self) -> bool:
        """Whether it is a symbolic link or a submodule: what lies below it is not in this tree."""
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
# Old tools wrote "040000"; git reads it, and so do histories that are pushed today.
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
        raise PackError("a commit that git would not make")
    lines, step = match[2], size + _PARENT + 1
    parents = tuple(unhexlify(lines[at + _PARENT : at + step - 1]) for at in range(0, len(lines), step))
    return Commit(unhexlify(match[1]), parents)


def parse_tag(object_format: ObjectFormat, body: bytes) -> Tag:
    """Read what an annotated tag points to. Raises :class:`PackError`."""
    match = _TAG[2 * object_format.size].match(body)
    if match is None:
        raise PackError("a tag that git would not make")
    return Tag(unhexlify(match[1]), _KINDS[match[2]])


def parse_tree(object_format: ObjectFormat, body: bytes) -> Tree:
    """Read a tree's entries by name. Raises :class:`PackError`."""
    return finish(read_tree(object_format, body))


def read_tree(object_format: ObjectFormat, body: bytes) -> Sliced[Tree]:
    """Do the same in slices: a tree of 4 MiB has 150,000 names and takes some 0.3 s."""
    entries: Tree = {}
    at, last, pattern = 0, b"", _ENTRY[object_format.size]
    while at < len(body):
        if len(entries) % _NAMES_PER_SLICE == _NAMES_PER_SLICE - 1:
            yield
        match = pattern.match(body, at)
        if match is None:
            raise PackError("a tree that git would not make")
        entry, name = TreeEntry(_canonical(int(match[1], 8)), match[3]), match[2]
        key = name + b"/" if entry.is_tree else name
        # Sorted by key, and yet a file and a directory may share a name: git finds one of the two, who knows which.
        if key <= last or name in entries or name in {b".", b".."}:
            raise PackError("a tree whose names are out of order, twice there or impossible")
        entries[name] = entry
        at, last = match.end(), key
    return entries


def _canonical(mode: int) -> int:
    """Return the mode that git works with (``canon_mode``); a mode of no known type is refused, not guessed."""
    kind = mode & 0o170000
    if kind == _REGULAR:
        return _EXECUTABLE if mode & 0o100 else _PLAIN
    if kind not in {DIRECTORY, LINK, GITLINK}:
        raise PackError("a tree entry of no known type")
    return kind
