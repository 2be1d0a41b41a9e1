"""The body of a push as it passes: the command list and options are read and judged, the pack is forwarded or not.

Takes the body as it came (perhaps gzipped) and yields the bytes of the pack. The lists before the pack are never
forwarded but encoded again (``head``) from what was read: the forge reads what was judged, however another reader would
have understood the client's bytes. Decides by ``push_verdict`` alone. Holds the list and one piece, never the pack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate.errors import RequestError
from credgate.git import push_rules as rule
from credgate.git.fetch import FetchReader
from credgate.git.gzip_body import Gunzip, is_gzip
from credgate.git.pktline import FLUSH
from credgate.git.push_list import MAX_REFS, OptionsReader, PushReader, encode_commands, encode_options
from credgate.git.push_verdict import PushVerdict, judging, refuse_all
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from credgate.git.push_rules import PushRules
    from credgate.values import Decision

# The first four bytes of every pack (gitformat-pack).
SIGNATURE = b"PACK"


@frozen(slots=True)
class RefusedPush:
    """What the report on a refused push needs; the rest is dropped."""

    refs: Sequence[bytes]
    """The refs that were read, in order."""
    report: bool
    """The client asked for a report on each ref."""
    sideband: bool
    """The client asked for the report inside side-bands."""
    probe: bool
    """The body was a single flush."""


class PushStream:
    """One push. ``coding`` is its Content-Encoding. Without ``rules`` it is refused, and only its refs are read."""

    def __init__(self, coding: bytes | None, rules: PushRules | None = None, max_refs: int = MAX_REFS) -> None:
        """``max_refs``: the limit of names without ``rules``, which have their own."""
        self.rules = rules
        self.commands = PushReader(max_refs, names_only=True) if rules is None else PushReader(rules.max_refs)
        self.options = OptionsReader()
        self.verdict: PushVerdict | None = None
        """Set once the list and the options are read."""
        self._gunzip = Gunzip() if is_gzip(coding) else None
        self._size = 0
        self._start = b""  # the first bytes of the pack, until its signature is complete
        self._signed = False

    @property
    def signed(self) -> bool:
        """Whether the signature of the pack was read."""
        return self._signed

    @property
    def listed(self) -> bool:
        """Whether all that comes before the pack was read."""
        return self.commands.excess or (self.commands.done and (not self.commands.options or self.options.done))

    @property
    def refused_push(self) -> RefusedPush | None:
        """What the report needs if the push is refused; None as long as its list was not read."""
        commands = self.commands
        if not (commands.done or commands.excess):
            return None
        return RefusedPush(tuple(commands.refs), commands.report, commands.sideband, commands.probe)

    def forget(self) -> None:
        """Drop the list of a refused push; ``refused_push`` has what its report needs."""
        self.commands, self.verdict = PushReader(), None

    @property
    def coded(self) -> bool:
        """Whether the body is decoded here: a small piece of it may decode to a large one."""
        return self._gunzip is not None

    @property
    def head(self) -> bytes:
        """The lists that the forge is sent before the pack."""
        assert self.verdict is not None
        if self.commands.probe:
            return FLUSH
        written = encode_commands(self.verdict.forwarded, self.commands.capabilities, self.commands.shallows)
        return written + (encode_options(self.options.options) if self.commands.options else b"")

    @property
    def refused(self) -> bool:
        """Whether nothing of the push may be forwarded."""
        return self.verdict is not None and not self.verdict.forwarded and not self.commands.probe

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Read ``data`` and yield the bytes of the pack in it, each piece when it is asked for.

        Each item is a step of a few milliseconds; it is empty if a part of the list was read or judged. The iterator
        must be exhausted before the next call, except for a refused push. Raises RequestError; if the push is
        ``listed`` then, the refusal can be reported for each ref.
        """
        for piece in (data,) if self._gunzip is None else self._gunzip.receive(data):
            # After the verdict every byte belongs to the pack.
            rest = piece if self.verdict is not None else (yield from self._list(piece))
            if rest:
                self._count(rest)
                rest = self._begin(rest)
            if rest and self.verdict is not None and self.verdict.pack:
                yield rest
            elif self.verdict is not None or self._gunzip is not None:
                yield b""  # the caller acts on the verdict, or serves others, before the next piece is decoded

    def end(self) -> None:
        """Note the end of the body. Raises RequestError if list, options or coding are cut, or the pack is missing."""
        if self._gunzip is not None:
            self._gunzip.end()
        self.commands.end()
        if self.commands.options:
            self.options.end()
        # Unless all commands delete, git sends a pack, even if it has no objects.
        if self.verdict is not None and not self.refused and self.commands.pack and not self._signed:
            raise _malformed("the body ended before the pack")

    def _list(self, piece: bytes) -> Generator[bytes, None, bytes]:
        """Read the list and the options, and judge them; return the bytes of ``piece`` that follow."""
        if self.commands.excess:  # without rules: the rest is read and dropped
            return b""
        at = 0 if self.commands.done else self.commands.receive(piece)
        if self.commands.excess and self.rules is not None:
            self.verdict = refuse_all(self.commands.commands, rule.too_many_refs(self.rules))
            return b""
        # git sends a list of options, even an empty one, whenever the capability was chosen.
        if self.commands.done and self.commands.options:
            at = self.options.receive(piece, at)
        if not self.listed:
            return b""
        if self.rules is not None:
            yield from self._judge(self.rules)
        return piece[at:]

    def _judge(self, rules: PushRules) -> Iterator[bytes]:
        allowed = rule.judge_options(rules, self.options.options)
        if not allowed.allow:
            self.verdict = refuse_all(self.commands.commands, allowed)
            return
        steps = judging(self.commands.commands, rules, atomic=b"atomic" in self.commands.capabilities)
        while self.verdict is None:
            try:
                next(steps)
            except StopIteration as end:
                self.verdict = end.value
            else:
                yield b""

    def _begin(self, rest: bytes) -> bytes:
        """Hold the first bytes back until they are the signature; then return all that came."""
        # The forge must not read anything before the pack that was not judged here. So the data after the list must be
        # a pack, also if no rule needs the pack to be inspected.
        if self._signed or self.verdict is None or self.refused:
            return rest
        if not self.commands.pack:
            raise _malformed("data after a list that only deletes refs")
        start = self._start + rest
        if not start.startswith(SIGNATURE[: len(start)]):
            raise _malformed("the pack does not begin with PACK")
        self._signed = len(start) >= len(SIGNATURE)
        self._start = b"" if self._signed else start
        return start if self._signed else b""

    def _count(self, rest: bytes) -> None:
        if self.commands.probe:
            raise _malformed("data after a probe")
        self._size += len(rest)
        # Counted decoded: a small gzip body may hold a large pack.
        limit = self.rules.max_push_bytes if self.rules is not None else None
        if limit is not None and self._size > limit and self.rules is not None:
            self.verdict = refuse_all(self.commands.commands, rule.too_large(self.rules))


def _malformed(text: str) -> RequestError:
    return RequestError(f"push refused: {text}", reason=Reason.MALFORMED_PUSH)


class FetchStream:
    """The body of a fetch as it passes. ``coding`` is its Content-Encoding, ``v2`` whether it speaks version 2."""

    def __init__(self, coding: bytes | None, *, v2: bool) -> None:
        self._gunzip = Gunzip() if is_gzip(coding) else None
        self._reader = FetchReader(v2=v2)

    @property
    def coded(self) -> bool:
        """Whether the body is decoded here: a small piece of it may decode to a large one."""
        return self._gunzip is not None

    def receive(self, data: bytes) -> Iterator[Decision | None]:
        """Read ``data``, a piece at a time; yield the refusal of the request or None. Raises RequestError.

        The iterator must be exhausted before the next call, except after a refusal.
        """
        for piece in (data,) if self._gunzip is None else self._gunzip.receive(data):
            yield self._reader.receive(piece)

    def end(self) -> None:
        """Note the end of the body. Raises RequestError if it is cut."""
        if self._gunzip is not None:
            self._gunzip.end()
        self._reader.end()
