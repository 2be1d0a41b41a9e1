r"""The body of a ``git-upload-pack`` request, read as it passes: its command, and that it leads nowhere else.

    v2 request = flush / *pkt(key LF) [delimiter *pkt(argument LF)] flush         ; one key is "command=" name

Follows git's ``gitprotocol-v2``. Only ``ls-refs``, ``fetch`` and ``object-info`` are served: ``bundle-uri`` answers
with addresses to download from, and the effect of an unknown command is unknown. The argument ``packfile-uris`` of
``fetch`` is refused for the same reason, and so is the key ``promisor-remote``, by which a client agrees that objects
are left out that it can get elsewhere. A single flush is git's test of its credential.

The size of a request is bounded by what git sends at most. Else a request that is small on the wire, because it is
compressed, could take any time of the gateway and the forge.

Versions 0 and 1 cannot lead elsewhere; only their size is checked. Which objects are wanted is not checked either: a
session may read the whole repository or nothing of it.
"""

from __future__ import annotations

import re
from enum import Enum

from credgate.errors import RequestError
from credgate.git.pktline import Packet, PacketReader, Special
from credgate.values import Decision, Reason, refuse

SERVED = frozenset({b"ls-refs", b"fetch", b"object-info"})
MAX_KEYS = 64
"""Lines before the arguments."""

# Bytes of a whole request, decoded. git's largest requests name each missing blob of a partial clone in a line of 50
# bytes; a checkout of 400,000 files, more than any of the large public repositories has, makes 20 MB.
MAX_BYTES = 32 * 1024 * 1024
# Lines that name an object (``want``, ``have``, ``shallow``, ``oid``): as many as that request has. git sends its
# haves in rounds that double from 16 lines to 16,384 and then grow by a tenth.
MAX_OBJECTS = 500_000
# Lines that name a ref (``ref-prefix``, ``want-ref``, ``deepen-not``): git's server reads no more prefixes either.
MAX_NAMES = 65_536
# Other lines of arguments, such as ``done`` and ``thin-pack``: git has about twenty, each sent once.
MAX_OPTIONS = 64

_OBJECT = re.compile(rb"(?:want|have|shallow|oid) (?:[0-9a-f]{64}|[0-9a-f]{40})\n?")
_NAME = (b"ref-prefix ", b"want-ref ", b"deepen-not ")
_COMMAND = b"command="

_COMMAND_REFUSED = refuse(
    Reason.FETCH_COMMAND, "fetch", "of git's protocol v2 this gateway serves ls-refs, fetch and object-info only"
)
_PACKFILE_URIS = refuse(
    Reason.FETCH_ARGUMENT,
    "fetch",
    "packfile-uris would download from elsewhere: unset fetch.uriProtocols and fetch again",
)
_PROMISOR_REMOTE = refuse(
    Reason.FETCH_ARGUMENT,
    "fetch",
    "promisor-remote would download from elsewhere: unset promisor.acceptFromServer and fetch again",
)


class _Part(Enum):
    KEYS = 0
    ARGUMENTS = 1
    DONE = 2


class FetchReader:
    """Reads a decoded body as it passes."""

    def __init__(self, *, v2: bool) -> None:
        """``v2``: whether the request's ``Git-Protocol`` asks for version 2, as it is sent to the forge."""
        self.command = ""
        """The command of a v2 request, once it was read."""
        self._v2 = v2
        self._packets = PacketReader(_malformed)
        self._part = _Part.KEYS
        self._keys = self._bytes = self._objects = self._names = self._options = 0

    @property
    def probe(self) -> bool:
        """Whether the body was a single flush so far."""
        return self._part is _Part.DONE and not self._keys

    @property
    def decided(self) -> bool:
        """Whether the request may be sent to the forge: its command is known and served, or it has none."""
        return not self._v2 or bool(self.command) or self.probe

    def receive(self, data: bytes) -> Decision | None:
        """Take the next bytes; return the refusal of the request, None if it is not refused. Raises RequestError."""
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise _malformed(f"it is larger than {MAX_BYTES} bytes", status=413)
        if not self._v2:
            return None
        if self._part is _Part.DONE and data:
            raise _malformed("data after its end")
        for packet, offset in self._packets.packets(data):
            refused = self._packet(packet)
            if refused is not None:
                return refused
            if self._part is _Part.DONE and offset < len(data):
                raise _malformed("data after its end")
        return None

    def end(self) -> None:
        """Note the end of the body. Raises RequestError when the request had not ended."""
        if self._v2 and self._part is not _Part.DONE:
            raise _malformed("it was cut")

    def _packet(self, packet: Packet) -> Decision | None:
        if isinstance(packet, Special):
            self._special(packet)
            return None
        if self._part is _Part.ARGUMENTS:
            return self._argument(packet)
        self._keys += 1
        if self._keys > MAX_KEYS:
            raise _malformed("too many lines before the arguments")
        if packet.startswith(b"promisor-remote"):
            return _PROMISOR_REMOTE
        return self._command(packet.removesuffix(b"\n")) if packet.startswith(_COMMAND) else None

    def _argument(self, line: bytes) -> Decision | None:
        if _OBJECT.fullmatch(line):
            self._objects += 1
        elif line.startswith(_NAME):
            self._names += 1
        # The advertisement does not offer it; a client that sends it anyway could be led elsewhere.
        elif line.startswith(b"packfile-uris") and self.command == "fetch":
            return _PACKFILE_URIS
        else:
            self._options += 1
        # Each kind has its own limit: a kilobyte of gzip may hold 200,000 short lines.
        if self._objects > MAX_OBJECTS or self._names > MAX_NAMES or self._options > MAX_OPTIONS:
            raise _malformed("too many arguments", status=413)
        return None

    def _special(self, packet: Special) -> None:
        if self._keys and not self.command:
            raise _malformed("no command")
        if packet is Special.FLUSH:
            self._part = _Part.DONE
        elif packet is Special.DELIMITER and self._part is _Part.KEYS and self.command:
            self._part = _Part.ARGUMENTS
        else:
            raise _malformed("unexpected special packet")

    def _command(self, line: bytes) -> Decision | None:
        if self.command:
            raise _malformed("two commands")
        name = line.removeprefix(_COMMAND)
        if name not in SERVED:
            return _COMMAND_REFUSED
        self.command = name.decode("ascii")
        return None


def _malformed(text: str, status: int = 400) -> RequestError:
    return RequestError(f"malformed fetch: {text}", status=status)
