"""What the forge is asked: the head in its form for the forge, and as much of the body as a second try needs.

A request may be sent again only if it cannot have had an effect (no push is), and only as long as all that was sent of
it is still here: ``REPLAY_BYTES`` are kept, which is more than any fetch of git's but the largest negotiations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.http import crossing
from credgate.service.forge import Key

if TYPE_CHECKING:
    from credgate.git.admission import Relay
    from credgate.http.fields import RequestHead
    from credgate.service.credentials import Credentials

REPLAY_BYTES = 64 * 1024
"""Bytes of a repeatable request's framed body that are kept for a second try."""


class Question:
    """One request as the forge sees it. ``key`` says which connections it may use, ``lines`` is its head.

    ``recoded``: the body is written anew, in chunks; ``read``: the answer's body is read here, and must not be coded.
    ``secret`` is the credential in it, ``""`` without one: what the answer must not repeat.
    """

    def __init__(
        self, credentials: Credentials, head: RequestHead, verdict: Relay, *, recoded: bool, read: bool
    ) -> None:
        self._credentials, self._head, self._recoded = credentials, head, recoded
        self._drop = [name for name, drops in ((b"content-encoding", recoded), (b"accept-encoding", read)) if drops]
        self.method = head.method
        self.chunked = head.chunked or recoded
        self._said: list[bytes] | None = []
        self._size = 0
        self.secret = ""
        self.key, self.lines = self._address(verdict)

    def redirect(self, verdict: Relay) -> None:
        """Ask for what ``verdict`` names instead, with the credential of now."""
        self.key, self.lines = self._address(verdict)

    def _address(self, verdict: Relay) -> tuple[Key, bytes]:
        forge = verdict.driver.forge.name
        credential = self._credentials.current(forge)
        self.secret = credential.secret if credential else ""
        lines = crossing.upstream_head(
            method=self.method,
            path=verdict.driver.path(verdict.path, verdict.request.tail, dot_git=verdict.dot_git),
            host=verdict.driver.authority,
            head=self._head,
            authorization=verdict.driver.login(self.secret) if credential else None,
            length=None if self._recoded else self._head.length,
            drop=self._drop,
        )
        return Key(forge, credential.id if credential else ""), lines

    def says(self, parts: list[bytes]) -> None:
        """Note framed body bytes that are sent."""
        if self._said is not None:
            self._said += parts
            self._size += sum(map(len, parts))
            if self._size > REPLAY_BYTES:
                self._said = None

    def said(self) -> list[bytes] | None:
        """Return all body bytes so far, for the one second try; None if there can be none."""
        said, self._said = self._said, None
        return said
