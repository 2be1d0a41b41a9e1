"""Batches, locks, and the verifying of an upload: small JSON in, small JSON out, and in between one question.

The request is held (bounded), read by the core, and written anew for the forge; so is the answer for the client. A
batch's links are made here, below the address that the client itself used. A credential that the forge refuses is got
anew once, if the question may be asked twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from credgate.forges.place import Place
from credgate.git.authorize import Refuse
from credgate.http.header_policy import local_reply
from credgate.lfs import batch as batches
from credgate.lfs import heads, locks, upstream_errors
from credgate.lfs.handles import Action
from credgate.lfs.reading import MAX_ANSWER, MAX_REQUEST, written
from credgate.lfs.refusals import MEDIA_TYPE, LfsError
from credgate.lfs.target import Call
from credgate.service.sandbox.lfs import logins
from credgate.service.sandbox.lfs.exchange import LfsExchange
from credgate.service.sandbox.lfs.round_trip import LfsAnswer, LfsQuestion, ask, refused
from credgate.service.turns import by_turns
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from credgate.git.authorize import LfsRelay
    from credgate.http.grammar import RequestHead
    from credgate.lfs.actions import Offer
    from credgate.service.credentials.sources import Credential
    from credgate.service.sandbox.ports import Client
    from credgate.service.sandbox.request_log import RequestLog

_OK = 200
_FORBIDDEN = 403


class LfsApiExchange(LfsExchange):
    """One request for the LFS API."""

    def __init__(self, channel: Client, record: RequestLog, head: RequestHead, verdict: LfsRelay) -> None:
        super().__init__(channel, record, head, verdict)
        self._body = bytearray()
        self._anonymous = True

    def start(self) -> None:
        """Wait for the body."""

    def body(self, parts: list[bytes]) -> None:
        """Hold what came."""
        for part in parts:
            self._body += part
        self.record.bytes_up += sum(map(len, parts))
        if len(self._body) > MAX_REQUEST:
            text = f"an LFS request has at most {MAX_REQUEST} bytes"
            self.refuse(LfsError(text, reason=Reason.LFS_MALFORMED, status=413))

    def body_end(self) -> None:
        """Begin."""
        self.whole = True
        self.do(self._serve())

    async def _serve(self) -> None:
        call = self.verdict.request.call
        if call is Call.BATCH:
            status, body = _OK, await self._batch()
        elif call is Call.VERIFY:
            status, body = _OK, await self._verify()
        else:
            status, body = await self._locks(call)
        self.record.set_status(status)
        self.record.bytes_down += len(body)
        self.channel.write([local_reply(status, body, MEDIA_TYPE, close=not self.channel.keeps)])
        self.finish()

    # The batch.

    async def _batch(self) -> bytes:
        verdict, batch = self.verdict, batches.read_batch(self._body)
        admitted = self.gate.judge.authorizer.admit_lfs(evolve(verdict.request, needed=batch.needed), verdict.session)
        if isinstance(admitted, Refuse):
            raise refused(admitted.decision, admitted.status)
        held = batches.too_large(batch, admitted.grant.max_lfs_object_bytes)
        if held:
            self.record.set_decision(batches.too_large_decision(len(held)))
        question = batches.forge_request(batch, held)
        if question is not None:
            answer = await self._ask_forge(question, batch.needed, repeatable=True)
            if answer.status != _OK:
                raise self._trouble(answer, batch.needed)
            offered = batches.read_answer(answer.body, batch, verdict.driver)
            held |= dict(await by_turns(self.gate.reactor, offered))
        return batches.answer(await by_turns(self.gate.reactor, batches.told(batch, held, self._give)))

    def _give(self, call: Call, oid: str, size: int, offer: Offer, login: bool) -> tuple[str, str]:  # noqa: FBT001 - batches.Give
        gate, verdict = self.gate, self.verdict
        expires = gate.reactor.seconds() + offer.lifetime(gate.clock().wall)
        action = Action(
            verdict.session.id,
            verdict.request.asked,
            call,
            oid,
            size,
            offer.href,
            offer.fields,
            offer.chunked,
            login,
            expires,
        )
        handle = gate.handles.give(action)
        return f"{self._here}{verdict.request.place}/_x/{handle.name}", handle.secret

    @property
    def _here(self) -> str:
        """The address of this gateway: the configured one, or as the client wrote it (its reader judged the form)."""
        if self.gate.public_url:
            return self.gate.public_url
        scheme = "https" if self.channel.tls else "http"
        return f"{scheme}://{(self.head.get(b'host') or b'').decode('ascii')}"

    # Locks.

    async def _locks(self, call: Call) -> tuple[int, bytes]:
        driver, needed = self.verdict.driver, self.verdict.request.needed
        question = locks.forge_request(call, self._body)
        repeatable = call in {Call.LOCKS, Call.VERIFY_LOCKS}
        answer = await self._ask_forge(question, needed, repeatable=repeatable)
        if not locks.expected(call, answer.status):
            raise self._trouble(answer, needed)
        pieces = locks.answer(call, answer.status, answer.body, driver.forge.name)
        return answer.status, b"".join(await by_turns(self.gate.reactor, pieces))

    # The verifying of an upload.

    async def _verify(self) -> bytes:
        """Ask about the object of the handle, whatever the body says."""
        verdict = self.verdict
        action = logins.action_for(self.gate, verdict)
        self.record.set_object(action.oid, action.size)
        driver, place = verdict.driver, action.href.place
        credential = None
        if action.login:
            credential = await logins.credential_for(self.gate.credentials, verdict, Access.WRITE)
        body = written({"oid": action.oid, "size": action.size})
        head = heads.verify_head(action, logins.authorization(driver, credential), len(body))
        key = logins.storage_key(driver, action) if credential is None else logins.forge_key(driver, credential)
        name = f"the LFS server of {driver.forge.name}"
        answer = await ask(
            self.gate.pool, LfsQuestion(key, place, name, b"POST", head + body, MAX_REQUEST, repeatable=True)
        )
        self.record.upstream_status = answer.status
        if answer.status // 100 != 2:  # noqa: PLR2004 - RFC 9110 section 15.3
            raise upstream_errors.of_storage(answer.status, driver, Call.VERIFY, answer.retry_after)
        return b"{}"

    # The forge.

    async def _ask_forge(self, body: bytes, access: Access, *, repeatable: bool) -> LfsAnswer:
        verdict, driver = self.verdict, self.verdict.driver
        credential = await logins.credential_for(self.gate.credentials, verdict, access)
        self.record.set_credential(credential)
        moved = await self.gate.paths.refused(driver, verdict.request.repo, credential)
        if moved is not None:
            raise refused(moved, _FORBIDDEN)
        self._anonymous = not credential.secret
        answer = await self._once(body, credential, repeatable=repeatable)
        if driver.refuses_credential(answer.status) and credential.secret and repeatable:
            credential = await logins.credential_for(self.gate.credentials, verdict, access, credential.id)
            self.record.set_credential(credential)
            answer = await self._once(body, credential, repeatable=repeatable)
        return answer

    async def _once(self, body: bytes, credential: Credential, *, repeatable: bool) -> LfsAnswer:
        verdict, driver, method = self.verdict, self.verdict.driver, self.head.method
        head = heads.api_head(
            method,
            driver.path(verdict.path, verdict.request.tail, dot_git=verdict.dot_git),
            driver.authority,
            logins.authorization(driver, credential),
            len(body),
        )
        key, name = logins.forge_key(driver, credential), driver.forge.name
        question = LfsQuestion(key, Place.of(driver), name, method, head + body, MAX_ANSWER, repeatable)
        answer = await ask(self.gate.pool, question)
        self.record.upstream_status = answer.status
        return answer

    def _trouble(self, answer: LfsAnswer, needed: Access) -> LfsError:
        driver = self.verdict.driver
        return upstream_errors.of_forge(
            answer.status, driver, needed, anonymous=self._anonymous, retry_after=answer.retry_after
        )
