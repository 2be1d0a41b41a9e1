"""Handles: what a client holds instead of an ``href``, and what the gateway remembers for each.

A handle is 32 random bytes, given to one session for one repository, method and object, and good for nothing else.
Beside it the client needs either the session's credential or the handle's own secret, another 32 random bytes, which
the batch answer tells it to send in the field ``X-Credgate-Handle``; of the secret only a digest is kept. What a handle
stands for (storage host, signature, headers) stays in this table and
in memory only. The table is bounded, by session and in all, in bytes; its oldest entries make room for new ones. A
handle that is gone (made room, ran out, a restart) is refused in a way that git-lfs answers with a new batch, so
nothing is lost by forgetting: that is why there is no sealed token, whose key would have to be kept, whose length would
grow with the signature inside and which nobody could take back.

Reads no clock and makes no randomness: both come in.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

from credgate.sessions.tokens import digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.lfs.hrefs import Href
    from credgate.lfs.target import Call
    from credgate.values import RepoPath

SESSION_BYTES: Final = 8 * 1024 * 1024
"""Of one session's actions: some 5,000 with long signatures, fifty batches of git-lfs's."""
ALL_BYTES: Final = 64 * 1024 * 1024
LIFETIME: Final = 24 * 3600.0
"""Seconds that a handle is good for at most, and if the forge says nothing."""
FIELD: Final = "X-Credgate-Handle"
"""What carries a handle's secret. Not ``Authorization``: where the session's is an ``http.extraHeader``, git-lfs adds
that to an action's own, and a request with two is refused."""
_OVERHEAD: Final = 960
"""Bytes of an entry beside its texts, measured generously."""

Fields = tuple[tuple[bytes, bytes], ...]


@frozen(slots=True)
class Action:
    """What may be done with one object: asked of the storage as the forge said, and counted and hashed here."""

    session: str
    """A session's public id."""
    repo: RepoPath
    call: Call
    """``DOWNLOAD``, ``UPLOAD`` or ``VERIFY``."""
    oid: str
    size: int
    href: Href = field(repr=False)
    fields: Fields = field(repr=False)
    """What the forge wants sent with it; may be its credential, or the storage's."""
    chunked: bool
    """Whether the storage wants the upload in chunks."""
    login: bool
    """Whether it is asked with the forge's own credential: only ever at the forge's own place."""
    expires: float
    """Monotonic seconds."""

    @property
    def cost(self) -> int:
        """Bytes that it counts for."""
        return _OVERHEAD + len(self.href.target) + sum(len(name) + len(value) for name, value in self.fields)


@frozen(slots=True)
class Handle:
    """A handle as it is given out."""

    name: str
    """What stands in the URL."""
    secret: str = field(repr=False)


@define(eq=False)
class Handles:
    """All handles that were given out. ``random`` returns a new one, 43 characters of URL-safe base64."""

    random: Callable[[], str] = field(repr=False)
    session_bytes: int = SESSION_BYTES
    all_bytes: int = ALL_BYTES
    _actions: dict[str, Action] = field(factory=dict, init=False, repr=False)
    """By handle, oldest first."""
    _secrets: dict[str, bytes] = field(factory=dict, init=False, repr=False)
    """Digests, by handle."""
    _of: dict[str, dict[str, None]] = field(factory=dict, init=False, repr=False)
    """A session's handles, oldest first."""
    _held: dict[str, int] = field(factory=dict, init=False)
    held: int = field(default=0, init=False)
    """Bytes, in all."""

    def give(self, action: Action) -> Handle:
        """Remember ``action`` and return its handle; what is oldest makes room."""
        handle, secret = self.random(), self.random()
        self._actions[handle], self._secrets[handle] = action, digest(secret)
        self._of.setdefault(action.session, {})[handle] = None
        self._held[action.session] = self._held.get(action.session, 0) + action.cost
        self.held += action.cost
        while self._held[action.session] > self.session_bytes and len(self._of[action.session]) > 1:
            self._drop(next(iter(self._of[action.session])))
        while self.held > self.all_bytes and len(self._actions) > 1:
            self._drop(next(iter(self._actions)))
        return Handle(handle, secret)

    def owner(self, handle: str, secret: str, repo: RepoPath, call: Call, now: float) -> str | None:
        """Return the public id of the session that the handle was given to, if ``secret`` is the handle's own.

        Only for the repository and method that it was given for: it proves its session for nothing else.
        """
        action, known = self._actions.get(handle), self._secrets.get(handle, b"")
        right = hmac.compare_digest(known, digest(secret))
        if action is None or not right or (action.repo, action.call) != (repo, call) or now >= action.expires:
            return None
        return action.session

    def find(self, handle: str, session: str, repo: RepoPath, call: Call, now: float) -> Action | None:
        """Return what the handle stands for, if it was given to this session for this repository and method."""
        action = self._actions.get(handle)
        if action is None or (action.session, action.repo, action.call) != (session, repo, call):
            return None
        if now >= action.expires:
            self._drop(handle)
            return None
        return action

    def forget(self, session: str) -> None:
        """Drop all handles of a session that has ended."""
        for handle in list(self._of.get(session, ())):
            self._drop(handle)

    def __len__(self) -> int:
        return len(self._actions)

    def _drop(self, handle: str) -> None:
        action = self._actions.pop(handle)
        del self._secrets[handle]
        self.held -= action.cost
        self._held[action.session] -= action.cost
        del self._of[action.session][handle]
        if not self._of[action.session]:
            del self._of[action.session], self._held[action.session]
