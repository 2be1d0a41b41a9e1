r"""Asking the forge for a few commits or trees, in git's own protocol: a version 2 ``fetch`` and its answer.

    request = "command=fetch" "object-format=..." 0001 *argument 0000
    answer  = [acknowledgments 0001] [shallow-info 0001] packfile 0000          ; or a packet "ERR ..."
    packfile = "packfile" *(band payload)                                        ; 1 pack, 2 progress, 3 error

Follows git's ``gitprotocol-v2``. The usual questions: the history of some commits down to *old* without its trees
(``haves``, ``filter="tree:0"``); and some trees by their ids, only they themselves (``filter="tree:0"`` again: what is
named is always sent). A forge must offer ``filter`` for either (:func:`offers_filter`). The answer is strict and
bounded; its pack goes through the same walk as a push's. Never sends a credential, a ref name or a path, and of the
forge's own words hands on only a bounded line of printable ASCII.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from credgate.errors import ResponseError
from credgate.git.pktline import DELIMITER, FLUSH, Packet, PacketError, PacketReader, Special, encode
from credgate.pack.objects import PackError
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from credgate.pack.objects import ObjectFormat
    from credgate.pack.walk import PackWalk

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer, unless the caller says otherwise: some 300,000 commits."""
CONTENT_TYPE = b"application/x-git-upload-pack-request"
ANSWER_TYPE = b"application/x-git-upload-pack-result"

_ACKNOWLEDGMENT = re.compile(rb"(?:NAK|ready|ACK [0-9a-f]{40}(?:[0-9a-f]{24})?)\n?")
_SHALLOW = re.compile(rb"(?:un)?shallow [0-9a-f]{40}(?:[0-9a-f]{24})?\n?")
_SECTIONS = {b"acknowledgments": _ACKNOWLEDGMENT, b"shallow-info": _SHALLOW}
_UNPRINTABLE = re.compile(rb"[^ -~]+")
_MAX_TEXT = 200
_PACK, _PROGRESS, _ERROR = 1, 2, 3


def fetch_request(
    object_format: ObjectFormat | None,
    wants: Iterable[bytes],
    haves: Iterable[bytes] = (),
    *,
    filter_spec: bytes = b"tree:0",
    deepen: int = 0,
) -> bytes:
    """Return the body of the request; ids are binary. ``filter_spec`` may be empty, ``deepen`` 0 for no limit.

    ``object_format`` is ``None`` for a forge that does not know the word (:func:`offers_object_format`).
    """
    arguments = [b"no-progress", b"ofs-delta"]
    if filter_spec:
        arguments.append(b"filter " + filter_spec)
    if deepen:
        arguments.append(b"deepen %d" % deepen)
    arguments += [b"want " + oid.hex().encode() for oid in sorted(wants)]
    arguments += [b"have " + oid.hex().encode() for oid in sorted(haves)]
    arguments.append(b"done")
    head = [b"command=fetch", *([b"object-format=" + object_format.name] if object_format else [])]
    return b"".join((*map(encode, head), DELIMITER, *map(encode, arguments), FLUSH))


def offers_filter(capabilities: Iterable[bytes]) -> bool:
    """Whether these lines of a version 2 advertisement offer ``fetch`` with ``filter``."""
    for line in capabilities:
        name, _, features = line.rstrip(b"\n").partition(b"=")
        if name == b"fetch":
            return b"filter" in features.split(b" ")
    return False


def offers_object_format(capabilities: Iterable[bytes]) -> bool:
    """Whether these lines name an object format: forges before git 2.28 do not, and refuse a request that does."""
    return any(line.startswith(b"object-format=") for line in capabilities)


class FetchResponseReader:
    """Reads one answer: :meth:`receive` bytes, then :meth:`step` until it returns false, and so on."""

    def __init__(self, walk: PackWalk, max_bytes: int = MAX_ANSWER) -> None:
        """``walk`` takes the answer's pack; give it the push's graph to judge both together."""
        self.done = False
        """The answer was read to its end and its pack is whole."""
        self._walk, self._left = walk, max_bytes
        self._packets = PacketReader()
        self._data, self._at = b"", 0
        self._section = b""

    def receive(self, data: bytes) -> None:
        """Take the next bytes (keep them under 1 MiB); only after :meth:`step` returned false."""
        self._data, self._at = data, 0
        self._left -= len(data)

    def step(self) -> bool:
        """Do a few milliseconds' work at most; return whether there is more to do without more bytes.

        Raises :class:`ResponseError`: ``FORGE_REFUSED`` when the forge said no itself, else ``FORGE_MALFORMED``.
        """
        if self._left < 0:
            raise ResponseError("the forge's answer is too long")
        try:
            if self._walk.step():
                return True
            packet, self._at = self._packets.next(self._data, self._at)
            if packet is not None:
                self._packet(packet)
                return True
        except (PackError, PacketError) as error:
            raise ResponseError(f"the forge's answer cannot be read: {error}") from None
        return self._at < len(self._data)

    def end(self) -> None:
        """Note the end of the bytes. Raises :class:`ResponseError` when the answer had not ended."""
        if not self.done:
            raise ResponseError("the forge's answer is cut", reason=Reason.FORGE_CUT)

    def _packet(self, packet: Packet) -> None:
        if self.done:
            raise PacketError("bytes behind its end")
        if isinstance(packet, Special):
            self._special(packet)
        elif packet.startswith(b"ERR "):
            raise _refusal(packet[4:])
        elif self._section == b"packfile":
            self._band(packet)
        elif not self._section:
            self._begin(packet.rstrip(b"\n"))
        elif _SECTIONS[self._section].fullmatch(packet) is None:
            raise PacketError("a line that does not belong in its section")

    def _begin(self, name: bytes) -> None:
        if name != b"packfile" and name not in _SECTIONS:
            raise PacketError("a section that was not asked for")
        self._section = name

    def _special(self, packet: Special) -> None:
        """End a section before the pack (delimiter), or the answer (flush), which only the pack may end."""
        if packet is Special.DELIMITER and self._section in _SECTIONS:
            self._section = b""
        elif packet is Special.FLUSH and self._section == b"packfile":
            self._walk.end()
            self.done = True
        else:
            raise PacketError("a special packet where none belongs")

    def _band(self, packet: bytes) -> None:
        band = packet[0]
        if band == _PACK:
            self._walk.receive(packet[1:])
        elif band == _ERROR:
            raise _refusal(packet[1:])
        elif band != _PROGRESS:
            raise PacketError("a side-band that git does not have")


def _refusal(text: bytes) -> ResponseError:
    line = _UNPRINTABLE.sub(b" ", text).strip()[:_MAX_TEXT].decode("ascii")
    return ResponseError(f"the forge refused: {line}", reason=Reason.FORGE_REFUSED)
