r"""A forge's ref advertisement, rewritten as it passes: capabilities that lead around the gateway are removed.

    smart   = [pkt("# service=" name LF) flush] (v0 / v1 / v2)             ; gitprotocol-http
    v1      = pkt("version 1" LF) v0
    v0      = flush / pkt(oid SP name NUL capabilities [LF]) *pkt(ref or shallow line) flush
    v2      = pkt("version 2" LF) *pkt(capability LF) flush                ; gitprotocol-v2
    any     = pkt("ERR " text)

Removed are ``push-cert`` (its commands would be hidden from the rules), ``push-options`` unless granted,
``packfile-uris``, ``bundle-uri`` and ``promisor-remote`` (downloads from elsewhere), and in protocol v2 every key that
is not known here, since a key may be a command. ``no-thin`` is added where packs will be read. Everything else stays,
above all ``report-status``, ``delete-refs`` and ``side-band-64k``: without them git misreads a refusal.

Only the lines up to the first ref, or the block of v2, are read. The refs after it pass unchanged; their packets are
only counted, so 500,000 refs cost no memory and little time. A cut or malformed advertisement raises.

The v2 advertisement of a server is the same for every repository and client, and comes with every request. So the last
few are cached with their result (``cached_v2``). The key is the whole input: the bytes and what the client was granted,
so an entry is never out of date and never another client's.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

from credgate.errors import ResponseError
from credgate.git.pktline import FLUSH, MAX_PAYLOAD, Packet, PacketError, PacketReader, Special, encode, length_of
from credgate.values import Reason

MAX_V2_LINES = 256
"""Lines of a v2 capability block."""
# A certificate holds commands that the rules would not see; the others make clients download from elsewhere.
STRIPPED = frozenset({b"push-cert", b"packfile-uris", b"bundle-uri", b"promisor-remote"})
_STRIPPED_UNGRANTED = STRIPPED | {b"push-options"}
V2_KNOWN = frozenset(
    {b"agent", b"ls-refs", b"fetch", b"server-option", b"object-format", b"object-info", b"session-id"}
)

# Bytes of the largest advertisement that is cached, and the number of cached ones: a server has one, or one for each
# of its releases.
MAX_CACHED_BYTES, CACHED = 1024, 32

_FIRST = re.compile(rb"(?P<ref>(?:[0-9a-f]{64}|[0-9a-f]{40}) [^\x00-\x20\x7f]+)\x00(?P<caps>[^\x00\n]*)(?P<end>\n?)")
# The separators of features: git's reader uses ``isspace``.
_SPACE = re.compile(rb"[ \t\r]")
_V2, _V2_WITHIN = b"version 2", 64
_DIGITS = 4
# The lengths of nearly all refs by their digits: one look-up a ref.
_LENGTHS = {b"%04x" % length: length for length in range(5, 2048)}


class _Part(Enum):
    """The part of the advertisement that the next packet belongs to."""

    START = 0
    SERVICE_FLUSH = 1
    VERSION = 2
    FIRST = 3
    V2 = 4
    REFS = 5
    ERROR = 6
    DONE = 7


class AdvertisementRewriter:
    """Takes a forge's answer to ``info/refs`` as it comes and returns what the client is sent."""

    def __init__(self, service: str, *, push_options: bool = False, no_thin: bool = False) -> None:
        """``service``: ``git-upload-pack`` or ``git-receive-pack``, which the client asked for."""
        self.version = 0
        """The protocol version of the answer, once its first lines were read."""
        self.capabilities: tuple[bytes, ...] = ()
        """The forge's capabilities before any was removed: words of v0, lines of v2."""
        self._asked = service, push_options, no_thin
        self._stripped = STRIPPED if push_options else _STRIPPED_UNGRANTED
        self._no_thin = no_thin and service == "git-receive-pack"
        self._packets = PacketReader(_malformed)
        self._part = _Part.START
        self._begun = False  # whether any byte was read here
        self._lines = 0
        self._refs: _Framing | None = None  # counts the refs, once they have begun

    @property
    def done(self) -> bool:
        """Whether the advertisement was read to its end."""
        return self._part is _Part.DONE

    @property
    def in_refs(self) -> bool:
        """Whether the first ref was read, after which packets are only counted."""
        return self._part is _Part.REFS

    def receive(self, data: bytes) -> list[bytes]:
        """Return what goes to the client now. Raises :class:`ResponseError`."""
        # An answer of v0 holds the names of refs, which must not stay in a cache.
        if (
            self._part is _Part.START
            and not self._begun
            and len(data) <= MAX_CACHED_BYTES
            and data.find(_V2, 0, _V2_WITHIN) >= 0
        ):
            known = cached_v2(data, self._asked)
            if known is not None:
                self._part = _Part.DONE
                self.version, self.capabilities, given = known
                return [given]
        return self.read(data)

    def read(self, data: bytes) -> list[bytes]:
        """Do the same without the cache."""
        given: list[bytes] = []
        offset = 0
        self._begun = True
        if self._part is _Part.DONE and data:
            raise _malformed("data after its end")
        if self._part is not _Part.REFS:
            for packet, offset in self._packets.packets(data):
                given += self._packet(packet)
                if self.in_refs:
                    break
                if self.done and offset < len(data):
                    raise _malformed("data after its end")
            else:
                return given
        if offset < len(data):
            given.append(data[offset:] if offset else data)
            self._refs = self._refs or _Framing()
            if self._refs.receive(data, offset):
                self._part = _Part.DONE
        return given

    def end(self) -> None:
        """Note the end of the answer. Raises :class:`ResponseError` (``FORGE_CUT``) when it had not ended."""
        if self._part is not _Part.DONE and (self._part is not _Part.ERROR or self._packets.inside):
            raise ResponseError("the forge's advertisement was cut", reason=Reason.FORGE_CUT)

    def _packet(self, packet: Packet) -> list[bytes]:
        if self._part is _Part.ERROR and packet is not Special.FLUSH:
            raise _malformed("data after its end")
        if isinstance(packet, Special):
            # A flush: after the service line or an error, at the end of v2, or in place of all refs.
            if packet is not Special.FLUSH:
                raise _malformed("unexpected special packet")
            self._part = _Part.VERSION if self._part is _Part.SERVICE_FLUSH else _Part.DONE
            return [FLUSH]
        if self._part is _Part.SERVICE_FLUSH:
            raise _malformed("no flush after the service line")
        if self._part is _Part.V2:
            return self._v2_line(packet)
        # git prints it; some servers end it with a flush, some do not.
        if packet.startswith(b"ERR "):
            self._part = _Part.ERROR
            return [encode(packet)]
        return self._opening(packet)

    def _opening(self, packet: bytes) -> list[bytes]:
        """Take a line before the refs: the service, the version, the first ref with the capabilities."""
        text = packet.removesuffix(b"\n")
        if self._part is _Part.START and text == b"# service=" + self._asked[0].encode("ascii"):
            self._part = _Part.SERVICE_FLUSH
        elif self._part is not _Part.FIRST and text == b"version 1":
            self._part, self.version = _Part.FIRST, 1
        elif self._part is not _Part.FIRST and text == _V2:
            self._part, self.version = _Part.V2, 2
        else:
            self._part = _Part.REFS
            return [self._first_ref(packet)]
        return [encode(packet)]

    def _first_ref(self, packet: bytes) -> bytes:
        match = _FIRST.fullmatch(packet)
        if match is None:
            raise _malformed("the first line is not a ref with capabilities")
        self.capabilities = tuple(match["caps"].split())
        kept = [word for word in self.capabilities if self._offered(word)]
        if self._no_thin and b"no-thin" not in kept:
            kept.append(b"no-thin")
        if kept == list(self.capabilities):
            return encode(packet)
        # Some servers write a space after the NUL; keep the line as it was otherwise.
        space = b" " if match["caps"].startswith(b" ") else b""
        line = b"%s\x00%s%s%s" % (match["ref"], space, b" ".join(kept), match["end"])
        if len(line) > MAX_PAYLOAD:
            raise _malformed("the capabilities do not fit into a packet")
        return encode(line)

    def _offered(self, word: bytes) -> bool:
        return word.partition(b"=")[0] not in self._stripped

    def _v2_line(self, packet: bytes) -> list[bytes]:
        self._lines += 1
        if self._lines > MAX_V2_LINES:
            raise _malformed("too many capabilities")
        line = packet.removesuffix(b"\n")
        self.capabilities += (line,)
        key, equals, value = line.partition(b"=")
        # An unknown key may be a command that no rule judges.
        if key not in V2_KNOWN:
            return []
        if key != b"fetch" or not equals:
            return [encode(packet)]
        features = b" ".join(word for word in _SPACE.split(value) if self._offered(word))
        return [encode((b"fetch=" + features if features else b"fetch") + packet[len(line) :])]


@lru_cache(maxsize=CACHED)
def cached_v2(data: bytes, asked: tuple[str, bool, bool]) -> tuple[int, tuple[bytes, ...], bytes] | None:
    """Return version, capabilities and what the client is sent if ``data`` is a whole advertisement of v2, else None.

    ``asked`` are the arguments of a rewriter. A malformed advertisement raises and is not cached.
    """
    service, push_options, no_thin = asked
    rewriter = AdvertisementRewriter(service, push_options=push_options, no_thin=no_thin)
    given = b"".join(rewriter.read(data))
    return (rewriter.version, rewriter.capabilities, given) if rewriter.done and rewriter.version > 1 else None


class _Framing:
    """Counts packets without looking into them."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the current packet still to come
        self._digits = b""

    def receive(self, data: bytes, at: int) -> bool:
        """Count the packets of ``data`` from ``at``; return whether the flush was reached, which must come last."""
        # A reader that takes capabilities from any line would use them.
        if data.find(b"\x00", at) >= 0:
            raise _malformed("capabilities after the first ref")
        if self._digits:
            data, at = self._digits + data[at:], 0
        at = self._hop(data, at + self._left)
        rest = data[at : at + _DIGITS]
        if rest == FLUSH:
            if len(data) > at + _DIGITS:
                raise _malformed("data after its end")
            return True
        self._left, self._digits = max(0, at - len(data)), rest
        return False

    def _hop(self, data: bytes, at: int) -> int:
        # The inner loop is the whole cost of a ref.
        length = _LENGTHS.get
        while True:
            while step := length(data[at : at + 4]):
                at += step
            digits = data[at : at + _DIGITS]
            if len(digits) < _DIGITS or digits == FLUSH:
                return at
            at += _long(digits)


def _long(digits: bytes) -> int:
    """Return a length that is not in ``_LENGTHS``."""
    try:
        length = length_of(digits)
    except PacketError as error:
        raise _malformed(str(error)) from None
    if isinstance(length, Special):
        raise _malformed("unexpected special packet")
    return length


def _malformed(text: str) -> ResponseError:
    return ResponseError(f"malformed ref advertisement from the forge: {text}")
