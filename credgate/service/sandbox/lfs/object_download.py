"""A download: GET of an object, or of the rest of one, from where it lies to the sandbox.

The answer is made of what the batch said: its length is the object's, whatever the storage says must agree. The last
bytes are held back until the digest is right, so a corrupt object never looks whole: the connection is cut, and git-lfs
tries again. A storage that ignores ``Range`` sends all of it, and so do we.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.errors import ResponseError
from credgate.http import header_policy
from credgate.lfs import heads, ranges
from credgate.lfs.object_verifier import ObjectVerifier
from credgate.lfs.refusals import OBJECT_TYPE, LfsError
from credgate.service.sandbox.lfs.transfer import ObjectTransfer
from credgate.service.upstream.flow import Valve
from credgate.values import Access

if TYPE_CHECKING:
    from credgate.http.grammar import ResponseHead
    from credgate.service.upstream.pool import ForgeConnection

_OK, _PARTIAL = 200, 206


class ObjectDownload(ObjectTransfer):
    """One download."""

    _reply: list[bytes]
    _passing: ObjectVerifier
    _part: ranges.ByteRange
    _sent = _client_full = False

    def start(self) -> None:
        """Find the object and ask for it."""
        self.whole = True
        self.do(self._ask())

    async def _ask(self) -> None:
        self.find()
        self._part = ranges.asked_part(self.head.get(b"range"), self.action.size)
        await self.log_in(Access.READ)
        kept = self.gate.pool.take(self.key)
        self.begin(kept or await self.connect())

    def begin(self, storage: ForgeConnection) -> None:
        """See Transfer."""
        self.storage = storage
        head = heads.download_head(self.action, self._part, self.authorization)
        storage.ask(self, b"GET", head, Valve(_nothing, _nothing))
        storage.sent()

    # The sandbox's side: a GET has no body.

    def body(self, parts: list[bytes]) -> None:
        """Take nothing."""

    def body_end(self) -> None:
        """Wait for the storage."""

    @property
    def answering(self) -> bool:
        """See Errand."""
        return self._sent

    @property
    def waits_for_client(self) -> bool:
        """See Errand."""
        return self._client_full

    # The storage's side.

    def answer_head(self, head: ResponseHead) -> None:
        """Make the head of our answer, if it is the object that comes."""
        if not self.judge_coding(head):
            return
        part = self._part if head.status == _PARTIAL else ranges.ByteRange(0, self.action.size)
        told = head.status == _OK or (head.status == _PARTIAL and part.is_told(head.get(b"content-range")))
        if not told or head.length not in (None, part.length):
            self.leave()
            self.answer_failed(ResponseError("it is not the object, or not the part of it, that was asked for"))
            return
        # What the rest of an object hashes to, nobody knows.
        self._passing = ObjectVerifier(part.length, self.action.oid if part.whole else "")
        status, extra = (_OK, []) if part.whole else (_PARTIAL, [(b"Content-Range", part.told)])
        close = not self.channel.keeps
        self._reply = [header_policy.downstream_head(status, OBJECT_TYPE, length=part.length, close=close, extra=extra)]
        self.record.set_status(status)
        self.channel.feed(Valve(self._client_fills, self._client_drains))

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        """Pass on what may go on."""
        try:
            passed = self._passing.take(parts)
            if last:
                self._passing.end()
        except LfsError as error:
            self.refuse(error)
            return
        self.record.bytes_down += sum(map(len, passed))
        if passed or last:
            reply, self._reply, self._sent = [*self._reply, *passed], [], True
            self.channel.write(reply)

    def answer_end(self) -> None:
        """Finish."""
        self.storage = None
        self.channel.feed(None)
        self.finish()

    def _client_fills(self) -> None:
        self._client_full = True
        if self.storage is not None:
            self.storage.pauseProducing()

    def _client_drains(self) -> None:
        self._client_full = False
        if self.storage is not None:
            self.storage.resumeProducing()


def _nothing() -> None:
    """Do nothing: a request without a body is taken at once."""
