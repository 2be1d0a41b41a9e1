r"""The command list of a push, read as it passes, strictly.

    request    = *(shallow / command) flush [options flush] [pack]     ; or a lone flush: git's probe
    shallow    = pkt("shallow" SP oid [LF])
    command    = pkt(old SP new SP ref [NUL capabilities] [LF])         ; capabilities on the first command only

Follows git's ``gitprotocol-pack`` and git-over-http section 3.1. Whatever git reads in two ways or only by leniency is
refused: special packets but ``0000``, upper-case or mixed object ids, capabilities on a later line or with a value that
they do not take (``capabilities``), signed pushes (their commands hide in the certificate). Reads up to the end of the
list and not a byte further; options and pack are left to the caller. Two kinds of refusal: broken bytes raise at once
and nothing can be said to git in its own form; a well-formed list that names an impossible ref raises at its end, when
``done`` is true and every ref is known, so that git can be told ``ng`` for each.
"""

from __future__ import annotations

import re

from attrs import frozen

from credgate.errors import RequestError
from credgate.git import capabilities
from credgate.git.pktline import Packet, PacketError, PacketReader, Special
from credgate.rules import refname
from credgate.values import Reason

_SHALLOW = re.compile(rb"shallow ([0-9a-f]{64}|[0-9a-f]{40})\n?")
_COMMAND = re.compile(
    rb"(?P<old>[0-9a-f]{64}|[0-9a-f]{40}) (?P<new>[0-9a-f]{64}|[0-9a-f]{40}) "
    rb"(?P<ref>[^\x00-\x20\x7f]+)(?P<caps>\x00[^\x00\n]*)?\n?"
)
MAX_REFS = 2000
"""Refs that are read unless the caller says otherwise."""
MAX_NAMES = 512 * 1024
"""Bytes of names that are kept of a push that is refused."""
MAX_SHALLOWS = 20_000
"""Shallow lines: one for each commit where the client's history was cut off."""
_FORMATS = {40: b"sha1", 64: b"sha256"}


@frozen(slots=True)
class Command:
    """One ref to move. Object ids are lower-case hexadecimal; all zeros stands for "no such ref"."""

    old: bytes
    new: bytes
    ref: bytes

    @property
    def creates(self) -> bool:
        """Whether the client believes that the ref does not exist yet."""
        return not self.old.strip(b"0")

    @property
    def deletes(self) -> bool:
        """Whether the ref is to go."""
        return not self.new.strip(b"0")


class PushReader:
    """Reads the command list from the start of a push's (decoded) body.

    A list of more than ``max_commands`` is not read to its end: then ``excess`` is true, and ``refs`` are those before.
    """

    def __init__(
        self, max_commands: int = MAX_REFS, max_bytes: int = 8 * 1024 * 1024, *, names_only: bool = False
    ) -> None:
        """``names_only``: the push is refused already; only what the report needs is kept."""
        self.commands: list[Command] = []
        """Empty with ``names_only``."""
        self.shallows: list[bytes] = []
        self.capabilities: tuple[bytes, ...] = ()
        self.done = False
        """The flush that ends the list was read."""
        self.excess = False
        """There are more refs than are read."""
        self._names_only, self._names, self._name_bytes = names_only, list[bytes](), 0
        self._packets = PacketReader()
        self._max_bytes, self._max_commands, self._bytes = max_bytes, max_commands, 0
        self._refs: set[bytes] = set()
        self._oid_length = self._shallow_lines = 0
        self._fault = ""

    @property
    def probe(self) -> bool:
        """The body was ``0000`` so far: git's test of its credential before a large push."""
        return self.done and not (self.commands or self._names)

    @property
    def report(self) -> bool:
        """The client asked to be told what became of each ref."""
        return b"report-status" in self.capabilities or b"report-status-v2" in self.capabilities

    @property
    def sideband(self) -> bool:
        """The client asked for the report inside side-bands."""
        return b"side-band-64k" in self.capabilities

    @property
    def options(self) -> bool:
        """A list of push options follows the command list."""
        return b"push-options" in self.capabilities

    @property
    def pack(self) -> bool:
        """A pack follows: git sends one unless every command deletes."""
        return not all(command.deletes for command in self.commands)

    @property
    def refs(self) -> list[bytes]:
        """The refs of the list, in order."""
        return self._names if self._names_only else [command.ref for command in self.commands]

    def receive(self, data: bytes) -> int:
        """Take the next bytes of the body; return how many of them belong to the list (all, until :attr:`done`).

        With ``excess`` all of ``data`` is taken. Raises :class:`RequestError` (``MALFORMED_PUSH``). If :attr:`done` is
        true then, the list itself is sound and git should be told so ref by ref; if not, the body is no push at all.
        """
        offset = 0
        while not (self.done or self.excess) and offset < len(data):
            try:
                packet, offset = self._packets.next(data, offset)
            except PacketError as error:
                raise _malformed(str(error)) from None
            if packet is not None:
                self._packet(packet)
        if self.excess:
            return len(data)
        self._bytes += offset
        if self._bytes > self._max_bytes:
            raise _malformed("the list of refs is too long", status=413)
        if self.done and self._fault:
            raise _malformed(self._fault)
        return offset

    def end(self) -> None:
        """Note the end of the body. Raises :class:`RequestError` when the list had not."""
        if not (self.done or self.excess):
            raise _malformed("the body ended inside the list of refs")

    def _packet(self, packet: Packet) -> None:
        if isinstance(packet, Special):
            self._list_end(packet)
        elif packet.startswith(b"shallow "):
            self._shallow(packet)
        else:
            self._command(packet)

    def _list_end(self, packet: Special) -> None:
        """Only a flush ends the list: git also stops at 0001 and 0002, other servers do not."""
        if packet is not Special.FLUSH:
            raise _malformed("a special packet inside the list of refs")
        if self._oid_length and not (self.commands or self._names):
            raise _malformed("shallow lines without a ref to push")
        self._check_format()
        self.done = True

    def _shallow(self, packet: bytes) -> None:
        match = _SHALLOW.fullmatch(packet)
        if match is None:
            raise _malformed("a shallow line that is none")
        self._same_length(match[1])
        self._shallow_lines += 1
        if self._shallow_lines > MAX_SHALLOWS:
            raise _malformed(f"more than {MAX_SHALLOWS} shallow lines", status=413)
        if not self._names_only:
            self.shallows.append(match[1])

    def _command(self, packet: bytes) -> None:
        match = _COMMAND.fullmatch(packet)
        if match is None:
            raise _malformed(_why(packet))
        if len(self.commands) + len(self._names) >= self._max_commands or self._name_bytes > MAX_NAMES:
            self.excess = True
            return
        if match["caps"] is not None:
            self._capabilities(match["caps"][1:])
        self._same_length(match["old"], match["new"])
        if self._names_only:
            self._names.append(match["ref"])
            self._name_bytes += len(match["ref"])
            return
        command = Command(match["old"], match["new"], match["ref"])
        self._judge(command)
        self._refs.add(command.ref)
        self.commands.append(command)

    def _judge(self, command: Command) -> None:
        """Remember the first thing that makes the list impossible; said when all refs are known."""
        fault = refname.fault(command.ref) or ""
        if command.ref in self._refs:
            fault = "the same ref twice in one push"
        elif command.creates and command.deletes:
            fault = "a ref that is neither there nor to be made"
        self._fault = self._fault or fault

    def _capabilities(self, text: bytes) -> None:
        """Only the first command carries them. git takes them from any line; then two readers may disagree."""
        if self.commands or self._names:
            raise _malformed("capabilities on a line after the first")
        try:
            self.capabilities = capabilities.parse(text)
        except ValueError as error:
            raise _malformed(str(error)) from None

    def _same_length(self, *oids: bytes) -> None:
        """All object ids of one push are of one hash."""
        for oid in oids:
            self._oid_length = self._oid_length or len(oid)
            if len(oid) != self._oid_length:
                raise _malformed("object ids of two lengths")

    def _check_format(self) -> None:
        """``object-format`` says what the ids show; without one it is SHA-1 (gitprotocol-capabilities)."""
        said = next((word[14:] for word in self.capabilities if word.startswith(b"object-format=")), b"sha1")
        if self._oid_length and said != _FORMATS[self._oid_length]:
            raise _malformed("object ids do not fit the object format")


def _why(packet: bytes) -> str:
    """Choose the most helpful text for a packet that is no command."""
    if packet.startswith(b"push-cert"):
        return "signed pushes are not served: push without --signed"
    return "a line that is no ref command"


def _malformed(text: str, status: int = 400) -> RequestError:
    return RequestError(f"push refused: {text}", reason=Reason.MALFORMED_PUSH, status=status)
