r"""The lists before the pack of a push: commands and push options, read strictly and encoded again for the forge.

    request      = *(shallow / command) flush [options] [pack]            ; or a single flush: git's probe
    shallow      = pkt("shallow" SP oid [LF])
    command      = pkt(old SP new SP ref [NUL capabilities] [LF])         ; capabilities on the first command only
    capabilities = [SP] *(word SP) [word] ; word = flag / key "=" value
    options      = *pkt(text [LF]) flush                                  ; if the client sent push-options

Follows git's ``gitprotocol-pack`` and ``gitprotocol-capabilities``. Forms that readers could understand differently are
refused: special packets other than ``0000``, upper-case or mixed object ids, capabilities on a later line or with a
value that they do not take, signed pushes (their commands are inside the certificate). A reader stops at the end of its
list; the pack is left to the caller.

There are two kinds of refusal. Malformed bytes raise at once, and git cannot be answered in its own form. A well-formed
list that names an impossible ref raises at its end, when ``done`` is true and every ref is known: git can be sent
``ng`` for each. Whether a ref or an option is allowed is decided in ``push_rules``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from credgate.errors import RequestError
from credgate.git.pktline import FLUSH, Packet, PacketReader, Special, encode
from credgate.rules import refname
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Capabilities without a value that a client may send to ``receive-pack`` (gitprotocol-capabilities).
FLAGS = frozenset(
    {
        b"report-status",
        b"report-status-v2",
        b"delete-refs",
        b"side-band-64k",
        b"quiet",
        b"atomic",
        b"ofs-delta",
        b"push-options",
    }
)
# Capabilities with a value; no other capability of a push has one.
VALUED = frozenset({b"object-format", b"agent", b"session-id"})
# Capabilities that the forge is sent. ``session-id``, which names the client's run in traces, is not forwarded.
FORWARDED = FLAGS | {b"object-format", b"agent"}

MAX_REFS = 2000
"""Refs that are read unless the caller sets another limit."""
MAX_NAMES = 512 * 1024
"""Bytes of ref names that are kept of a push that is refused."""
# Shallow lines: one for each commit where the client's history was cut off.
MAX_SHALLOWS = 20_000
# Bytes of one capability; a longer one is not forwarded (only ``agent`` has free text).
MAX_CAPABILITY = 256
MAX_OPTIONS = 64
MAX_OPTION = 1024
"""Bytes of one push option."""

_SHALLOW = re.compile(rb"shallow ([0-9a-f]{64}|[0-9a-f]{40})\n?")
_COMMAND = re.compile(
    rb"(?P<old>[0-9a-f]{64}|[0-9a-f]{40}) (?P<new>[0-9a-f]{64}|[0-9a-f]{40}) "
    rb"(?P<ref>[^\x00-\x20\x7f]+)(?P<caps>\x00[^\x00\n]*)?\n?"
)
_CAPABILITIES = re.compile(rb" ?(?:[!-~]+(?: [!-~]+)*)? ?")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
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
        """Whether the ref is to be deleted."""
        return not self.new.strip(b"0")


class PushReader:
    """Reads the command list from the start of a push's (decoded) body.

    A list of more than ``max_commands`` is not read to its end: then ``excess`` is true and ``refs`` are those before.
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
        self._packets = PacketReader(_malformed)
        self._max_bytes, self._max_commands, self._bytes = max_bytes, max_commands, 0
        self._refs: set[bytes] = set()
        self._oid_length = self._shallow_lines = 0
        self._fault = ""

    @property
    def probe(self) -> bool:
        """Whether the body was ``0000`` so far: git's test of its credential before a large push."""
        return self.done and not (self.commands or self._names)

    @property
    def report(self) -> bool:
        """Whether the client asked for a report on each ref."""
        return b"report-status" in self.capabilities or b"report-status-v2" in self.capabilities

    @property
    def sideband(self) -> bool:
        """Whether the client asked for the report inside side-bands."""
        return b"side-band-64k" in self.capabilities

    @property
    def options(self) -> bool:
        """Whether a list of push options follows the command list."""
        return b"push-options" in self.capabilities

    @property
    def pack(self) -> bool:
        """Whether a pack follows: git sends one unless every command deletes."""
        return not all(command.deletes for command in self.commands)

    @property
    def refs(self) -> list[bytes]:
        """The refs of the list, in order."""
        return self._names if self._names_only else [command.ref for command in self.commands]

    def receive(self, data: bytes) -> int:
        """Take the next bytes of the body; return how many of them belong to the list (all, until :attr:`done`).

        With ``excess`` all of ``data`` is taken. Raises :class:`RequestError` (``MALFORMED_PUSH``). If :attr:`done` is
        true then, the list itself is sound and the refusal should be reported ref by ref.
        """
        taken = 0 if self.done else len(data)
        if not (self.done or self.excess):
            for packet, offset in self._packets.packets(data):
                self._packet(packet)
                if self.done:
                    taken = offset
                    break
                if self.excess:
                    break
        if self.excess:
            return taken
        self._bytes += taken
        if self._bytes > self._max_bytes:
            raise _malformed("the list of refs is too long", status=413)
        if self.done and self._fault:
            raise _malformed(self._fault)
        return taken

    def end(self) -> None:
        """Note the end of the body. Raises :class:`RequestError` when the list had not ended."""
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
        # git also stops at 0001 and 0002, other servers do not.
        if packet is not Special.FLUSH:
            raise _malformed("unexpected special packet in the list of refs")
        if self._oid_length and not (self.commands or self._names):
            raise _malformed("shallow lines without a ref to push")
        # Without the capability the format is SHA-1 (gitprotocol-capabilities).
        named = next((word[14:] for word in self.capabilities if word.startswith(b"object-format=")), b"sha1")
        if self._oid_length and named != _FORMATS[self._oid_length]:
            raise _malformed("object ids do not fit the object format")
        self.done = True

    def _shallow(self, packet: bytes) -> None:
        match = _SHALLOW.fullmatch(packet)
        if match is None:
            raise _malformed("malformed shallow line")
        self._check_length(match[1])
        self._shallow_lines += 1
        if self._shallow_lines > MAX_SHALLOWS:
            raise _malformed(f"more than {MAX_SHALLOWS} shallow lines", status=413)
        if not self._names_only:
            self.shallows.append(match[1])

    def _command(self, packet: bytes) -> None:
        match = _COMMAND.fullmatch(packet)
        if match is None:
            signed = packet.startswith(b"push-cert")
            raise _malformed("signed pushes are not served: push without --signed" if signed else "malformed command")
        if len(self.commands) + len(self._names) >= self._max_commands or self._name_bytes > MAX_NAMES:
            self.excess = True
            return
        if match["caps"] is not None:
            # git reads capabilities from any line, other servers only from the first.
            if self.commands or self._names:
                raise _malformed("capabilities on a line after the first")
            try:
                self.capabilities = parse_capabilities(match["caps"][1:])
            except ValueError as error:
                raise _malformed(str(error)) from None
        self._check_length(match["old"], match["new"])
        if self._names_only:
            self._names.append(match["ref"])
            self._name_bytes += len(match["ref"])
            return
        command = Command(match["old"], match["new"], match["ref"])
        # Raised at the end of the list, so that the refusal can be reported for each ref.
        self._fault = self._fault or self._fault_of(command)
        self._refs.add(command.ref)
        self.commands.append(command)

    def _fault_of(self, command: Command) -> str:
        """Return why the command is impossible, "" if it is not."""
        if command.ref in self._refs:
            return "the same ref twice in one push"
        if command.creates and command.deletes:
            return "a command whose old and new ids are both zero"
        return refname.fault(command.ref) or ""

    def _check_length(self, *oids: bytes) -> None:
        """Refuse object ids of two hash algorithms in one push."""
        for oid in oids:
            self._oid_length = self._oid_length or len(oid)
            if len(oid) != self._oid_length:
                raise _malformed("object ids of two lengths")


class OptionsReader:
    """Reads the list of push options from where the command list ended.

    An option is one to 1024 bytes of UTF-8 without control characters.
    """

    def __init__(self) -> None:
        self.options: list[bytes] = []
        self.done = False
        """The flush that ends the list was read."""
        self._packets = PacketReader(_malformed)

    def receive(self, data: bytes, offset: int = 0) -> int:
        """Read ``data`` from ``offset``; return the offset after the list (all is taken until :attr:`done`).

        Raises :class:`RequestError` (``MALFORMED_PUSH``). The refs are known then: report the refusal for each.
        """
        if self.done:
            return offset
        for packet, after in self._packets.packets(data, offset):
            self._packet(packet)
            if self.done:
                return after
        return len(data)

    def end(self) -> None:
        """Note the end of the body. Raises :class:`RequestError` when the list had not ended."""
        if not self.done:
            raise _malformed("the body ended inside the push options")

    def _packet(self, packet: Packet) -> None:
        if packet is Special.FLUSH:
            self.done = True
            return
        if isinstance(packet, Special):
            raise _malformed("unexpected special packet in the push options")
        option = packet.removesuffix(b"\n")
        # Hooks get options through the environment, and forges read them as ``key=value``.
        if not 0 < len(option) <= MAX_OPTION or _CONTROL.search(option) or not _is_utf8(option):
            raise _malformed("malformed push option")
        if len(self.options) >= MAX_OPTIONS:
            raise _malformed(f"more than {MAX_OPTIONS} push options")
        self.options.append(option)


def parse_capabilities(text: bytes) -> tuple[bytes, ...]:
    """Return the words of a capability line. Raises ``ValueError`` with the reason if it is malformed.

    Unknown words without a value are returned too; no decision depends on them and they are not forwarded.
    """
    if _CAPABILITIES.fullmatch(text) is None:
        raise ValueError("malformed capabilities")
    words = tuple(text.split())
    keys = set()
    for word in words:
        key, equals, value = word.partition(b"=")
        if key in keys:
            # git uses the first, another reader may use the last.
            raise ValueError("the same capability twice")
        keys.add(key)
        # git's parse_feature_value takes "atomic=1" for "atomic" and "agent" for "agent="; other readers do not.
        if key in VALUED and not value:
            raise ValueError(f"the capability {key.decode()} without a value")
        if key not in VALUED and equals:
            raise ValueError("a value for a capability that takes none")
    return words


def encode_commands(
    commands: Sequence[Command], capabilities: Iterable[bytes], shallows: Iterable[bytes] = ()
) -> bytes:
    """Encode ``commands``, at least one, with the client's capabilities and shallow lines, up to the flush.

    The forge reads what was judged: no byte of the client's own lines is sent. Capabilities that are not in
    :data:`FORWARDED` are left out, since their meaning at the forge is not known here. With ``push-options`` among
    ``capabilities`` the caller must append ``encode_options``.
    """
    # The command that carried the capabilities may have been refused: they move to the first one that is forwarded.
    first, *rest = [b"%s %s %s" % (one.old, one.new, one.ref) for one in commands]
    kept = [word for word in capabilities if word.partition(b"=")[0] in FORWARDED and len(word) <= MAX_CAPABILITY]
    lines = [b"shallow " + oid for oid in shallows]
    lines += [first + b"\x00 " + b" ".join(kept), *rest]
    return b"".join(map(encode, lines)) + FLUSH


def encode_options(options: Iterable[bytes]) -> bytes:
    """Encode the list of push options for the forge."""
    return b"".join(map(encode, options)) + FLUSH


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _malformed(text: str, status: int = 400) -> RequestError:
    return RequestError(f"push refused: {text}", reason=Reason.MALFORMED_PUSH, status=status)
