"""A relayed request as the forge receives it, and what of it is needed to send it a second time.

A request may be sent again only if it cannot have had an effect (a push may have), and only while all of its body that
was sent is still in memory: ``REPLAY_BYTES`` are kept, which is more than any fetch of git sends except for the largest
negotiations. The caller decides how often: at most once after a closed connection, and once after a refused credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import (
    Deferred,
    TimeoutError,  # noqa: A004 - Twisted's own, as addTimeout raises it
)

from credgate.errors import CredentialError
from credgate.http import header_policy
from credgate.service.credentials.sources import ANONYMOUS, CredentialRequest
from credgate.service.upstream.pool import Key

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from credgate.git.authorize import LfsRelay, Relay
    from credgate.http.grammar import RequestHead
    from credgate.service.credentials.forge_credentials import Credentials
    from credgate.service.credentials.sources import Credential

REPLAY_BYTES = 64 * 1024
"""Bytes of the framed body that are kept for a second try."""
LATE_SECONDS = 30
"""Seconds after which a client may ask again if its credential did not come in time."""


def credential_request(verdict: Relay | LfsRelay) -> CredentialRequest:
    """Return the credential that a request needs; after a rename, for the new name of the repository."""
    return CredentialRequest(verdict.request.repo, verdict.request.needed, verdict.session)


async def fetch_credential(
    credentials: Credentials, wanted: CredentialRequest, refused: str, reactor: IReactorTime, seconds: float
) -> Credential:
    """Fetch a credential in at most ``seconds``; ``refused`` is the id of one that the forge rejected, or ``""``.

    Raises ``CredentialError``.
    """
    fetching = Deferred.fromCoroutine(credentials.fetch(wanted, refused))
    try:
        return await fetching.addTimeout(seconds, reactor)
    except TimeoutError:
        raise CredentialError(f"no credential came within {seconds:g} s", retry_after=LATE_SECONDS) from None


class UpstreamRequest:
    """One request. ``address`` must be called before ``key`` and ``lines`` are read.

    ``recoded``: the body is written anew, in chunks. ``read``: credgate reads the body of the answer, so the forge must
    not be allowed to code it.
    """

    key: Key
    """The connections that the request may use."""
    lines: bytes
    """Its head."""

    def __init__(self, head: RequestHead, *, recoded: bool, read: bool) -> None:
        self._head, self._recoded = head, recoded
        self._drop = [name for name, drops in ((b"content-encoding", recoded), (b"accept-encoding", read)) if drops]
        self.method = head.method
        self.chunked = head.chunked or recoded
        self._sent: list[bytes] | None = []
        self._size = 0
        self.credential: Credential = ANONYMOUS

    @property
    def secret(self) -> str:
        """A text that the answer must not contain; ``""``: none."""
        return self.credential.secret

    def address(self, verdict: Relay, credential: Credential) -> None:
        """Write the head for the repository that ``verdict`` names, with ``credential``."""
        self.credential = credential
        self.key = Key(verdict.driver.forge.name, credential.id)
        self.lines = header_policy.upstream_head(
            method=self.method,
            path=verdict.driver.path(verdict.path, verdict.request.tail, dot_git=verdict.dot_git),
            host=verdict.driver.authority,
            head=self._head,
            authorization=verdict.driver.login(credential.secret) if credential.secret else None,
            # A body that is written anew is sent in chunks: its length is unknown until it ends.
            length=None if self._recoded else self._head.length,
            # The client's coding fields describe a body that the forge does not get, or an answer that credgate reads.
            drop=self._drop,
        )

    def record_sent(self, parts: list[bytes]) -> None:
        """Keep framed body bytes that are sent, until there are more than ``REPLAY_BYTES``."""
        if self._sent is not None:
            self._sent += parts
            self._size += sum(map(len, parts))
            if self._size > REPLAY_BYTES:
                self._sent = None

    def replay_body(self) -> list[bytes] | None:
        """Return all body bytes that were sent; None if they are not kept any more."""
        return None if self._sent is None else list(self._sent)
