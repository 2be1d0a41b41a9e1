"""Objects and packs made byte by byte, and helpers that feed a walk with them."""

from __future__ import annotations

import subprocess
import zlib
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen

from credgate.pack.objects import SHA1, ObjectFormat
from credgate.pack.walk import DEFAULT_LIMITS, PackWalk
from tests.fakes.repositories import ENVIRON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from credgate.pack.commit_graph import CommitGraph
    from credgate.pack.object_store import StoreLimits
    from credgate.pack.objects import Sliced, Tree

T = TypeVar("T")
COMMIT, TREE, BLOB, TAG, OFS, REF = 1, 2, 3, 4, 6, 7
WORDS = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}
HASHES = {20: sha1, 32: sha256}
PEOPLE = {f"GIT_{role}_{part}": "x@example" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


def oid(kind: int, body: bytes, size: int = 20) -> bytes:
    """Return an object's id."""
    return HASHES[size](b"%s %d\0" % (WORDS[kind], len(body)) + body).digest()


def commit(tree: bytes, parents: Iterable[bytes] = (), text: bytes = b"x") -> bytes:
    """Return a commit's body."""
    lines = b"".join(b"parent %s\n" % parent.hex().encode() for parent in parents)
    who = b"A U Thor <a@example> 1700000000 +0000"
    return b"tree %s\n%sauthor %s\ncommitter %s\n\n%s\n" % (tree.hex().encode(), lines, who, who, text)


def tag(target: bytes, kind: bytes = b"commit", name: bytes = b"v1") -> bytes:
    """Return an annotated tag's body."""
    return b"object %s\ntype %s\ntag %s\ntagger A <a@example> 1 +0000\n\nx\n" % (target.hex().encode(), kind, name)


def tree(entries: Mapping[bytes, tuple[int, bytes]]) -> bytes:
    """Return a tree's body, sorted as git sorts."""
    names = sorted(entries, key=lambda name: name + b"/" if entries[name][0] == 0o40000 else name)
    return b"".join(b"%o %s\0%s" % (entries[name][0], name, entries[name][1]) for name in names)


def number(value: int) -> bytes:
    """Return a size as in a delta: seven bits a byte, low bits first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def head(kind: int, size: int) -> bytes:
    """Return an entry's kind and size."""
    first, rest = kind << 4 | size & 15, size >> 4
    return bytes([first | 0x80]) + number(rest) if rest else bytes([first])


def distance(back: int) -> bytes:
    """Return the distance of an OFS_DELTA to its base."""
    out = [back & 0x7F]
    while back := back >> 7:
        back -= 1
        out.append(back & 0x7F | 0x80)
    return bytes(reversed(out))


def delta(base: bytes, result: bytes) -> bytes:
    """Return a delta that copies the common prefix and inserts the rest."""
    same = next((at for at, (one, two) in enumerate(zip(base, result, strict=False)) if one != two), 0) & 0xFFFF
    out = number(len(base)) + number(len(result))
    if same:
        out += bytes([0x80 | 0x30, same & 0xFF, same >> 8])
    for at in range(same, len(result), 127):
        piece = result[at : at + 127]
        out += bytes([len(piece)]) + piece
    return out


def entry(kind: int, body: bytes, base: bytes = b"", level: int = -1) -> bytes:
    """Return one entry of a pack."""
    return head(kind, len(body)) + base + zlib.compress(body, level)


def pack(entries: Sequence[bytes], size: int = 20, count: int | None = None) -> bytes:
    """Return a whole pack."""
    data = b"PACK\0\0\0\2" + (len(entries) if count is None else count).to_bytes(4, "big") + b"".join(entries)
    return data + HASHES[size](data).digest()


def feed(walk: PackWalk, data: bytes, piece: int = 65536, work: int = 1 << 30) -> PackWalk:
    """Feed all of ``data`` to the walk in pieces."""
    for at in range(0, len(data), piece):
        walk.receive(data[at : at + piece])
        while walk.step(work):
            pass
    return walk


def walked(
    data: bytes,
    object_format: ObjectFormat = SHA1,
    *,
    trees: bool = True,
    limits: StoreLimits = DEFAULT_LIMITS,
    graph: CommitGraph | None = None,
) -> PackWalk:
    """Walk a whole pack."""
    walk = feed(PackWalk(object_format, trees=trees, limits=limits, graph=graph), data)
    walk.end()
    return walk


def finish(work: Sliced[T]) -> T:
    """Run sliced work to its end and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as ended:
            result: T = ended.value
            return result


def tree_of(walk: PackWalk, oid: bytes) -> Tree | None:
    """Return a tree from a walk."""
    return finish(walk.tree(oid))


@frozen
class Repository:
    """A bare repository on disk, and git to work on it."""

    place: Path

    @classmethod
    def make(cls, place: Path, *options: str) -> Repository:
        """Create an empty repository."""
        subprocess.run(["git", "init", "-q", "--bare", *options, str(place)], env=ENVIRON, check=True)
        return cls(place)

    def git(self, *words: str, data: bytes = b"", ok: tuple[int, ...] = (0,), **environ: str) -> bytes:
        """Run git, which must succeed, and return its output."""
        done = self.run(*words, data=data, **environ)
        assert done.returncode in ok, done.stderr
        return done.stdout

    def run(self, *words: str, data: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
        """Run git and return the result, also of a failure."""
        command = ["git", "-C", str(self.place), *words]
        return subprocess.run(command, env=ENVIRON | PEOPLE | environ, input=data, capture_output=True, check=False)

    def oid(self, name: str) -> bytes:
        """Return the binary id to which ``name`` resolves."""
        return bytes.fromhex(self.git("rev-parse", "--verify", name).decode().strip())

    def write(self, kind: int, body: bytes) -> bytes:
        """Write a loose object and return its id."""
        words = ("hash-object", "-w", "--literally", "--stdin", "-t", WORDS[kind].decode())
        return bytes.fromhex(self.git(*words, data=body).decode().strip())

    def packed(self, revisions: str, *options: str) -> bytes:
        """Return the pack that ``pack-objects`` makes of these revisions, one on each line."""
        return self.git("pack-objects", "--revs", "--stdout", "-q", *options, data=revisions.encode())

    def ask(self, request: bytes) -> bytes:
        """Return the answer of ``upload-pack`` to a version 2 request."""
        words = ("-c", "uploadpack.allowFilter=true", "upload-pack", "--stateless-rpc", str(self.place))
        return self.run(*words, data=request, GIT_PROTOCOL="version=2").stdout
