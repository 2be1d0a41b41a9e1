"""Push options: the list that follows the command list when the client named ``push-options``, read strictly.

    options = *pkt(text [LF]) flush

Follows git's ``gitprotocol-pack``. An option is one to 1024 bytes of UTF-8 without control characters: git's hooks get
them through the environment, and forges read them as ``key=value``. Reads up to the flush and not a byte further; the
pack is left to the caller. Never decides whether an option is allowed (``rules.judge_options``).
"""

from __future__ import annotations

import re

from credgate.errors import RequestError
from credgate.git.pktline import FLUSH, Packet, PacketError, PacketReader, Special, encode
from credgate.values import Reason

MAX_OPTIONS = 64
MAX_OPTION = 1024
"""Bytes of one option."""

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class OptionsReader:
    """Reads the options from where the command list ended."""

    def __init__(self) -> None:
        self.options: list[bytes] = []
        self.done = False
        """The flush that ends the list was read."""
        self._packets = PacketReader()

    def receive(self, data: bytes, offset: int = 0) -> int:
        """Read on in ``data`` from ``offset``; return the offset behind what was taken.

        All was taken until :attr:`done`. Raises :class:`RequestError` (``MALFORMED_PUSH``): the refs are known then, so
        git can be told so for each.
        """
        while not self.done and offset < len(data):
            try:
                packet, offset = self._packets.next(data, offset)
            except PacketError as error:
                raise _malformed(str(error)) from None
            if packet is not None:
                self._packet(packet)
        return offset

    def end(self) -> None:
        """Note the end of the body. Raises :class:`RequestError` when the list had not."""
        if not self.done:
            raise _malformed("the body ended inside the push options")

    def _packet(self, packet: Packet) -> None:
        if packet is Special.FLUSH:
            self.done = True
            return
        if isinstance(packet, Special):
            raise _malformed("a special packet inside the push options")
        option = packet.removesuffix(b"\n")
        if not 0 < len(option) <= MAX_OPTION or _CONTROL.search(option) or not _is_utf8(option):
            raise _malformed("a push option that is none")
        if len(self.options) >= MAX_OPTIONS:
            raise _malformed(f"more than {MAX_OPTIONS} push options")
        self.options.append(option)


def encode_options(options: list[bytes]) -> bytes:
    """Write the list again, for the forge."""
    return b"".join(map(encode, options)) + FLUSH


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _malformed(text: str) -> RequestError:
    return RequestError(f"push refused: {text}", reason=Reason.MALFORMED_PUSH)
