"""The walk against git, dulwich and pygit2: the same commits, the same trees, the same end, whatever packed them."""

from __future__ import annotations

import random
from hashlib import sha1, sha256
from io import BytesIO
from typing import TYPE_CHECKING

import pygit2
import pytest
from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Commit as DulwichCommit
from dulwich.objects import ShaFile
from dulwich.objects import Tree as DulwichTree
from dulwich.pack import write_pack_objects
from hypothesis import given
from hypothesis import strategies as st

from credgate.pack.objects import SHA1, SHA256, PackError
from credgate.pack.walk import PackWalk
from tests.fakes import packs
from tests.fakes.packs import Repository, feed, walked

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 120
FORMATS = {"sha1": SHA1, "sha256": SHA256}


def history() -> bytes:
    """Return a stream for ``git fast-import``: alike commits, so that they become deltas; files, merges and a tag."""
    chance = random.Random(5)
    lines = [b"line %d %d" % (number, chance.getrandbits(40)) for number in range(200)]
    out = []
    for number in range(1, COUNT + 1):
        text = b"a long message that all commits share, so that git makes deltas of them\n" * 12 + b"%d" % number
        out.append(b"commit refs/heads/main\nmark :%d\n" % number)
        out.append(b"committer A <a@example> %d +0000\ndata %d\n%s\n" % (1700000000 + number, len(text), text))
        if number > 1:
            out.append(b"from :%d\n" % (number - 1))
        if number % 10 == 0:
            out.append(b"merge :%d\n" % (number - 5))
        lines[chance.randrange(200)] = b"%d" % number
        body = b"\n".join(lines)
        out.append(b"M 100644 inline dir%d/file\ndata %d\n%s\n" % (number % 40, len(body), body))
    out.append(b"tag v1\nfrom :%d\ntagger A <a@example> 1 +0000\ndata 1\nx\n" % COUNT)
    return b"".join(out)


@pytest.fixture(scope="module", params=["sha1", "sha256"])
def repository(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Make the repository in either format."""
    made = Repository.make(tmp_path_factory.mktemp("walk") / "r.git", f"--object-format={request.param}")
    made.git("fast-import", "--quiet", data=history())
    return made


def truth(repository: Repository, kind: str) -> list[bytes]:
    """Return the ids of all objects of a kind, as git lists them."""
    listing = repository.git("cat-file", "--batch-check", "--batch-all-objects").split(b"\n")
    rows = (line.split() for line in listing if line)
    return [bytes.fromhex(row[0].decode()) for row in rows if row[1].decode() == kind]


OPTIONS = [
    ("--delta-base-offset",),
    (),
    ("--delta-base-offset", "--no-reuse-delta", "--depth=50", "--window=20"),
    ("--no-reuse-delta", "--window=20"),
    ("--window=0", "--no-reuse-delta"),
    ("--compression=0",),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_every_commit_and_every_tree_is_found(repository: Repository, options: tuple[str, ...]) -> None:
    """With deltas by offset, by id, deep chains, none at all, uncompressed."""
    data = repository.packed("main\nv1\n", *options)
    found = FORMATS[repository.git("rev-parse", "--show-object-format").decode().strip()]
    walk = walked(data, found)
    for line in repository.git("log", "--format=%H %T %P", "main").splitlines():
        name, tree, *parents = (bytes.fromhex(word) for word in line.decode().split())
        number = walk.graph.find(name)
        assert number is not None
        numbers = tuple(map(walk.graph.find, parents))
        assert (walk.graph.tree(name), walk.graph.parents(number)) == (tree, numbers)
    names = truth(repository, "tree")
    bodies = repository.git("cat-file", "--batch", data=b"".join(name.hex().encode() + b"\n" for name in names))
    for name in names:
        first, _, bodies = bodies.partition(b"\n")
        size = int(first.split()[2])
        entries = walk.tree(name)
        assert entries is not None
        assert packs.tree({key: (entry.mode, entry.oid) for key, entry in entries.items()}) == bodies[:size]
        bodies = bodies[size + 1 :]
    assert walk.graph.peel(repository.oid("v1")) == repository.oid("main")
    assert (walk.graph.commits, walk.graph.complete) == (COUNT, True)
    # Deltas by id on blobs wait for ever: nobody can tell what they are.
    assert not walk.waiting or "--delta-base-offset" not in options
    assert walk.passed == len(data) - found.size
    repository.git("index-pack", "--stdin", data=data)


def test_commits_that_are_deltas_were_among_them(tmp_path: Path) -> None:
    """Or the test above would show nothing: ``verify-pack`` counts them."""
    made = Repository.make(tmp_path / "r.git")
    made.git("fast-import", "--quiet", data=history())
    made.git("repack", "-q", "-a", "-d", "-f", "--window=20")
    (pack,) = (made.place / "objects" / "pack").glob("*.idx")
    rows = [line.split() for line in made.git("verify-pack", "-v", str(pack)).split(b"\n")]
    assert sum(len(row) == 7 and row[1] == b"commit" for row in rows) > COUNT / 2
    assert sum(len(row) == 7 and row[1] == b"tree" for row in rows) > COUNT / 2


def test_a_thin_pack_holds_all_its_commits(repository: Repository) -> None:
    """Its trees may be deltas on what the forge has; commits are not."""
    found = FORMATS[repository.git("rev-parse", "--show-object-format").decode().strip()]
    data = repository.packed("main\n^main~7\n", "--thin", "--delta-base-offset")
    walk = walked(data, found)
    names = repository.git("rev-list", "main", "^main~7").split()
    assert all(walk.graph.has(bytes.fromhex(name.decode())) for name in names)
    assert walk.graph.commits == len(names)
    assert walk.waiting > 0


@pytest.mark.parametrize("piece", [1, 4096])
def test_the_end_is_where_index_pack_finds_it(tmp_path: Path, piece: int) -> None:
    """Git takes the pack and prints what is behind it; here that is refused, and the end is the same."""
    made = Repository.make(tmp_path / "r.git")
    made.git("fast-import", "--quiet", data=history())
    data = made.packed("main~100\n")
    other = Repository.make(tmp_path / "other.git")
    printed = other.git("index-pack", "--stdin", data=data + b"PACK and more")
    assert printed.startswith(b"pack\t")
    assert printed.endswith(b"\nPACK and more")
    walk = PackWalk(SHA1)
    with pytest.raises(PackError, match="bytes behind the end"):
        feed(walk, data + b"PACK and more", piece)
    assert walk.passed == len(data) - 20


def test_packs_of_dulwich_and_libgit2_are_read(tmp_path: Path) -> None:
    """They write deltas by id, in an order of their own."""
    made = Repository.make(tmp_path / "r.git")
    made.git("fast-import", "--quiet", data=history())
    commits, trees = set(truth(made, "commit")), set(truth(made, "tree"))
    builder = pygit2.PackBuilder(pygit2.Repository(str(made.place)))
    for name in (*commits, *trees):
        builder.add(pygit2.Oid(raw=name))
    builder.write(str(tmp_path))
    (written,) = tmp_path.glob("*.pack")
    store = MemoryObjectStore()
    for name in sorted(commits | trees):
        kind = DulwichCommit if name in commits else DulwichTree
        raw = made.git("cat-file", "commit" if name in commits else "tree", name.hex())
        store.add_object(ShaFile.from_raw_string(kind.type_num, raw))
    sink = BytesIO()
    write_pack_objects(
        sink.write, [(store[name], None) for name in store], deltify=True, object_format=DEFAULT_OBJECT_FORMAT
    )
    for data in (written.read_bytes(), sink.getvalue()):
        walk = walked(data)
        assert all(walk.graph.has(name) for name in commits)
        assert all(walk.tree(name) is not None for name in trees)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Make a repository for ``index-pack`` to be asked in."""
    return Repository.make(tmp_path_factory.mktemp("judge") / "r.git")


@given(st.data())
def test_what_is_read_as_a_pack_is_one_to_index_pack(judge: Repository, data: st.DataObject) -> None:
    """Entries in any number and order, broken in any place, with a right checksum: git refuses or agrees on the end."""
    base = packs.commit(b"\xaa" * 20, text=data.draw(st.binary(max_size=20)))
    entries = [
        packs.entry(packs.COMMIT, base),
        packs.entry(packs.BLOB, data.draw(st.binary(max_size=50))),
        packs.entry(packs.REF, packs.delta(base, base + b"y"), packs.oid(packs.COMMIT, base)),
    ]
    chosen = bytearray(b"".join(data.draw(st.lists(st.sampled_from(entries), max_size=4))))
    if chosen and data.draw(st.booleans()):
        chosen[data.draw(st.integers(0, len(chosen) - 1))] = data.draw(st.integers(0, 255))
    body = b"PACK\0\0\0\2" + data.draw(st.integers(0, 4)).to_bytes(4, "big") + bytes(chosen)
    whole = body + sha1(body).digest()
    try:
        walk = walked(whole)
    except PackError:
        return
    # Git may still refuse (a base that is nowhere); it must not find another end.
    done = judge.run("index-pack", "--stdin", data=whole)
    assert done.returncode == 0 or b"unresolved delta" in done.stderr or b"already resolved" in done.stderr
    assert walk.passed == len(body)
    assert sha256(whole[: walk.passed]).digest() == sha256(body).digest()
