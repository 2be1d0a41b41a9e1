"""An object on its way, either direction: the handle, the place, the connection, and what both ways do alike.

Bytes stream with back-pressure and are never held; sizes and digests are ``lfs.object_verifier``'s to judge. The
client's own fields and credential end here: what the storage is sent is made by ``lfs.heads``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError

from credgate.errors import ResponseError
from credgate.http import header_policy
from credgate.lfs import upstream_errors
from credgate.lfs.refusals import LfsError
from credgate.service.sandbox.lfs import logins
from credgate.service.sandbox.lfs.exchange import LfsExchange
from credgate.service.sandbox.lfs.round_trip import refused
from credgate.service.upstream.endpoints import unconnected
from credgate.values import Reason

if TYPE_CHECKING:
    from credgate.git.authorize import LfsRelay
    from credgate.http.grammar import RequestHead, ResponseHead
    from credgate.service.sandbox.ports import Client
    from credgate.service.sandbox.request_log import RequestLog
    from credgate.service.upstream.pool import ForgeConnection, Key
    from credgate.values import Access


class ObjectTransfer(LfsExchange, ABC):
    """One object's request; the storage connection's ``Asker``."""

    def __init__(self, channel: Client, record: RequestLog, head: RequestHead, verdict: LfsRelay) -> None:
        super().__init__(channel, record, head, verdict)
        self.storage: ForgeConnection | None = None
        self.authorization: bytes | None = None
        self.key: Key

    @property
    def storage_name(self) -> str:
        """What people call it; its host is nobody's matter."""
        return f"the storage of {self.verdict.driver.forge.name}"

    async def log_in(self, access: Access) -> None:
        """Find out what the storage is shown."""
        verdict, driver = self.verdict, self.verdict.driver
        action = self.action
        if not action.login:
            self.key = logins.storage_key(driver, action)
            return
        credential = await logins.credential_for(self.gate.credentials, verdict, access)
        self.record.set_credential(credential)
        self.authorization = logins.authorization(driver, credential)
        self.key = logins.forge_key(driver, credential)

    def find(self) -> None:
        """Look the handle up; raises LfsError."""
        self.action = logins.action_for(self.gate, self.verdict)
        self.record.set_object(self.action.oid, self.action.size)
        # Again after the batch, which may have come before the repository was known to have another name.
        most = self.verdict.grant.max_lfs_object_bytes
        if most is not None and self.action.size > most:
            text = f"this session may not move LFS objects over {most} bytes"
            raise LfsError(text, reason=Reason.LFS_OBJECT_TOO_LARGE, status=422, rule="max_lfs_object_bytes")

    async def connect(self) -> ForgeConnection:
        """Open a connection. Raises LfsError."""
        try:
            return await self.gate.pool.connect(self.key, self.action.href.place)
        except Exception as why:  # noqa: BLE001 - names, TLS, addresses, time: whatever it is, nobody was asked
            if self._over:  # an endpoint has its own error for being cancelled
                raise CancelledError from None
            raise refused(unconnected(self.storage_name, why), 502) from None

    @abstractmethod
    def begin(self, storage: ForgeConnection) -> None:
        """Ask on this connection; anew, if another was found closed."""

    def leave(self) -> None:
        """Leave the storage with what is unfinished."""
        storage, self.storage = self.storage, None
        if storage is not None:
            storage.abort()

    def judge_coding(self, head: ResponseHead) -> bool:
        """Whether the answer is neither an error nor coded; else it is refused."""
        self.record.upstream_status = head.status
        if head.get(b"content-encoding") not in (None, b"identity"):
            self.leave()
            self.answer_failed(ResponseError("it sent a Content-Encoding that was not asked for"))
            return False
        if head.status // 100 != 2:  # noqa: PLR2004 - RFC 9110 section 15.3
            after = header_policy.retry_after(head) or 0
            self.refuse(upstream_errors.of_storage(head.status, self.verdict.driver, self.action.call, after))
            return False
        return True

    def answer_failed(self, error: ResponseError, *, repeatable: bool = False) -> None:
        """Ask again if a kept connection was closed before it answered; else refuse, or cut what has begun."""
        self.storage = None
        if repeatable:
            self.do(self._again())
            return
        text = f"the answer of {self.storage_name} cannot be used: {error}"
        self.refuse(LfsError(text, reason=error.reason, status=error.status, rule="forge"))

    async def _again(self) -> None:
        self.begin(await self.connect())
