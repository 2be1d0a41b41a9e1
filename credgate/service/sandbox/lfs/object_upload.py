"""An upload: PUT of an object from the sandbox to the storage that the forge names.

The size must be the one in the batch, whether the client sends a length or chunks. The last bytes are held back until
the digest is verified: the storage gets the object of that name, or an unfinished request, which it discards.

A large object goes over a new connection, because its bytes are not kept and cannot be sent twice. A small one is kept
and uses a pooled connection, and a new one if that turns out to be closed: storing an object twice has no effect.
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
"""Bytes of a refused object that are still read. A refusal with more to come is sent at once and the connection closed:
git-lfs reads answers while it sends."""
SMALL = 64 * 1024
"""Bytes of an object that is kept until the storage has answered."""


class ObjectUpload(ObjectTransfer):
    """The request for one upload."""

    def __init__(self, channel: Client, record: RequestLog, head: RequestHead, verdict: LfsRelay) -> None:
        super().__init__(channel, record, head, verdict)
        self._verifier: ObjectVerifier
        self._held: list[bytes] = []
        self._full = self._answered = False

    @property
    def _small(self) -> bool:
        """Whether the object is kept, so that it can be sent twice."""
        return self.action.size <= SMALL

    def start(self) -> None:
        self.channel.hold()  # until there is a connection to the storage
        self.do(self._ask())

    async def _ask(self) -> None:
        self.find()
        action, length = self.action, self.head.length
        # With chunks the length is unknown here; the verifier counts the bytes.
        if length is not None and length != action.size:
            text = f"this upload has {length} bytes, and its batch said {action.size}"
            raise LfsError(text, reason=Reason.LFS_MISMATCH, status=422)
        self._verifier = ObjectVerifier(action.size, action.oid)
        await self.log_in(Access.WRITE)
        kept = self.services.pool.take(self.key) if self._small else None
        self.begin(kept or await self.connect())

    def begin(self, storage: ForgeConnection) -> None:
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
        # Not while there is no connection yet, or the storage does not keep up.
        return not (self.whole or self._full or (self.storage is None and not self._answered))

    # The sandbox's connection calls these.

    def body(self, parts: list[bytes]) -> None:
        self.record.bytes_up += sum(map(len, parts))
        try:
            passed = self._verifier.take(parts)
        except LfsError as error:
            self.refuse(error)
            return
        # A small object is kept for a second try; bytes that came before the connection are kept until there is one.
        if self._small or (self.storage is None and not self._answered):
            self._held += passed
        self._send(passed)

    def body_end(self) -> None:
        self.whole = True
        self.channel.release()
        try:
            self._verifier.end()
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
        """Refuse without reading the rest of a large object."""
        size = self.head.length
        if not self.whole and (size is None or size - self.record.bytes_up > PATIENCE):
            self.whole, self.channel.keeps = True, False
        super().refuse(error)

    # The storage's connection calls these.

    def answer_head(self, head: ResponseHead) -> None:
        self.accepts(head)

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Ignore it: git-lfs needs only the status."""

    def answer_end(self) -> None:
        self.storage, self._answered, self._full = None, True, False
        if self.whole:
            self._answer()
        else:
            self.channel.release()

    def _answer(self) -> None:
        self.record.set_status(200)
        self.channel.write([local_reply(200, b"", OBJECT_TYPE, close=not self.channel.keeps)])
        self.finish()
