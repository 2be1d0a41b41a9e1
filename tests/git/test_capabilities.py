"""The capability line of a push: what is accepted has the same meaning for git.

The judge is ``git receive-pack`` itself. Its hooks and its report show which capabilities it took as given: the reader
behind them is ``parse_feature_value``.
"""

from __future__ import annotations

import random
import re
import subprocess
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

from credgate.errors import RequestError
from credgate.git.pktline import FLUSH, encode
from credgate.git.push_list import FLAGS, FORWARDED, VALUED, PushReader, parse_capabilities

if TYPE_CHECKING:
    from pathlib import Path

ZERO = b"0" * 40
EMPTY_PACK = b"PACK\x00\x00\x00\x02\x00\x00\x00\x00"
EMPTY_PACK += sha1(EMPTY_PACK).digest()


@pytest.mark.parametrize("word", sorted(FLAGS))
def test_flag_with_a_value_is_refused(word: bytes) -> None:
    """Git takes it for the flag; without a value it is accepted."""
    assert parse_capabilities(b" quiet2 " + word) == (b"quiet2", word)
    for value in (b"=1", b"=", b"=x=y"):
        with pytest.raises(ValueError, match="a value for a capability that takes none"):
            parse_capabilities(b" quiet2 " + word + value)


@pytest.mark.parametrize("word", sorted(VALUED))
def test_key_without_a_value_is_refused(word: bytes) -> None:
    """A value is any printable text without a space."""
    assert parse_capabilities(word + b"=a=b/~1") == (word + b"=a=b/~1",)
    for value in (b"", b"="):
        with pytest.raises(ValueError, match="without a value"):
            parse_capabilities(word + value)


@pytest.mark.parametrize("text", [b"a  b", b"\tatomic", b"atomic\r", b"a\x0bb", b"caf\xc3\xa9", b"   ", b"a \x00"])
def test_words_are_separated_by_one_space(text: bytes) -> None:
    """Readers differ on other separators."""
    with pytest.raises(ValueError, match="malformed capabilities"):
        parse_capabilities(text)
    assert parse_capabilities(b" a b ") == (b"a", b"b")


def test_duplicate_capability_is_refused() -> None:
    """One reader uses the first value, another the last."""
    for text in (b"atomic atomic", b"agent=x agent=y", b"object-format=sha1 object-format=sha256"):
        with pytest.raises(ValueError, match="the same capability twice"):
            parse_capabilities(text)


def test_forwarded_names_are_those_that_are_read() -> None:
    """Except ``session-id``."""
    assert FORWARDED | {b"session-id"} == FLAGS | VALUED


# Against git.


@frozen
class Taken:
    """Which capabilities a reader took as given."""

    options: bool
    report: bool
    sideband: bool
    atomic: bool


@frozen
class Judge:
    """A bare repository: its ``update`` hook refuses ``refs/heads/b`` alone, ``pre-receive`` counts the options."""

    place: Path
    commit: bytes

    def take(self, line: bytes, *, options: bool) -> Taken | None:
        """Return what git took as given; ``None``: it ended without a verdict on the push.

        ``options``: whether a list with one option follows.
        """
        seen, made = self.place / "seen", self.place / "refs" / "heads" / "a"
        for file in (seen, made):
            file.unlink(missing_ok=True)
        first, second = (b"%s %s refs/heads/%s" % (ZERO, self.commit, ref) for ref in (b"a", b"b"))
        body = encode(first + b"\0" + line) + encode(second) + FLUSH
        body += (encode(b"x=y") + FLUSH if options else b"") + EMPTY_PACK
        done = subprocess.run(
            ["git", "receive-pack", "--stateless-rpc", str(self.place)], input=body, capture_output=True, check=False
        )
        if not seen.exists():
            return None
        banded = re.match(rb"[0-9a-f]{4}[\x01\x02]", done.stdout) is not None
        report = b"unpack ok" in done.stdout
        return Taken(seen.read_bytes() == b"1\n", report, banded, not made.exists())


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Make it, with one commit."""
    place = tmp_path_factory.mktemp("judge")

    def git(*words: str) -> bytes:
        return subprocess.run(["git", *words], cwd=place, check=True, capture_output=True, input=b"").stdout.strip()

    git("init", "-q", "--bare", ".")
    git("config", "receive.advertisePushOptions", "true")
    tree = git("hash-object", "-w", "-t", "tree", "--stdin").decode()
    commit = git("-c", "user.name=x", "-c", "user.email=x@example", "commit-tree", "-m", "x", tree)
    hooks = {"pre-receive": f"echo $GIT_PUSH_OPTION_COUNT >{place}/seen", "update": "test $1 != refs/heads/b"}
    (place / "hooks").mkdir(exist_ok=True)
    for hook, text in hooks.items():
        file = place / "hooks" / hook
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    return Judge(place, commit)


def ours(line: bytes) -> Taken | None:
    """Return what credgate's reader takes as given; ``None``: it is refused."""
    reader = PushReader()
    try:
        reader.receive(encode(b"%s %s refs/heads/a\0%s" % (ZERO, ZERO.replace(b"0", b"1"), line)) + FLUSH)
    except RequestError:
        return None
    return Taken(reader.options, reader.report, reader.sideband, b"atomic" in reader.capabilities)


WORDS = (b"push-options", b"report-status", b"report-status-v2", b"side-band-64k", b"atomic")


def drawn(count: int) -> list[bytes]:
    """Draw capability lines similar to those of clients, the same in every run."""
    draw = random.Random(10)
    odd = [word + tail for word in WORDS for tail in (b"=1", b"=", b"x", b"-v2", b",", b"=1=2")]
    odd += [head + word for word in WORDS for head in (b"x", b"=", b"no-", b"agent=", b"agent=x=", b"session-id=")]
    odd += [b"agent", b"agent=", b"object-format=sha1", b"object-format", b"agent=git/2", b"push-cert=x", b"quiet"]
    lines = []
    for _ in range(count):
        words = draw.sample(WORDS, draw.randint(0, 4)) + draw.sample(odd, draw.choice((0, 0, 1, 1, 2)))
        draw.shuffle(words)
        space = draw.choice([b" "] * 12 + [b"  ", b"\t"])
        lines.append(draw.choice((b"", b" ")) + space.join(words) + draw.choice((b"", b"", b" ", b"\n")))
    return lines


def test_git_agrees_on_every_accepted_line(judge: Judge) -> None:
    """Of 300 lines, each that is accepted means the same to git; the others are refused here."""
    accepted = refused = 0
    for line in drawn(300):
        taken = ours(line)
        if taken is None:
            refused += 1
        else:
            accepted += 1
            assert judge.take(line, options=taken.options) == taken, line
    assert accepted > 100
    assert refused > 50


@pytest.mark.parametrize("word", WORDS)
def test_git_reads_a_flag_with_a_value_as_the_flag(judge: Judge, word: bytes) -> None:
    """The reason why it is malformed here."""
    options = word == b"push-options"
    plain = judge.take(b" quiet agent=x " + word, options=options)
    assert plain is not None
    assert judge.take(b" quiet agent=x %s=1" % word, options=options) == plain
    assert ours(b" quiet agent=x %s" % word) == plain
    assert ours(b" quiet agent=x %s=1" % word) is None
