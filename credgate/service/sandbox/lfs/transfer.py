"""One LFS object, either direction: its handle, its storage, the connection, and the errors that both have in common.

Bytes stream with back-pressure and are never held in memory; ``lfs.object_verifier`` checks size and digest. None of
the client's own header fields and none of its credential reach the storage: ``lfs.heads`` writes what it is sent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from credgate.errors import ResponseError
from credgate.http import header_policy
from credgate.lfs import upstream_errors
from credgate.lfs.refusals import LfsError
from credgate.service.sandbox.lfs.exchange import LfsExchange, authorization, forge_key, storage_key
from credgate.service.upstream.client import UnreachableError
from credgate.service.upstream.failures import failure_decision
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.git.authorize import LfsRelay
    from credgate.http.grammar import RequestHead, ResponseHead
    from credgate.lfs.handles import Action
    from credgate.service.sandbox.ports import Client
    from credgate.service.sandbox.request_log import RequestLog
    from credgate.service.upstream.pool import ForgeConnection, Key
    from credgate.values import Access


class ObjectTransfer(LfsExchange, ABC):
    """The request for one object; the ``ResponseHandler`` of the connection to its storage."""

    action: Action
    key: Key

    def __init__(self, channel: Client, record: RequestLog, head: RequestHead, verdict: LfsRelay) -> None:
        super().__init__(channel, record, head, verdict)
        self.storage: ForgeConnection | None = None
        self.authorization: bytes | None = None

    @property
    def storage_name(self) -> str:
        """The name in refusals; the sandbox never learns the host."""
        return f"the storage of {self.verdict.driver.forge.name}"

    def find(self) -> None:
        """Look the handle up. Raises LfsError."""
        self.action = self.find_action()
        # The batch may have been judged by the grant of the old name, before the forge redirected the repository.
        most = self.verdict.grant.max_lfs_object_bytes
        if most is not None and self.action.size > most:
            text = f"this session may not move LFS objects over {most} bytes"
            raise LfsError(text, reason=Reason.LFS_OBJECT_TOO_LARGE, status=422, rule="max_lfs_object_bytes")

    async def log_in(self, access: Access) -> None:
        """Choose the connections, and the credential if the storage is the forge itself. Raises LfsError."""
        driver = self.verdict.driver
        # A storage gets the forge's credential only if it is the forge itself (same host, port and TLS).
        if not self.action.login:
            self.key = storage_key(driver, self.action)
            return
        credential = await self.credential(access)
        self.authorization = authorization(driver, credential)
        self.key = forge_key(driver, credential)

    async def connect(self) -> ForgeConnection:
        """Open a connection. Raises LfsError."""
        try:
            return await self.client.connect(self.key, self.action.href.place)
        except UnreachableError as error:
            raise LfsError.of(*failure_decision(self.storage_name, error.why)) from None

    @abstractmethod
    def begin(self, storage: ForgeConnection) -> None:
        """Send the request on ``storage``; a second time if the first connection turned out to be closed."""

    def leave(self) -> None:
        storage, self.storage = self.storage, None
        if storage is not None:
            storage.abort()

    def accepts(self, head: ResponseHead) -> bool:
        """Return whether the answer is a success without a coding; otherwise the request is refused."""
        self.record.upstream_status = head.status
        try:
            header_policy.is_gzip(head, asked=False)
        except ResponseError as error:
            self.leave()
            self.answer_failed(error)
            return False
        if head.status // 100 != 2:  # noqa: PLR2004 - RFC 9110 section 15.3
            after = header_policy.retry_after(head) or 0
            self.refuse(upstream_errors.of_storage(head.status, self.verdict.driver, self.action.call, after))
            return False
        return True

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        self.storage = None
        if repeatable:
            self.do(self._again())
        else:
            self.refuse(LfsError.of(*failure_decision(self.storage_name, error)))

    async def _again(self) -> None:
        self.begin(await self.connect())
