r"""What credgate itself asks a forge, in git's protocol version 2: its refs, and a few commits or trees.

    advertisement = ["# service=git-upload-pack" flush] "version 2" *capability flush
    ls-refs       = "command=ls-refs" "object-format=..." 0001 *("ref-prefix " name) 0000
    its answer    = *(oid SP name [SP "symref-target:" name]) flush
    fetch         = "command=fetch" "object-format=..." 0001 *argument 0000
    its answer    = [acknowledgments 0001] [shallow-info 0001] packfile 0000          ; or a packet "ERR ..."
    packfile      = "packfile" *(band payload)                                         ; 1 pack, 2 progress, 3 error

Follows git's ``gitprotocol-v2``. A fetch asks for the history of some commits down to *old* without its trees
(``haves``, ``filter="tree:0"``), or for some trees by their ids without what they contain (``filter="tree:0"`` too: an
object that is named is always sent). A forge must offer ``filter`` for either (:func:`offers_filter`).

Answers are read strictly and are bounded: advertisement and refs by the caller, a pack here, which then goes through
the same walk as a push's. A forge that answers in version 0 or 1 cannot be asked. Never sends a credential or a path,
and returns of the forge's own words only one bounded line of printable ASCII.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from credgate.errors import ResponseError
from credgate.git.pktline import DELIMITER, FLUSH, Packet, PacketError, PacketReader, Special, encode
from credgate.pack.objects import PackError
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from credgate.pack.objects import ObjectFormat
    from credgate.pack.walk import PackWalk

# Lines of an advertisement of version 2; git itself has about ten.
MAX_CAPABILITIES = 1000
# Bytes of a fetch's answer, unless the caller sets another limit: some 300,000 commits.
MAX_ANSWER = 64 * 1024 * 1024
CONTENT_TYPE = b"application/x-git-upload-pack-request"
ANSWER_TYPE = b"application/x-git-upload-pack-result"

_REF = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) ([^\x00-\x20\x7f]+)(?: [ -~]+)*")
_ACKNOWLEDGMENT = re.compile(rb"(?:NAK|ready|ACK [0-9a-f]{40}(?:[0-9a-f]{24})?)\n?")
_SHALLOW = re.compile(rb"(?:un)?shallow [0-9a-f]{40}(?:[0-9a-f]{24})?\n?")
_SECTIONS = {b"acknowledgments": _ACKNOWLEDGMENT, b"shallow-info": _SHALLOW}
_UNPRINTABLE = re.compile(rb"[^ -~]+")
_MAX_TEXT = 200
_PACK, _PROGRESS, _ERROR = 1, 2, 3


def read_capabilities(body: bytes) -> list[bytes]:
    """Return the capability lines of an advertisement. Raises ResponseError if it is not of version 2."""
    lines = list(islice(_lines(body), MAX_CAPABILITIES + 1))
    if len(lines) > MAX_CAPABILITIES:
        raise ResponseError("the forge's advertisement has too many capabilities")
    if lines and lines[0].startswith(b"# service="):
        lines = lines[1:]
        if lines[:1] == [b""]:
            lines = lines[1:]
    if lines[:1] != [b"version 2"] or lines[-1] != b"":
        raise ResponseError("the forge does not speak git's protocol version 2")
    return lines[1:-1]


def offers_filter(capabilities: Iterable[bytes]) -> bool:
    """Whether these lines of a version 2 advertisement offer ``fetch`` with ``filter``."""
    for line in capabilities:
        name, _, features = line.rstrip(b"\n").partition(b"=")
        if name == b"fetch":
            return b"filter" in features.split(b" ")
    return False


def offers_object_format(capabilities: Iterable[bytes]) -> bool:
    """Whether these lines name an object format."""
    # Forges before git 2.28 name none, and refuse a request that does.
    return any(line.startswith(b"object-format=") for line in capabilities)


def refs_request(object_format: ObjectFormat | None, names: Iterable[bytes]) -> bytes:
    """Return the body of ``ls-refs`` for the refs ``names``; ``object_format`` as in :func:`fetch_request`."""
    return _request(b"ls-refs", object_format, [b"ref-prefix " + name for name in names])


def read_refs(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the answer's refs with their ids (hexadecimal); a ref without an id (unborn) is left out.

    Raises ResponseError, at the end too.
    """
    # A generator, so that the caller can pause: a megabyte holds 200,000 packets.
    ended = False
    for line in _lines(body):
        match = None if ended else _REF.fullmatch(line)
        if match is not None:
            yield match[2], match[1]
        elif line == b"" and not ended:
            ended = True
        elif ended or not line.startswith(b"unborn "):
            raise ResponseError("the forge's list of refs cannot be read")
    if not ended:
        raise ResponseError("the forge's list of refs is cut")


def fetch_request(
    object_format: ObjectFormat | None,
    wants: Iterable[bytes],
    haves: Iterable[bytes] = (),
    *,
    filter_spec: bytes = b"tree:0",
    deepen: int = 0,
) -> bytes:
    """Return the body of ``fetch``; ids are binary. ``filter_spec`` may be empty, ``deepen`` 0 for no limit.

    ``object_format`` is ``None`` for a forge that does not know the capability (:func:`offers_object_format`).
    """
    arguments = [b"no-progress", b"ofs-delta"]
    if filter_spec:
        arguments.append(b"filter " + filter_spec)
    if deepen:
        arguments.append(b"deepen %d" % deepen)
    arguments += [b"want " + oid.hex().encode() for oid in sorted(wants)]
    arguments += [b"have " + oid.hex().encode() for oid in sorted(haves)]
    arguments.append(b"done")
    return _request(b"fetch", object_format, arguments)


class FetchResponseReader:
    """Reads the answer to a fetch: :meth:`receive` bytes, :meth:`step` until it returns false, and so on."""

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

        Raises :class:`ResponseError`: ``FORGE_REFUSED`` when the forge itself refused, else ``FORGE_MALFORMED``.
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
            raise _malformed(str(error)) from None
        return self._at < len(self._data)

    def end(self) -> None:
        """Note the end of the bytes. Raises :class:`ResponseError` when the answer had not ended."""
        if not self.done:
            raise ResponseError("the forge's answer is cut", reason=Reason.FORGE_CUT)

    def _packet(self, packet: Packet) -> None:
        if self.done:
            raise PacketError("data after its end")
        if isinstance(packet, Special):
            self._special(packet)
        elif packet.startswith(b"ERR "):
            raise _refusal(packet[4:])
        elif self._section == b"packfile":
            self._band(packet)
        elif not self._section:
            name = packet.rstrip(b"\n")
            if name != b"packfile" and name not in _SECTIONS:
                raise PacketError("a section that was not asked for")
            self._section = name
        elif _SECTIONS[self._section].fullmatch(packet) is None:
            raise PacketError("unexpected line in a section")

    def _special(self, packet: Special) -> None:
        """End a section before the pack (delimiter), or the answer (flush), which ends with the pack only."""
        if packet is Special.DELIMITER and self._section in _SECTIONS:
            self._section = b""
        elif packet is Special.FLUSH and self._section == b"packfile":
            self._walk.end()
            self.done = True
        else:
            raise PacketError("unexpected special packet")

    def _band(self, packet: bytes) -> None:
        band = packet[0]
        if band == _PACK:
            self._walk.receive(packet[1:])
        elif band == _ERROR:
            raise _refusal(packet[1:])
        elif band != _PROGRESS:
            raise PacketError("unknown side-band")


def _request(command: bytes, object_format: ObjectFormat | None, arguments: list[bytes]) -> bytes:
    head = [b"command=" + command, *([b"object-format=" + object_format.name] if object_format else [])]
    return b"".join((*map(encode, head), DELIMITER, *map(encode, arguments), FLUSH))


def _lines(body: bytes) -> Iterator[bytes]:
    """Split a whole body into packets without their line feeds; a flush is an empty one."""
    reader = PacketReader(_malformed)
    for packet, _ in reader.packets(body):
        if packet is Special.FLUSH:
            yield b""
        elif isinstance(packet, Special):
            raise ResponseError("the forge's answer has an unexpected special packet")
        elif packet.startswith(b"ERR "):
            raise ResponseError("the forge refused to answer")
        else:
            yield packet.removesuffix(b"\n") or b"\n"
    if reader.inside:
        raise ResponseError("the forge's answer is cut")


def _malformed(text: str) -> ResponseError:
    return ResponseError(f"the forge's answer cannot be read: {text}")


def _refusal(text: bytes) -> ResponseError:
    line = _UNPRINTABLE.sub(b" ", text).strip()[:_MAX_TEXT].decode("ascii")
    return ResponseError(f"the forge refused: {line}", reason=Reason.FORGE_REFUSED)
