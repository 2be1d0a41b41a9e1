"""A download: GET of an object, or of the rest of one (RFC 9110, section 14), from its storage to the sandbox.

The head of the answer is written from the batch: its length is that of the object, and the storage's must agree. The
last bytes are held back until the digest is verified, so a corrupt object never looks complete: the connection is
reset, and git-lfs tries again. A storage that ignores ``Range`` sends the whole object, which is then passed on whole.
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
    """The request for one download."""

    _reply: list[bytes]
    _verifier: ObjectVerifier
    _part: ranges.ByteRange
    _sent = _client_full = False

    def start(self) -> None:
        self.whole = True
        self.do(self._ask())

    async def _ask(self) -> None:
        self.find()
        self._part = ranges.asked_part(self.head.get(b"range"), self.action.size)
        await self.log_in(Access.READ)
        # A GET has no effect, so a kept connection that turns out to be closed does no harm: it is repeated.
        kept = self.services.pool.take(self.key)
        self.begin(kept or await self.connect())

    def begin(self, storage: ForgeConnection) -> None:
        self.storage = storage
        head = heads.download_head(self.action, self._part, self.authorization)
        storage.ask(self, b"GET", head, Valve(_nothing, _nothing))
        storage.sent()

    # The sandbox's connection calls these. A GET has no body.

    def body(self, parts: list[bytes]) -> None:
        """Ignore body bytes, of which there are none."""

    def body_end(self) -> None:
        """Do nothing: the request was whole with its head."""

    @property
    def answering(self) -> bool:
        return self._sent

    @property
    def waits_for_client(self) -> bool:
        return self._client_full

    # The storage's connection calls these.

    def answer_head(self, head: ResponseHead) -> None:
        if not self.accepts(head):
            return
        part = self._part if head.status == _PARTIAL else ranges.ByteRange(0, self.action.size)
        named = head.status == _OK or (head.status == _PARTIAL and part.matches(head.get(b"content-range")))
        # A wrong length would only be noticed at the end, after the head was sent.
        if not named or head.length not in (None, part.length):
            self.leave()
            self.answer_failed(ResponseError("it is not the object, or not the part of it, that was asked for"))
            return
        # The digest of a part of an object is unknown: git-lfs verifies the whole when it has put it together.
        self._verifier = ObjectVerifier(part.length, self.action.oid if part.whole else "")
        status, extra = (_OK, []) if part.whole else (_PARTIAL, [(b"Content-Range", part.content_range)])
        close = not self.channel.keeps
        # Sent with the first bytes of the object, so that an earlier failure can still be answered with a text.
        self._reply = [header_policy.downstream_head(status, OBJECT_TYPE, length=part.length, close=close, extra=extra)]
        self.record.set_status(status)
        self.channel.feed(Valve(self._client_fills, self._client_drains))

    def answer_body(self, parts: list[bytes], *, last: bool) -> None:
        try:
            passed = self._verifier.take(parts)
            if last:
                self._verifier.end()
        except LfsError as error:
            self.refuse(error)
            return
        self.record.bytes_down += sum(map(len, passed))
        if passed or last:
            reply, self._reply, self._sent = [*self._reply, *passed], [], True
            self.channel.write(reply)

    def answer_end(self) -> None:
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
    """Do nothing: a request without a body is never held back."""
