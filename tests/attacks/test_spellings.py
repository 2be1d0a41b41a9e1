"""Thousands of spellings of one repository through the live gateway: only the canonical one reaches the forge.

The oracle is one expression over the raw target, written without looking at credgate's: what it does not match must
not reach the forge at all, what it matches must arrive as exactly one target. The spellings are made by a fixed seed
from what surveys of path checks found to pass (`threats.md`'s rows 29-35): every run attacks with the same ones.
"""

from __future__ import annotations

import itertools
import random
import re
from typing import TYPE_CHECKING

from tests.attacks.rawclient import RawClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.attacks.conftest import Field

PIECES = [
    "..", ".", "%2e%2e", "%2e", "%2E%2E", "%252e%252e", "..%2f", "%2f", "%2F", "%5c", "%00", "%0a", "%0d%0a", "%20",
    "%u002e", "%c0%ae%c0%ae", "%c0%af", "%ef%bc%8f", "..;", ";x=y", ";.git", ".git", ".GIT", ".Git", ".git.git",
    ".git/", ".wiki", ".wiki.git", "-secret", "secret", "_", "~", "+", "//", "/./", "/../", "\\", "\\..\\", ":", "@",
    "*", "%", "&", "=", "?", "#", "??", "?x", "&x=y", "\t", " ", "\x00", "\x7f", "\x80", "\xe9", "\uff0f", "\u2025",
    "\u2024", "\uff0e", "\u0130", "\u017f", "\u212a",
]  # fmt: skip
BASE = ["git", "octo", "hello", ".git", "info", "refs", "?service=git-upload-pack"]
ENDS = [
    "info/refs", "info/refs?", "info/refs?service=", "info/refs?service=git-receive-packs",
    "info/refs?service=git-Upload-pack", "info/refs?service=git-upload-archive", "info/refs?service=upload-pack",
    "info/refs?Service=git-upload-pack", "info/refs?service=git-upload-pack&service=git-receive-pack",
    "info/refs?x=y&service=git-upload-pack", "info/refs?service=git-upload-pack&x=y",
    "info/refs?service=git-upload-pack;x", "info/refs?service=git%2dupload-pack",
    "info/refs?service=git-upload-pack#x", "info/refs/?service=git-upload-pack", "INFO/refs?service=git-upload-pack",
    "info/refs?service==git-upload-pack", "info/refs?&service=git-upload-pack", "info/refs?service=git-upload-pack&",
    "info/refs?service=git-upload-pack?", "info/refs?service=git-upload-pack%00",
    "info//refs?service=git-upload-pack", "HEAD", "objects/info/packs", "objects/info/http-alternates",
    "objects/00/" + "0" * 38, "config", "git-upload-pack", "git-receive-pack", "git-upload-archive",
    "archive/main.zip", "raw/main/README", "settings", "info/lfs/objects/batch", "", ".", "..", "info",
    "hooks/update", "refs/heads/main",
]  # fmt: skip
FORGES = [
    "git", "Git", "GIT", "git/git", "forge/github.com", "forge/GitHub.com", "forge/github.com.", "forge", "forge/",
    "forge/nowhere", "forge/..", "forge/.", "forge/github.com/..", "forge/github.com:443", "forge/x@github.com",
    "api/v3/repos", "", ".git",
]  # fmt: skip
OWNERS = [
    "octo", "OCTO", "Octo", "oct", "octoo", "octo-", "-octo", "octo.", "secret", "octo/octo", "hello", "octo/..",
    "o%63to", "\u043e\u0441\u0442\u043e",
]  # fmt: skip
NAMES = [
    "hello", "HELLO", "Hello", "hell", "helloo", "hello-secret", "hello.wiki", "hello.git", "hello.git.git",
    "hello.GIT", "hello.Git", "hello.", "hello..", ".hello", "..hello", "hello/x", "secret", "secret.git", "h%65llo",
    "hello%2egit", "h\u0435llo", "hello~", "hello+", "hello_", "hello-", "hello.gi", "hello.git-", "hello.git.",
    "hello.git/..", "hello.git/.", "hello/../secret",
]  # fmt: skip
CANONICAL = re.compile(rb"/(?:git|forge/github\.com)/(?i:octo)/(?i:hello)(?:\.git)?/info/refs\?service=git-upload-pack")


def _put(place: int, piece: str) -> str:
    parts = list(BASE)
    parts[place:place] = [piece]
    return _join(parts)


def _join(parts: list[str]) -> str:
    text = "/".join(parts)
    return "/" + text.replace("/.git/", ".git/").replace("/?", "?")


def _systematic() -> Iterator[str]:
    """One thing changed at a time."""
    yield from (f"/git/octo/hello.git/{end}" for end in ENDS)
    yield from (f"/{forge}/octo/hello.git/info/refs?service=git-upload-pack" for forge in FORGES)
    for owner, name in itertools.product(OWNERS, NAMES):
        yield f"/git/{owner}/{name}/info/refs?service=git-upload-pack"
    for place, piece in itertools.product(range(len(BASE) + 1), PIECES):
        yield _put(place, piece)
    good = "/git/octo/hello.git/info/refs?service=git-upload-pack"
    for place, piece in itertools.product(range(len(good) + 1), ("%", "/", ".", ";", "\\", "A", "%2f", "\x80")):
        yield good[:place] + piece + good[place:]
    yield from (good[:place] + good[place + 1 :] for place in range(len(good)))


def _drawn(count: int) -> Iterator[str]:
    """Several things changed at once."""
    chance = random.Random(20).choice
    for _ in range(count):
        owner = chance(OWNERS) + chance(["", "", chance(PIECES)])
        name = chance(NAMES) + chance(["", "", chance(PIECES)])
        yield f"/{chance(FORGES)}/{owner}/{name}/{chance(['', chance(PIECES) + '/'])}{chance(ENDS)}"


SPELLINGS = sorted({spelling.encode() for spelling in (*_systematic(), *_drawn(600))})


class _Kept:
    """Sends one request after the other on a connection that is renewed only when the gateway ended it."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._client: RawClient | None = None
        self.connections = 0

    def ask(self, target: bytes) -> int:
        if self._client is None:
            self._client = RawClient(self._field.gateway.port)
            self.connections += 1
        line = b"GET " + target + b" HTTP/1.1\r\nHost: gateway\r\n" + self._field.authorization + b"\r\n\r\n"
        self._client.send(line)
        heard = self._client.hear(answers=1)
        answer = heard.answers[0]
        assert answer.whole
        if answer.get(b"connection") == b"close" or heard.end != "open":
            self.close()
        return answer.status

    def close(self) -> None:
        if self._client is not None:
            self._client.socket.close()
            self._client = None


def test_there_are_thousands_of_spellings() -> None:
    """The figure of the survey that this repeats was 2,588, of which a check by prefix let 2,139 through."""
    assert len(SPELLINGS) > 2000
    assert 10 <= sum(bool(CANONICAL.fullmatch(spelling)) for spelling in SPELLINGS) < 60


def test_only_the_canonical_spellings_reach_the_forge(arena: Field) -> None:
    """A session reaches exactly its repositories, in any spelling."""
    kept = _Kept(arena)
    passed, wrong = [], {}
    for spelling in SPELLINGS:
        arena.forge.clear()
        status = kept.ask(spelling)
        seen = [asked.target for asked in arena.forge.asked]
        if CANONICAL.fullmatch(spelling):
            passed.append(spelling)
            expected = (200, [b"/octo/hello.git/info/refs?service=git-upload-pack"])
        else:
            expected = (status if 400 <= status < 500 or status in {501, 505} else 404, [])
        if (status, seen) != expected:
            wrong[spelling] = status, seen
    kept.close()
    arena.control()
    assert wrong == {}
    assert len(passed) == sum(bool(CANONICAL.fullmatch(spelling)) for spelling in SPELLINGS)
    assert kept.connections < len(SPELLINGS), "a refusal that is about the name alone keeps the connection"
