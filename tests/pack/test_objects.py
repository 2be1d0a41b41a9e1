"""Commits, tags and trees are parsed as git parses them, or refused."""

from __future__ import annotations

import pytest

from credgate.pack.objects import (
    SHA1,
    SHA256,
    Commit,
    ObjectFormat,
    ObjectType,
    PackError,
    Tag,
    Tree,
    TreeEntry,
    format_of,
    object_id,
    parse_commit,
    parse_tag,
)
from credgate.pack.objects import parse_tree as parse_tree_in_slices
from tests.fakes import packs

A, B, C = b"\xaa" * 20, b"\xbb" * 20, b"\xcc" * 20


def parse_tree(object_format: ObjectFormat, body: bytes) -> Tree:
    """Parse without slices."""
    return packs.finish(parse_tree_in_slices(object_format, body))


@pytest.mark.parametrize("parents", [(), (B,), (B, C), (B, C, A)])
def test_commit_has_tree_and_parents_in_order(parents: tuple[bytes, ...]) -> None:
    """A walk follows these."""
    result = parse_commit(SHA1, packs.commit(A, parents))
    assert result == Commit(A, parents)


def test_sha256_commit_has_longer_ids() -> None:
    """The format comes from the push, never from the object."""
    result = parse_commit(SHA256, packs.commit(b"\xaa" * 32, [b"\xbb" * 32]))
    assert result == Commit(b"\xaa" * 32, (b"\xbb" * 32,))


def test_only_parents_directly_after_the_tree_count() -> None:
    """Git stops at the first other line: a parent line in the message or a later header does not count."""
    body = packs.commit(A, [B], b"parent " + b"c" * 40) + b"parent " + b"c" * 40 + b"\n"
    assert parse_commit(SHA1, body) == Commit(A, (B,))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        packs.commit(A)[:45],
        packs.commit(A).replace(b"tree ", b"tree  "),
        packs.commit(A).replace(b"aa", b"AA"),
        packs.commit(A, [B]).replace(b"bb", b"BB"),
        packs.commit(A, [B]).replace(b"parent ", b"Parent "),
        packs.commit(A, [B]).replace(b"author ", b"grumpy ", 1),
        packs.commit(b"\xaa" * 32),
        b" " + packs.commit(A),
    ],
)
def test_ambiguous_commit_is_refused(body: bytes) -> None:
    """Git accepts upper-case ids and other tools do not. No tool writes them."""
    with pytest.raises(PackError, match="malformed commit"):
        parse_commit(SHA1, body)


def test_tag_has_target() -> None:
    """Rules on paths apply to tags, too: the tag is followed to its commit."""
    assert parse_tag(SHA1, packs.tag(A)) == Tag(A, ObjectType.COMMIT)
    assert parse_tag(SHA1, packs.tag(A, b"tag")) == Tag(A, ObjectType.TAG)


@pytest.mark.parametrize("body", [b"", packs.tag(A, b"thing"), packs.tag(b"\xaa" * 19), packs.tag(A)[:60]])
def test_malformed_tag_is_refused(body: bytes) -> None:
    """A tag that cannot be followed cannot be judged."""
    with pytest.raises(PackError, match="malformed tag"):
        parse_tag(SHA1, body)


def test_tree_has_entries_with_canonical_modes() -> None:
    """As in git; otherwise an old tool's 100664 would look like a change."""
    body = packs.tree(
        {
            b"link": (0o120000, A),
            b"dir": (0o40000, B),
            b"sub": (0o160000, C),
            b"file": (0o100664, A),
            b"run": (0o100755, B),
            b'\xc3\xa9 "': (0o100644, C),
        }
    )
    result = parse_tree(SHA1, body)
    assert result == {
        b"link": TreeEntry(0o120000, A),
        b"dir": TreeEntry(0o40000, B),
        b"sub": TreeEntry(0o160000, C),
        b"file": TreeEntry(0o100644, A),
        b"run": TreeEntry(0o100755, B),
        b'\xc3\xa9 "': TreeEntry(0o100644, C),
    }
    assert [name for name, entry in result.items() if entry.is_tree] == [b"dir"]
    assert [name for name, entry in result.items() if entry.leads_away] == [b"link", b"sub"]
    assert parse_tree(SHA1, b"") == {}


def test_large_tree_is_parsed_in_slices() -> None:
    """A tree of 4 MiB takes about 0.3 s."""
    body = packs.tree({b"%05d" % number: (0o100644, A) for number in range(5000)})
    assert sum(1 for _ in parse_tree_in_slices(SHA1, body)) == 5
    assert len(parse_tree(SHA1, body)) == 5000


def test_directory_sorts_as_if_it_ended_in_a_slash() -> None:
    """``a-b`` precedes the directory ``a``."""
    names = list(parse_tree(SHA1, b"100644 a-b\0" + A + b"40000 a\0" + B + b"100644 a0\0" + C))
    assert names == [b"a-b", b"a", b"a0"]
    assert parse_tree(SHA1, b"040000 a\0" + A) == parse_tree(SHA1, b"40000 a\0" + A)
    assert parse_tree(SHA256, b"40000 a\0" + b"\xaa" * 32) == {b"a": TreeEntry(0o40000, b"\xaa" * 32)}


@pytest.mark.parametrize(
    "body",
    [
        b"100644 a\0" + A[:19],
        b"100644 \0" + A,
        b"100644 a/b\0" + A,
        b"10064x a\0" + A,
        b"644 a\0" + A,
        b"100644 a\0" + A + b"x",
    ],
)
def test_malformed_tree_is_refused(body: bytes) -> None:
    """A truncated entry, an empty name, a path in place of a name, a malformed mode."""
    with pytest.raises(PackError, match=r"malformed tree$"):
        parse_tree(SHA1, body)


@pytest.mark.parametrize(
    "body",
    [
        b"100644 b\0" + A + b"100644 a\0" + B,
        b"100644 a\0" + A + b"100644 a\0" + B,
        b"100644 a\0" + A + b"100644 a-\0" + C + b"40000 a\0" + B,
        b"40000 a\0" + A + b"100644 a0\0" + C + b"100644 a\0" + B,
        b"40000 ..\0" + A,
        b"100644 .\0" + A,
    ],
)
def test_duplicate_or_unsorted_name_is_refused(body: bytes) -> None:
    """Readers disagree on which of two entries of one name is found."""
    with pytest.raises(PackError, match="unsorted, duplicate or invalid name"):
        parse_tree(SHA1, body)


def test_unknown_mode_is_refused() -> None:
    """Git would treat it as a submodule; other readers would not."""
    with pytest.raises(PackError, match="unknown mode"):
        parse_tree(SHA1, b"20000 a\0" + A)


def test_object_ids_equal_git_s() -> None:
    """The ids of the empty tree are well known."""
    assert object_id(SHA1, ObjectType.TREE, b"").hex() == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    assert object_id(SHA256, 2, b"").hex() == "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
    assert (format_of(b"0" * 40), format_of(b"0" * 64)) == (SHA1, SHA256)
    with pytest.raises(KeyError):
        format_of(b"0" * 41)
