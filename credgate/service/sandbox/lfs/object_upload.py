"""An upload: PUT of an object from the sandbox to where the forge wants it.

The size is the batch's, counted whether the client sends a length or chunks; the last bytes are held back until the
digest is right, so what is stored under an object's name is that object, or the storage sees an unfinished request and
stores nothing. What streamed by cannot be sent again, so a large object has a fresh connection; a small one is held and
goes by a kept one, and once more by a fresh one if that turns out closed: storing an object twice is storing it once. A
refusal of much that is still to come is told at once, since git-lfs reads answers while it sends; of little, after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.http.chunked import LAST_CHUNK, frame
from credgate.http.header_policy import local_reply
from credgate.lfs import heads
from credgate.lfs.object_verifier import ObjectVerifier
from credgate.lfs.refusals import OBJECT_TYPE, LfsError
from credgate.service.sandbox.lfs.transfer import ObjectTransfer
from credgate.service.upstream.flow import Valve
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from credgate.git.authorize import LfsRelay
    from credgate.http.grammar import RequestHead, ResponseHead
    from credgate.service.sandbox.ports import Client
    from credgate.service.sandbox.request_log import RequestLog
    from credgate.service.upstream.pool import ForgeConnection

PATIENCE = 1024 * 1024
"""Bytes of a refused object that are read before its refusal is told."""
SMALL = 64 * 1024
"""Bytes of an object that is held until the storage has answered."""


class ObjectUpload(ObjectTransfer):
    """One upload."""

    def __init__(self, channel: Client, record: RequestLog, head: RequestHead, verdict: LfsRelay) -> None:
        super().__init__(channel, record, head, verdict)
        self._passing: ObjectVerifier
        self._held: list[bytes] = []
        self._full = self._answered = self._small = False

    def start(self) -> None:
        """Find the place and connect; the sandbox waits."""
        self.channel.hold()
        self.do(self._ask())

    async def _ask(self) -> None:
        self.find()
        action, length = self.action, self.head.length
        if length is not None and length != action.size:
            text = f"this upload has {length} bytes, and its batch said {action.size}"
            raise LfsError(text, reason=Reason.LFS_MISMATCH, status=422)
        self._passing, self._small = ObjectVerifier(action.size, action.oid), action.size <= SMALL
        await self.log_in(Access.WRITE)
        kept = self.gate.pool.take(self.key) if self._small else None
        self.begin(kept or await self.connect())

    def begin(self, storage: ForgeConnection) -> None:
        """See Transfer."""
        self.storage, self._full = storage, False
        head = heads.upload_head(self.action, self.authorization)
        storage.ask(self, b"PUT", head, Valve(self._fills, self._drains))
        self._send(self._held)
        if not self._small:
            self._held = []
        if self.whole:
            self._sent()
        elif not self._full:
            self.channel.release()

    @property
    def waits_for_client(self) -> bool:
        """See Errand: not while there is no connection, or it does not take more."""
        return not (self.whole or self._full or (self.storage is None and not self._answered))

    # The sandbox's side.

    def body(self, parts: list[bytes]) -> None:
        """Pass on what may go on."""
        self.record.bytes_up += sum(map(len, parts))
        try:
            passed = self._passing.take(parts)
        except LfsError as error:
            self.refuse(error)
            return
        if self._small or (self.storage is None and not self._answered):
            self._held += passed
        self._send(passed)

    def body_end(self) -> None:
        """Pass the end on, or answer if the storage has."""
        self.whole = True
        self.channel.release()
        try:
            self._passing.end()
        except LfsError as error:
            self.refuse(error)
            return
        if self._answered:
            self._answer()
        elif self.storage is not None:
            self._sent()

    def _send(self, parts: list[bytes]) -> None:
        if parts and self.storage is not None:
            self.storage.send(frame(parts) if self.action.chunked else parts)

    def _sent(self) -> None:
        assert self.storage is not None
        self._full = False
        if self.action.chunked:
            self.storage.send([LAST_CHUNK])
        self.storage.sent()

    def _fills(self) -> None:
        self._full = True
        if not self.whole:
            self.channel.hold()

    def _drains(self) -> None:
        self._full = False
        self.channel.release()

    def refuse(self, error: LfsError) -> None:
        """See Errand; do not wait for the rest of something large."""
        size = self.head.length
        if not self.whole and (size is None or size - self.record.bytes_up > PATIENCE):
            self.whole, self.channel.keeps = True, False
        super().refuse(error)

    # The storage's side.

    def answer_head(self, head: ResponseHead) -> None:
        """Note that it is stored, or refuse in its stead."""
        self.judge_coding(head)

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Ignore it: what a storage says of an object that it took is nobody's matter."""

    def answer_end(self) -> None:
        """Answer, now or when the sandbox has sent all."""
        self.storage, self._answered, self._full = None, True, False
        if self.whole:
            self._answer()
        else:
            self.channel.release()

    def _answer(self) -> None:
        self.record.set_status(200)
        self.channel.write([local_reply(200, b"", OBJECT_TYPE, close=not self.channel.keeps)])
        self.finish()
