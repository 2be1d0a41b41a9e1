"""The worst inputs of git's own: command lists, options, fetches, advertisements, packs."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from credgate.git.pktline import DELIMITER, FLUSH, encode
from tests.attacks.conftest import good
from tests.attacks.rawclient import login
from tests.attacks.scripted import Asked, Said
from tests.attacks.siege import MIB
from tests.attacks.worst_inputs import OTHER, Case
from tests.fakes import packs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.attacks.worst_inputs import Stage

ZERO, ONE, TWO = b"0" * 40, b"1" * 40, b"2" * 40
CAPS = b"report-status side-band-64k"
MARKS = "\u0315\u0300".encode()
"""Two combining marks out of order: normalisation sorts a run of them, in quadratic time."""
ADVERTISED = b"application/x-git-%b-advertisement"
PACK = packs.pack([])
V2 = b"Git-Protocol: version=2"


def commands(names: Iterable[bytes], old: bytes = ZERO, caps: bytes = CAPS) -> bytes:
    """Write a command list."""
    lines = [b"%b %b %b" % (old, ONE, name) for name in names]
    return b"".join([encode(lines[0] + b"\0" + caps), *map(encode, lines[1:]), FLUSH])


def pushed(body: bytes, *fields: bytes) -> Callable[[Stage], str]:
    """Push it."""
    return lambda stage: stage.ask(stage.post("git-receive-pack", body, *fields))


def fetched(body: bytes, *fields: bytes) -> Callable[[Stage], str]:
    """Fetch with it."""
    return lambda stage: stage.ask(stage.post("git-upload-pack", body, V2, *fields))


def zipped(body: bytes) -> bytes:
    """Compress it."""
    return gzip.compress(body, mtime=0)


def advertised(service: bytes, lines: bytes) -> Callable[[Stage], str]:
    """Have the forge advertise these lines."""
    body = encode(b"# service=git-" + service + b"\n") + FLUSH + lines

    def run(stage: Stage) -> str:
        stage.answers(body, ADVERTISED % service, b"/info/refs?service=git-" + service)
        return stage.ask(
            stage.field.discovery(OTHER, "git-" + service.decode()).replace(
                stage.field.authorization, login(stage.ruled.line)
            )
        )

    return run


def refs(count: int, *, first: bytes = b"", peeled: bool = False) -> bytes:
    """Write an advertisement's refs."""
    lines = [b"%b refs/%b/%06d" % (ONE, b"tags" if peeled else b"heads", at) for at in range(count)]
    caps = first or CAPS + b" delete-refs ofs-delta object-format=sha1"
    out = [encode(lines[0] + b"\0" + caps + b"\n")]
    for line in lines[1:]:
        out.append(encode(line + b"\n"))
        if peeled:
            out.append(encode(TWO + line[40:] + b"^{}\n"))
    return b"".join([*out, FLUSH])


def packed(*entries: bytes, new: bytes = b"", old: bytes = TWO) -> Callable[[Stage], str]:
    """Push a pack: the update of a branch to a commit in it, so that it is walked."""
    line = b"%b %b refs/heads/main\0%b" % (old, new.hex().encode() or ONE, CAPS)
    return pushed(encode(line) + FLUSH + packs.pack(entries))


def trees(names: Iterable[bytes]) -> Callable[[Stage], str]:
    """Push a commit with one tree of these names."""
    body = b"".join(b"100644 %b\0%b" % (name, b"\x11" * 20) for name in names)
    top = packs.commit(packs.oid(packs.TREE, body))
    entries = [packs.entry(packs.COMMIT, top), packs.entry(packs.TREE, body)]
    return packed(*entries, new=packs.oid(packs.COMMIT, top), old=ZERO)


def parents() -> Callable[[Stage], str]:
    """Push a commit with a megabyte of parents."""
    top = packs.commit(b"\x11" * 20, (at.to_bytes(20, "big") for at in range(1, 20000)))
    return packed(packs.entry(packs.COMMIT, top), new=packs.oid(packs.COMMIT, top))


def commits() -> Callable[[Stage], str]:
    """Push a chain of commits, each on the one before."""
    entries, parent = [], b"\x22" * 20
    for at in range(6000):
        body = packs.commit(b"\x11" * 20, [parent], b"%d" % at)
        parent = packs.oid(packs.COMMIT, body)
        entries.append(packs.entry(packs.COMMIT, body, level=1))
    return packed(*reversed(entries), new=parent)


def tags() -> Callable[[Stage], str]:
    """Push a chain of tags, each of the one before."""
    entries, target, kind = [], b"\x22" * 20, b"commit"
    for _ in range(8000):
        body = packs.tag(target, kind)
        target, kind = packs.oid(packs.TAG, body), b"tag"
        entries.append(packs.entry(packs.TAG, body, level=1))
    return packed(*entries, new=target)


def copies() -> Callable[[Stage], str]:
    """Push a delta of copies of one byte each."""
    base = packs.tree({b"a": (0o100644, b"\x11" * 20)})
    count = 300_000
    copy = b"\x90\x01"  # copy one byte from offset 0
    delta = packs.number(len(base)) + packs.number(count) + copy * count
    return packed(
        packs.entry(packs.TREE, base), packs.entry(packs.OFS, delta, packs.distance(len(packs.entry(packs.TREE, base))))
    )


def listed(answer: bytes) -> Callable[[Stage], str]:
    """Push a commit on a ref that only the forge can tell of, and have it list these refs."""
    top = packs.commit(b"\x11" * 20, [b"\x44" * 20])
    push = packed(packs.entry(packs.COMMIT, top), new=packs.oid(packs.COMMIT, top), old=ZERO)
    offered = b"".join(map(encode, (b"version 2\n", b"ls-refs\n", b"fetch=filter\n"))) + FLUSH

    def run(stage: Stage) -> str:
        def script(asked: Asked) -> Said:
            if OTHER.encode() not in asked.target or b"receive-pack" in asked.target:
                return good(asked)
            kind = b"advertisement" if asked.method == b"GET" else b"result"
            body = offered if asked.method == b"GET" else answer if b"ls-refs" in asked.body else FLUSH
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-%b\r\nContent-Length: %d\r\n\r\n"
            return Said([head % (kind, len(body)), body])

        stage.field.forge.script = script
        stage.field.forge.clear()
        result = push(stage)
        assert any(b"ls-refs" in asked.body for asked in stage.field.forge.asked), "the forge was not asked"
        return result

    return run


FIVE = b"0005x"
GIT = (
    Case("push list", "8,000 refs", pushed(commands(b"refs/heads/%06d" % at for at in range(8000)) + PACK), r"\d+ "),
    Case("push list", "20,000 refs, gzip", pushed(
        zipped(commands(b"refs/heads/%06d" % at for at in range(20000)) + PACK), b"Content-Encoding: gzip"), r"\d+ "),
    Case("push list", "16 names of 64 KiB", pushed(
        commands(b"refs/heads/%02d" % at + b"a/" * 32000 + b"b" for at in range(16)) + PACK), r"\d+ "),
    Case("push list", "a name of combining marks", pushed(commands([b"refs/heads/" + MARKS * 8000]) + PACK), r"\d+ "),
    Case("push list", "4 MiB of combining marks, gzip", pushed(
        zipped(commands(b"refs/heads/%02d" % at + MARKS * 16000 for at in range(64)) + PACK),
        b"Content-Encoding: gzip"), r"\d+ "),
    Case("push list", "30,000 capabilities", pushed(commands([b"refs/heads/x"], caps=b"x " * 30000) + PACK), r"\d+ "),
    Case("push list", "20,000 shallow lines", pushed(
        encode(b"shallow " + ONE) * 20000 + commands([b"refs/heads/x"]) + PACK), r"\d+ "),
    Case("push list", "200,000 options", pushed(
        commands([b"refs/heads/x"], caps=CAPS + b" push-options") + FIVE * 200_000 + FLUSH + PACK), r"\d+ "),
    Case("push list", "200,000 empty packets", pushed(b"0004" * 250_000), r"\d+ "),
    Case("push body", "gzip of 100 MiB", pushed(zipped(commands([b"refs/heads/x"]) + bytes(100 * MIB)),
        b"Content-Encoding: gzip"), r"\d+ "),
    Case("fetch body", "200,000 arguments", fetched(
        encode(b"command=fetch") + DELIMITER + FIVE * 200_000 + FLUSH), r"\d+"),
    Case("fetch body", "200,000 arguments, gzip", fetched(
        zipped(encode(b"command=fetch") + DELIMITER + FIVE * 200_000 + FLUSH), b"Content-Encoding: gzip"), r"\d+"),
    Case("fetch body", "20 MiB of arguments, gzip", fetched(
        zipped(encode(b"command=fetch") + DELIMITER + FIVE * 4_000_000 + FLUSH), b"Content-Encoding: gzip"), r"\d+"),
    Case("advertisement", "20,000 refs", advertised(b"receive-pack", refs(20000)), r"200"),
    Case("advertisement", "8,000 tags, peeled", advertised(b"upload-pack", refs(8000, peeled=True)), r"200"),
    Case("advertisement", "one line of 60,000 octets of capabilities",
        advertised(b"receive-pack", refs(2, first=b"x " * 30000)), r"\d+"),
    Case("advertisement", "200,000 packets of one octet", advertised(b"receive-pack", FIVE * 200_000 + FLUSH), r"\d+"),
    Case("advertisement", "200,000 capabilities of version 2",
        advertised(b"upload-pack", encode(b"version 2\n") + FIVE * 200_000 + FLUSH), r"\d+"),
    Case("ls-refs answer", "13,000 refs, asked for a push", listed(refs(13000)), r"\d+"),
    Case("ls-refs answer", "200,000 packets of one octet", listed(FIVE * 200_000 + FLUSH), r"\d+"),
    Case("pack", "a tree of 30,000 names", trees(b"%08d" % at for at in range(30000)), r"\d+"),
    Case("pack", "a tree of combining marks", trees([MARKS * 16000, b".github"]), r"\d+"),
    Case("pack", "a commit of 20,000 parents", parents(), r"\d+"),
    Case("pack", "6,000 commits", commits(), r"\d+"),
    Case("pack", "8,000 tags of tags", tags(), r"\d+"),
    Case("pack", "300,000 copies of one octet", copies(), r"\d+"),
    Case("pack", "80,000 empty blobs", packed(*[packs.entry(packs.BLOB, b"", level=0)] * 80000), r"\d+"),
    Case("pack", "64 MiB of zeros in one blob", packed(packs.entry(packs.BLOB, bytes(64 * MIB))), r"\d+"),
)  # fmt: skip
