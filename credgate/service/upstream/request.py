"""What the forge is asked: the head in its form for the forge, and as much of the body as a second try needs.

A request may be sent again only if it cannot have had an effect (no push is), and only as long as all that was sent of
it is still here: ``REPLAY_BYTES`` are kept, which is more than any fetch of git's but the largest negotiations. How
often it is tried, others decide: at most once for a connection that was closed, and once for a refused credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.http import header_policy
from credgate.service.credentials.sources import ANONYMOUS, CredentialRequest
from credgate.service.upstream.pool import Key

if TYPE_CHECKING:
    from credgate.git.authorize import LfsRelay, Relay
    from credgate.http.grammar import RequestHead
    from credgate.service.credentials.sources import Credential

REPLAY_BYTES = 64 * 1024
"""Bytes of a repeatable request's framed body that are kept for a second try."""


def credential_request(verdict: Relay | LfsRelay) -> CredentialRequest:
    """Return what a request needs a credential for: the repository that is asked, which after a rename is the new."""
    return CredentialRequest(verdict.request.repo, verdict.request.needed, verdict.session)


class UpstreamRequest:
    """One request as the forge sees it. ``key`` says which connections it may use, ``lines`` is its head.

    Both are made by ``address``, and not there before. ``recoded``: the body is written anew, in chunks; ``read``: the
    answer's body is read here, and must not be coded. ``credential`` is what it is sent with.
    """

    key: Key
    lines: bytes

    def __init__(self, head: RequestHead, *, recoded: bool, read: bool) -> None:
        self._head, self._recoded = head, recoded
        self._drop = [name for name, drops in ((b"content-encoding", recoded), (b"accept-encoding", read)) if drops]
        self.method = head.method
        self.chunked = head.chunked or recoded
        self._said: list[bytes] | None = []
        self._size = 0
        self.credential: Credential = ANONYMOUS

    @property
    def secret(self) -> str:
        """What the answer must not repeat; ``""``: nothing."""
        return self.credential.secret

    def address(self, verdict: Relay, credential: Credential) -> None:
        """Ask for what ``verdict`` names, with ``credential``."""
        self.credential = credential
        self.key = Key(verdict.driver.forge.name, credential.id)
        self.lines = header_policy.upstream_head(
            method=self.method,
            path=verdict.driver.path(verdict.path, verdict.request.tail, dot_git=verdict.dot_git),
            host=verdict.driver.authority,
            head=self._head,
            authorization=verdict.driver.login(credential.secret) if credential.secret else None,
            length=None if self._recoded else self._head.length,
            drop=self._drop,
        )

    def record_sent(self, parts: list[bytes]) -> None:
        """Note framed body bytes that are sent."""
        if self._said is not None:
            self._said += parts
            self._size += sum(map(len, parts))
            if self._size > REPLAY_BYTES:
                self._said = None

    def replay_body(self) -> list[bytes] | None:
        """Return all body bytes so far, for another try; None if they are not here any more."""
        return None if self._said is None else list(self._said)
