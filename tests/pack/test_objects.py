"""Commits, tags and trees are read as git reads them, or not at all."""

from __future__ import annotations

import pytest

from credgate.pack.objects import (
    SHA1,
    SHA256,
    Commit,
    ObjectType,
    PackError,
    Tag,
    TreeEntry,
    format_of,
    object_id,
    parse_commit,
    parse_tag,
    parse_tree,
)
from tests.fakes import packs

A, B, C = b"\xaa" * 20, b"\xbb" * 20, b"\xcc" * 20


@pytest.mark.parametrize("parents", [(), (B,), (B, C), (B, C, A)])
def test_a_commit_gives_its_tree_and_its_parents_in_order(parents: tuple[bytes, ...]) -> None:
    """A walk follows these and nothing else."""
    result = parse_commit(SHA1, packs.commit(A, parents))
    assert result == Commit(A, parents)


def test_a_sha256_commit_has_longer_ids() -> None:
    """The format comes from the push, never from the object."""
    result = parse_commit(SHA256, packs.commit(b"\xaa" * 32, [b"\xbb" * 32]))
    assert result == Commit(b"\xaa" * 32, (b"\xbb" * 32,))


def test_only_parents_directly_behind_the_tree_count() -> None:
    """Git stops at the first other line; a parent in the message or a later header is none."""
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
def test_a_commit_that_two_readers_may_read_in_two_ways_is_refused(body: bytes) -> None:
    """Git itself takes upper-case ids, other tools do not: nobody makes them, so nobody needs them."""
    with pytest.raises(PackError, match="a commit that git would not make"):
        parse_commit(SHA1, body)


def test_a_tag_gives_its_target() -> None:
    """Rules on paths hold for tags too: the tag is followed to its commit."""
    assert parse_tag(SHA1, packs.tag(A)) == Tag(A, ObjectType.COMMIT)
    assert parse_tag(SHA1, packs.tag(A, b"tag")) == Tag(A, ObjectType.TAG)


@pytest.mark.parametrize("body", [b"", packs.tag(A, b"thing"), packs.tag(b"\xaa" * 19), packs.tag(A)[:60]])
def test_a_broken_tag_is_refused(body: bytes) -> None:
    """What cannot be followed cannot be judged."""
    with pytest.raises(PackError, match="a tag that git would not make"):
        parse_tag(SHA1, body)


def test_a_tree_gives_its_entries_by_name_with_git_s_own_modes() -> None:
    """Modes are canonicalised as git does, or an old tool's 100664 would look like a change."""
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


def test_a_directory_sorts_as_if_it_ended_in_a_slash() -> None:
    """``a-b`` stands before the directory ``a``: the order is git's, not the names'."""
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
def test_a_tree_that_is_none_is_refused(body: bytes) -> None:
    """A cut entry, a name of nothing, a path for a name."""
    with pytest.raises(PackError, match="a tree that git would not make"):
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
def test_a_name_twice_or_out_of_order_is_refused(body: bytes) -> None:
    """Of two entries of one name git finds one, and which depends on who looks: none may be judged."""
    with pytest.raises(PackError, match="out of order, twice there or impossible"):
        parse_tree(SHA1, body)


def test_a_mode_of_no_known_type_is_refused() -> None:
    """Git would take it for a submodule; nobody else would."""
    with pytest.raises(PackError, match="of no known type"):
        parse_tree(SHA1, b"20000 a\0" + A)


def test_ids_and_formats_are_git_s() -> None:
    """The empty tree's ids are known to everybody."""
    assert object_id(SHA1, ObjectType.TREE, b"").hex() == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    assert object_id(SHA256, 2, b"").hex() == "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321"
    assert (format_of(b"0" * 40), format_of(b"0" * 64)) == (SHA1, SHA256)
    with pytest.raises(KeyError):
        format_of(b"0" * 41)
