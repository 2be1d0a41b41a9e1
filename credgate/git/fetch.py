r"""The body of a ``git-upload-pack`` request, read in passing: which command it is, and that it leads nowhere else.

    v2 request = flush / *pkt(key LF) [delimiter *pkt(argument LF)] flush         ; one key is "command=" name

Follows git's ``gitprotocol-v2``. Only ``ls-refs``, ``fetch`` and ``object-info`` are served: ``bundle-uri`` answers
with addresses to download from, and of a command that is not known nobody can say what it does. The argument
``packfile-uris`` of ``fetch`` does the same and is refused, and so is the key ``promisor-remote``, by which a client
agrees that objects are left out that it has from elsewhere. A lone flush is git's test of its credential.

How much a client may ask is bounded, by what git sends at most: a request that is small on the wire, because it is
compressed, would else take the gateway and the forge any time.

Versions 0 and 1 have no such ways out; of them only the size is looked at. What objects are wanted is not looked at
either: a repository is readable or it is not (git-over-http section 2.4).
"""

from __future__ import annotations

import re
from enum import Enum

from credgate.errors import RequestError
from credgate.git.pktline import Packet, PacketError, PacketReader, Special
from credgate.values import Decision, Reason

SERVED = frozenset({b"ls-refs", b"fetch", b"object-info"})
MAX_KEYS = 64
"""Lines before the arguments."""

MAX_BYTES = 32 * 1024 * 1024
"""Of a whole request, decoded. The largest that git makes asks for each missing blob of a partial clone by a line of 50
bytes; a checkout of 400,000 files, more than any of the large public repositories has, is 20 MB."""
MAX_OBJECTS = 500_000
"""Lines that name an object (``want``, ``have``, ``shallow``, ``oid``): the same request. git sends its haves in rounds
that double from 16 lines to 16,384 and then grow by a tenth."""
MAX_NAMES = 65_536
"""Lines that name a ref (``ref-prefix``, ``want-ref``, ``deepen-not``): git's server reads no more prefixes either."""
MAX_OPTIONS = 64
"""Other lines of arguments, such as ``done`` and ``thin-pack``: git has about twenty, each sent once."""

_OBJECT = re.compile(rb"(?:want|have|shallow|oid) (?:[0-9a-f]{64}|[0-9a-f]{40})\n?")
_NAME = (b"ref-prefix ", b"want-ref ", b"deepen-not ")
_COMMAND = b"command="
_ELSEWHERE = b"packfile-uris"
_PROMISED = b"promisor-remote"


class _Part(Enum):
    KEYS = 0
    ARGUMENTS = 1
    DONE = 2


class FetchReader:
    """Reads a body as it passes, decoded."""

    def __init__(self, *, v2: bool) -> None:
        """``v2``: whether the request's ``Git-Protocol`` asks for version 2, as it is sent to the forge."""
        self.command = ""
        """The command of a v2 request, once it was read."""
        self._v2 = v2
        self._packets = PacketReader()
        self._part = _Part.KEYS
        self._keys = self._bytes = self._objects = self._names = self._options = 0

    @property
    def probe(self) -> bool:
        """The body was a lone flush so far."""
        return self._part is _Part.DONE and not self._keys

    @property
    def decided(self) -> bool:
        """Whether the forge may be asked: the command is known and served, or there is none to know."""
        return not self._v2 or bool(self.command) or self.probe

    def receive(self, data: bytes) -> Decision | None:
        """Take the next bytes; return the refusal of the request, if it is one to refuse. Raises RequestError."""
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise _malformed(f"it is larger than {MAX_BYTES} bytes", status=413)
        offset = 0
        while self._v2 and offset < len(data):
            if self._part is _Part.DONE:
                raise _malformed("it goes on behind its end")
            try:
                packet, offset = self._packets.next(data, offset)
            except PacketError as error:
                raise _malformed(str(error)) from None
            refused = None if packet is None else self._packet(packet)
            if refused is not None:
                return refused
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
        if packet.startswith(_PROMISED):
            return _PROMISOR_REMOTE
        return self._command(packet.removesuffix(b"\n")) if packet.startswith(_COMMAND) else None

    def _argument(self, line: bytes) -> Decision | None:
        if _OBJECT.fullmatch(line):
            self._objects += 1
        elif line.startswith(_NAME):
            self._names += 1
        elif line.startswith(_ELSEWHERE) and self.command == "fetch":
            return _PACKFILE_URIS
        else:
            self._options += 1
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
            raise _malformed("a special packet where none belongs")

    def _command(self, line: bytes) -> Decision | None:
        if self.command:
            raise _malformed("two commands")
        name = line.removeprefix(_COMMAND)
        if name not in SERVED:
            return _UNSERVED
        self.command = name.decode("ascii")
        return None


def _refused(reason: Reason, text: str) -> Decision:
    return Decision(allow=False, reason=reason, rule="fetch", text=text)


_UNSERVED = _refused(
    Reason.FETCH_COMMAND, "of git's protocol v2 this gateway serves ls-refs, fetch and object-info, nothing else"
)
_PACKFILE_URIS = _refused(
    Reason.FETCH_ARGUMENT, "packfile-uris would download from elsewhere: unset fetch.uriProtocols and fetch again"
)
_PROMISOR_REMOTE = _refused(
    Reason.FETCH_ARGUMENT,
    "promisor-remote would download from elsewhere: unset promisor.acceptFromServer and fetch again",
)


def _malformed(text: str, status: int = 400) -> RequestError:
    return RequestError(f"malformed fetch: {text}", status=status)
