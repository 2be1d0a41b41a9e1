"""A push as it passes: its command list and options are read and judged, its pack is let through or not.

Takes the body as it came (perhaps gzipped) and yields the bytes of the pack; the list before it is never passed on but
written again (``head``) from what was read, so that what was judged is what is sent, whatever another reader would have
made of the bytes. Decides by ``git.push_verdict`` alone; holds the list and one piece, never the pack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from credgate.errors import RequestError
from credgate.git import push_rules as rule
from credgate.git.commandlist import encode_commands
from credgate.git.fetch import FetchReader
from credgate.git.gzip_body import Gunzip, is_gzip
from credgate.git.options import OptionsReader, encode_options
from credgate.git.pktline import FLUSH
from credgate.git.push_list import MAX_REFS, PushReader
from credgate.git.push_verdict import PushVerdict, judging, refuse_all
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from credgate.git.push_rules import PushRules
    from credgate.values import Decision

SIGNATURE = b"PACK"
"""The first four bytes of every pack (gitformat-pack)."""


@frozen(slots=True)
class RefusedPush:
    """What is kept of a push that is refused: what its report needs."""

    refs: Sequence[bytes]
    """Those that were read, in order."""
    report: bool
    """The client asked for a report on each ref."""
    sideband: bool
    """The client asked for the report inside side-bands."""
    probe: bool
    """It was a lone flush."""


class PushStream:
    """One push. ``coding`` is its Content-Encoding; without ``rules`` it is refused and only read for its refs."""

    def __init__(self, coding: bytes | None, rules: PushRules | None = None, max_refs: int = MAX_REFS) -> None:
        """``max_refs``: names that are kept without ``rules``, which have a limit of their own."""
        self.rules = rules
        self.commands = PushReader(max_refs, names_only=True) if rules is None else PushReader(rules.max_refs)
        self.options = OptionsReader()
        self.verdict: PushVerdict | None = None
        """Set once the list and the options are read."""
        self._gunzip = Gunzip() if is_gzip(coding) else None
        self._size = 0
        self._start = b""  # the first bytes of the pack, fewer than its signature
        self._signed = False

    @property
    def signed(self) -> bool:
        """Whether the pack has begun, with its signature."""
        return self._signed

    @property
    def listed(self) -> bool:
        """Whether all that comes before the pack was read."""
        return self.commands.excess or (self.commands.done and (not self.commands.options or self.options.done))

    @property
    def refused_push(self) -> RefusedPush | None:
        """What is kept when it is refused; None as long as its list was not read."""
        commands = self.commands
        if not (commands.done or commands.excess):
            return None
        return RefusedPush(tuple(commands.refs), commands.report, commands.sideband, commands.probe)

    def forget(self) -> None:
        """Keep nothing of the list: the push is refused, and ``refused_push`` has what its report needs."""
        self.commands, self.verdict = PushReader(), None

    @property
    def coded(self) -> bool:
        """Whether the body is decoded here: a piece of it may hold much more than it shows."""
        return self._gunzip is not None

    @property
    def head(self) -> bytes:
        """What the forge is sent before the pack."""
        assert self.verdict is not None
        if self.commands.probe:
            return FLUSH
        written = encode_commands(self.verdict.forwarded, self.commands.capabilities, self.commands.shallows)
        return written + (encode_options(self.options.options) if self.commands.options else b"")

    @property
    def refused(self) -> bool:
        """Whether nothing of it may go on."""
        return self.verdict is not None and not self.verdict.forwarded and not self.commands.probe

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Read ``data`` and yield the bytes of the pack in it, each piece when it is asked for.

        Each item is a step of a few milliseconds. It is empty where a part of the list was read or judged.
        To be exhausted before the next call, but for a refused push. Raises RequestError; if the list is ``listed`` by
        then, git can be told for each ref.
        """
        for piece in (data,) if self._gunzip is None else self._gunzip.receive(data):
            rest = piece if self.verdict is not None else (yield from self._list(piece))
            if rest:
                self._count(rest)
                rest = self._begin(rest)
            if rest and self.verdict is not None and self.verdict.pack:
                yield rest
            elif self.verdict is not None or self._gunzip is not None:
                yield b""  # the caller acts on the verdict, or serves others, before the next piece is made

    def end(self) -> None:
        """Note the end of the body. Raises RequestError if list, options or coding are cut, or no pack came."""
        if self._gunzip is not None:
            self._gunzip.end()
        self.commands.end()
        if self.commands.options:
            self.options.end()
        # git always sends a pack then, if need be one without objects
        if self.verdict is not None and not self.refused and self.commands.pack and not self._signed:
            raise _malformed("the body ended before the pack")

    def _list(self, piece: bytes) -> Generator[bytes, None, bytes]:
        """Read the list and the options, and judge them; return the bytes of ``piece`` that follow."""
        if self.commands.excess:  # there are no rules, so the rest is only read away
            return b""
        at = 0 if self.commands.done else self.commands.receive(piece)
        if self.commands.excess and self.rules is not None:
            self.verdict = refuse_all(self.commands.commands, rule.excess(self.rules))
            return b""
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
        """Hold back the first bytes until they are the signature; then return all that came.

        Whatever the forge would read before the pack must have been read here. So what follows the list, as it was read
        here, is a pack beyond doubt: on the path without an inspection, too.
        """
        if self._signed or self.verdict is None or self.refused:
            return rest
        if not self.commands.pack:
            raise _malformed("data after a list that only deletes")
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
        limit = self.rules.max_push_bytes if self.rules is not None else None
        if limit is not None and self._size > limit and self.rules is not None:
            self.verdict = refuse_all(self.commands.commands, rule.too_large(self.rules))


def _malformed(text: str) -> RequestError:
    return RequestError(f"push refused: {text}", reason=Reason.MALFORMED_PUSH)


class FetchStream:
    """A fetch as it passes: only looked at. ``coding`` is its Content-Encoding, ``v2`` whether it speaks version 2."""

    def __init__(self, coding: bytes | None, *, v2: bool) -> None:
        self._gunzip = Gunzip() if is_gzip(coding) else None
        self._reader = FetchReader(v2=v2)

    @property
    def coded(self) -> bool:
        """Whether the body is decoded here: a piece of it may hold much more than it shows."""
        return self._gunzip is not None

    def receive(self, data: bytes) -> Iterator[Decision | None]:
        """Look at ``data``, a piece at a time; yield the refusal of what it asks, if it is one. Raises RequestError.

        To be exhausted before the next call, but after a refusal.
        """
        for piece in (data,) if self._gunzip is None else self._gunzip.receive(data):
            yield self._reader.receive(piece)

    def end(self) -> None:
        """Note the end of the body. Raises RequestError if it is cut."""
        if self._gunzip is not None:
            self._gunzip.end()
        self._reader.end()
