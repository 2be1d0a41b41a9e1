"""A work tree to push from: in a sandbox, with its session, and direct access to the forge's repository.

Commits are made by ``git fast-import``, whole trees at a time, so that a history is a few lines. ``post`` sends what no
git would: the body of a push as bytes, with its answer read by nobody's parser but this one.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from credgate.git.pktline import FLUSH, encode
from tests.fakes import repositories
from tests.fakes.sandbox import address
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.fakes.gateway import Gateway, Lease
    from tests.fakes.repositories import Repositories
    from tests.fakes.sandbox import Ran, Sandbox

ZERO = "0" * 40
Content = bytes | tuple[str, bytes]
"""A file's bytes, or a mode and the content: for a submodule (``160000``) a commit's id."""
CAPS = b" report-status side-band-64k agent=test"
EMPTY = b"PACK\0\0\0\2\0\0\0\0" + hashlib.sha1(b"PACK\0\0\0\2\0\0\0\0").digest()
"""A pack without objects."""


@frozen
class Told:
    """The response to a push: ``refs`` has ``ok`` or a reason by name, ``text`` is the text of side-band 2."""

    status: int
    unpack: str
    refs: dict[str, str]
    text: str
    body: bytes = field(repr=False)


def commands(*moves: tuple[str, str, str], caps: bytes = CAPS) -> bytes:
    """Encode a command list of (old, new, ref), with the capabilities on the first."""
    lines = [" ".join(move).encode() for move in moves]
    return b"".join(map(encode, [lines[0] + b"\0" + caps, *lines[1:]])) + FLUSH


def post(
    gateway: Gateway, lease: Lease, path: str, body: bytes, fields: Mapping[str, str] | None = None, port: int = 0
) -> Told:
    """Send ``body`` as a push to ``path``; return its response. Raises OSError or HTTPException if it is cut."""
    kind = "application/x-git-receive-pack-request"
    head = {"Authorization": f"Bearer {lease.line}", "Content-Type": kind, **(fields or {})}
    connection = http.client.HTTPConnection("127.0.0.1", port or gateway.port, timeout=60)
    try:
        connection.request("POST", f"/git/{path}.git/git-receive-pack", body, head)
        answer = connection.getresponse()
        return read(answer.status, answer.read())
    finally:
        connection.close()


def read(status: int, body: bytes) -> Told:
    """Read a report, in side-bands or bare; any other response has no refs."""
    report, text = b"", b""
    packets = list(_packets(body)) if status == http.HTTPStatus.OK else []
    for packet in packets:
        if packet.startswith(b"\1"):
            report += packet[1:]
        elif packet.startswith(b"\2"):
            text += packet[1:]
    lines = list(_packets(report)) if report else packets
    words = [line.decode(errors="replace").rstrip("\n").split(" ", 2) for line in lines]
    refs = {word[1]: "ok" if word[0] == "ok" else word[2] for word in words if word[0] in {"ok", "ng"}}
    unpack = next((" ".join(word[1:]) for word in words if word[0] == "unpack"), "")
    return Told(status, unpack, refs, text.decode(errors="replace"), body)


def _packets(data: bytes) -> list[bytes]:
    found = []
    while len(data) >= 4:
        size = int(data[:4], 16)
        if size > 4:
            found.append(data[4:size])
        data = data[max(size, 4) :]
    return found


@define(eq=False)
class Desk:
    """The work tree ``name`` in a sandbox, whose remote is the forge's ``path``."""

    box: Sandbox
    lease: Lease
    gateway: Gateway
    repos: Repositories
    path: str
    name: str = "work"
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1))

    def __attrs_post_init__(self) -> None:
        bare = self.repos.folder(self.path)
        repositories.git("clone", "-q", "--no-local", bare, self.tree)
        self.local("remote", "set-url", "origin", address(self.path))

    @property
    def tree(self) -> Path:
        """The work tree."""
        return self.box.home / self.name

    def local(self, *words: str | Path, stdin: bytes = b"") -> str:
        """Run git in the work tree without the gateway; it must succeed."""
        return repositories.git("-C", self.tree, *words, stdin=stdin).decode()

    def behind(self, *words: str | Path, stdin: bytes = b"") -> str:
        """Run git in the forge's repository; it must succeed."""
        return repositories.git("-C", self.repos.folder(self.path), *words, stdin=stdin).decode()

    def refs(self) -> dict[str, str]:
        """Return the refs of the forge."""
        lines = self.behind("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split(" ") for line in lines)

    def has(self, oid: str) -> bool:
        """Whether an object is at the forge, reachable or not."""
        return self.behind("cat-file", "--batch-check", stdin=oid.encode()).split(" ")[-1] != "missing"

    def commit(self, *parents: str, files: Mapping[str, Content] | None = None, text: str = "", name: str = "") -> str:
        """Make a commit with the tree ``files`` and a ref in the work tree; return its id."""
        number = next(self._numbers)
        ref, message = name or f"refs/made/{number}", (text or f"commit {number}").encode()
        lines = [f"commit {ref}\ncommitter {repositories.WHO} {1700000000 + number} +0000\n".encode()]
        lines.append(b"data %d\n%b\n" % (len(message), message))
        lines += [f"{'merge' if index else 'from'} {parent}\n".encode() for index, parent in enumerate(parents)]
        lines.append(b"deleteall\n")
        for path, content in ({"file": b"%d\n" % number} if files is None else files).items():
            mode, held = content if isinstance(content, tuple) else ("100644", content)
            quoted = '"' + "".join(f"\\{byte:03o}" for byte in path.encode("utf-8", "surrogateescape")) + '"'
            inline = held.decode() if mode == "160000" else "inline"
            lines.append(f"M {mode} {inline} {quoted}\n".encode())
            if mode != "160000":
                lines.append(b"data %d\n%b\n" % (len(held), held))
        self.local("fast-import", "--quiet", "--force", stdin=b"".join(lines) + b"\ndone\n")
        return self.local("rev-parse", ref)

    def give(self, moves: Mapping[str, str]) -> None:
        """Push refs directly to the forge, without the gateway."""
        specs = [f"+{oid}:{ref}" for ref, oid in moves.items()]
        self.local("push", "-q", self.repos.folder(self.path), *specs)

    def push(self, *words: str) -> Ran:
        """Push with the sandbox's git through the gateway."""
        return self.box.git("push", *words, cwd=self.name)

    def pack(self, *revisions: str, options: Sequence[str] = ()) -> bytes:
        """Return the pack of these revisions (``^x`` leaves out), as ``pack-objects`` makes it."""
        words = ["git", "-C", str(self.tree), "pack-objects", "--revs", "--stdout", "-q", *options]
        return repositories.output(words, "\n".join(revisions).encode())

    def post(self, body: bytes, fields: Mapping[str, str] | None = None) -> Told:
        """Push raw bytes in this session."""
        return post(self.gateway, self.lease, self.path, body, fields)

    def move(self, old: str, new: str, ref: str) -> Told:
        """Push one command for objects that the forge has already, without the client's own checks."""
        return self.post(commands((old, new, ref)) + (b"" if new == ZERO else EMPTY))

    def audited(self, ref: str, **expected: object) -> dict[str, dict[str, str]]:
        """Wait for the newest audit line of a push here that names ``ref``; return its result for each ref."""
        expected |= {"operation": "git-receive-pack", "repo": self.path}

        def lines() -> list[dict[str, dict[str, str]]]:
            found = [line for line in self.gateway.audit() if expected.items() <= line.items()]
            said = [{change["ref"]: change for change in line.get("refs", [])} for line in found]
            return [changes for changes in said if ref in changes]

        return wait_until(lines, f"an audit line about {ref} with {expected}")[-1]
