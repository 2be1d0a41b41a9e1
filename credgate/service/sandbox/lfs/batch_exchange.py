"""Batches, locks and the verification of an upload: one small JSON request, answered by one request to the forge.

The request is read whole, with a size limit, parsed by ``credgate.lfs`` and written anew for the forge; so is the
answer for the client. Follows git-lfs's docs/api/batch.md and locking.md. The links in a batch's answer point to this
gateway, at the address that the client itself used. A credential that the forge refuses is replaced once, if the
request may be repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from credgate.errors import ResponseError
from credgate.forges.place import Place
from credgate.git.authorize import Refuse
from credgate.http.header_policy import local_reply
from credgate.lfs import batch as batches
from credgate.lfs import heads, locks, upstream_errors
from credgate.lfs.handles import Action
from credgate.lfs.reading import MAX_ANSWER, MAX_REQUEST, written
from credgate.lfs.refusals import MEDIA_TYPE, LfsError
from credgate.lfs.target import Call
from credgate.service.sandbox.lfs.exchange import LfsExchange, authorization, forge_key, storage_key
from credgate.service.turns import by_turns
from credgate.service.upstream.client import BufferedCall, UnreachableError, UpstreamAnswer, UpstreamQuery
from credgate.service.upstream.failures import failure_decision
from credgate.values import Access, Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable

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
        """Do nothing until the body was read."""

    def body(self, parts: list[bytes]) -> None:
        for part in parts:
            self._body += part
        self.record.bytes_up += sum(map(len, parts))
        if len(self._body) > MAX_REQUEST:
            text = f"an LFS request has at most {MAX_REQUEST} bytes"
            self.refuse(LfsError(text, reason=Reason.LFS_MALFORMED, status=413))

    def body_end(self) -> None:
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
        # The path allowed reading; an upload needs write access, and that the grant allows pushes.
        admitted = self.services.judge.authorizer.admit_lfs(
            evolve(verdict.request, needed=batch.needed), verdict.session
        )
        if isinstance(admitted, Refuse):
            raise LfsError.of(admitted.decision, admitted.status)
        held = batches.too_large(batch, admitted.grant.max_lfs_object_bytes)
        if held:
            self.record.set_decision(batches.too_large_decision(len(held)))
        question = batches.forge_request(batch, held)
        if question is not None:
            answer = await self._ask_forge(question, batch.needed, repeatable=True)
            if answer.status != _OK:
                raise self._unexpected(answer, batch.needed)
            offered = batches.read_answer(answer.body, batch, verdict.driver)
            held |= dict(await by_turns(self.services.reactor, offered))
        return batches.answer(await by_turns(self.services.reactor, batches.answer_objects(batch, held, self._give)))

    def _give(self, call: Call, oid: str, size: int, offer: Offer, login: bool) -> tuple[str, str]:  # noqa: FBT001 - batches.Give
        gate, verdict = self.services, self.verdict
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
        """The address of this gateway: as configured, or as in the client's ``Host`` (whose form was checked)."""
        if self.services.public_url:
            return self.services.public_url
        scheme = "https" if self.channel.tls else "http"
        return f"{scheme}://{(self.head.get(b'host') or b'').decode('ascii')}"

    # Locks.

    async def _locks(self, call: Call) -> tuple[int, bytes]:
        driver, needed = self.verdict.driver, self.verdict.request.needed
        question = locks.forge_request(call, self._body)
        # Creating or releasing a lock twice has an effect: the second answer would be a conflict or 404.
        repeatable = call in {Call.LOCKS, Call.VERIFY_LOCKS}
        answer = await self._ask_forge(question, needed, repeatable=repeatable)
        if not locks.expected(call, answer.status):
            raise self._unexpected(answer, needed)
        pieces = locks.answer(call, answer.status, answer.body, driver.forge.name)
        return answer.status, b"".join(await by_turns(self.services.reactor, pieces))

    # The verification of an upload.

    async def _verify(self) -> bytes:
        """Ask the storage about the object of the handle; the client's body is ignored."""
        driver, action = self.verdict.driver, self.find_action()
        credential = await self.credential(Access.WRITE) if action.login else None
        body = written({"oid": action.oid, "size": action.size})
        head = heads.verify_head(action, authorization(driver, credential), len(body))
        key = storage_key(driver, action) if credential is None else forge_key(driver, credential)
        call = BufferedCall(MAX_REQUEST)
        query = UpstreamQuery(key, action.href.place, b"POST", head + body)
        answer = await self._answer(self.client.send(query, call), call, f"the LFS server of {driver.forge.name}")
        if answer.status // 100 != 2:  # noqa: PLR2004 - RFC 9110 section 15.3
            raise upstream_errors.of_storage(answer.status, driver, Call.VERIFY, answer.retry_after)
        return b"{}"

    # The forge's LFS server.

    async def _ask_forge(self, body: bytes, access: Access, *, repeatable: bool) -> UpstreamAnswer:
        verdict, driver, method = self.verdict, self.verdict.driver, self.head.method
        path = driver.path(verdict.path, verdict.request.tail, dot_git=verdict.dot_git)

        async def credential_for(refused: str) -> Credential:
            credential = await self.credential(access, refused)
            if not refused:
                moved = await self.services.paths.refused(driver, verdict.request.repo, credential)
                if moved is not None:
                    raise LfsError.of(moved, _FORBIDDEN)
                self._anonymous = not credential.secret
            return credential

        def query_for(credential: Credential) -> UpstreamQuery:
            login = authorization(driver, credential)
            head = heads.api_head(method, path, driver.authority, login, len(body))
            return UpstreamQuery(
                forge_key(driver, credential), Place.of(driver), method, head + body, repeatable=repeatable
            )

        call = BufferedCall(MAX_ANSWER)
        sending = self.client.send_renewing(query_for, credential_for, driver, call)
        return await self._answer(sending, call, driver.forge.name)

    async def _answer(self, sending: Awaitable[None], call: BufferedCall, name: str) -> UpstreamAnswer:
        """Return the answer that ``call`` reads while ``sending`` runs. Raises LfsError, with ``name``."""
        try:
            await sending
        except UnreachableError as error:
            raise LfsError.of(*failure_decision(name, error.why)) from None
        except ResponseError as error:
            raise LfsError.of(*failure_decision(name, error)) from None
        finally:
            if call.head is not None:
                self.record.upstream_status = call.head.status
        return call.answer()

    def _unexpected(self, answer: UpstreamAnswer, needed: Access) -> LfsError:
        driver = self.verdict.driver
        return upstream_errors.of_forge(
            answer.status, driver, needed, anonymous=self._anonymous, retry_after=answer.retry_after
        )
