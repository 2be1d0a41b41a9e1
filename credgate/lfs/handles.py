"""Handles: the links that a client gets instead of the forge's, and the table of what each stands for.

A handle is 32 random bytes, valid for one session, repository, method and object. With it the client must send either
the session's credential or the handle's own secret: another 32 random bytes, which the batch answer has it send in the
field ``X-Credgate-Handle``. Only a digest of the secret is kept.

The storage's host, signature and fields stay in this table, in memory. It has a size limit in bytes, for each session
and in all; the oldest entries are removed for new ones. An unknown handle (removed, expired, from before a restart) is
refused with 404, upon which git-lfs asks for a new batch. Sealed tokens instead of a table would need a key on disk,
would grow with the signatures and could not be revoked.

Reads no clock and has no source of randomness: the caller passes both.
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

# Bytes of the actions of one session: some 5,000 with long signatures, fifty batches of git-lfs.
SESSION_BYTES: Final = 8 * 1024 * 1024
ALL_BYTES: Final = 64 * 1024 * 1024
# Seconds until a handle expires at the latest, and if the forge gives no expiry.
LIFETIME: Final = 24 * 3600.0
# The field for a handle's secret. Not ``Authorization``: git-lfs adds a configured ``http.extraHeader`` with the
# session's credential to the fields of an action, and a request with two is refused.
FIELD: Final = "X-Credgate-Handle"
# Bytes of an entry besides its texts: an upper bound, measured.
_OVERHEAD: Final = 960

Fields = tuple[tuple[bytes, bytes], ...]


@frozen(slots=True)
class Action:
    """One permitted transfer or verification of one object."""

    session: str
    """A session's public id."""
    repo: RepoPath
    call: Call
    """``DOWNLOAD``, ``UPLOAD`` or ``VERIFY``."""
    oid: str
    size: int
    href: Href = field(repr=False)
    fields: Fields = field(repr=False)
    """The fields for the storage; they may hold a credential of the forge or of the storage."""
    chunked: bool
    """Whether the storage expects the upload in chunks."""
    login: bool
    """Whether the forge's own credential is sent: only ever true for the forge's own host, port and scheme."""
    expires: float
    """Monotonic seconds."""

    @property
    def cost(self) -> int:
        """The bytes that an entry counts for in the limits."""
        return _OVERHEAD + len(self.href.target) + sum(len(name) + len(value) for name, value in self.fields)


@frozen(slots=True)
class Handle:
    """A new handle."""

    name: str
    """The last part of the URL's path."""
    secret: str = field(repr=False)


@define(eq=False)
class Handles:
    """The table of handles. ``random`` returns 32 random bytes in URL-safe base64 (43 characters)."""

    random: Callable[[], str] = field(repr=False)
    session_bytes: int = SESSION_BYTES
    all_bytes: int = ALL_BYTES
    # By handle, oldest first.
    _actions: dict[str, Action] = field(factory=dict, init=False, repr=False)
    # Digests, by handle.
    _secrets: dict[str, bytes] = field(factory=dict, init=False, repr=False)
    # The handles of each session, oldest first.
    _of: dict[str, dict[str, None]] = field(factory=dict, init=False, repr=False)
    _held: dict[str, int] = field(factory=dict, init=False)
    held: int = field(default=0, init=False)
    """Bytes in all."""

    def give(self, action: Action) -> Handle:
        """Store ``action`` and return its handle; the oldest entries are removed if there is no room."""
        handle, secret = self.random(), self.random()
        # Only a digest of the secret is kept.
        self._actions[handle], self._secrets[handle] = action, digest(secret)
        self._of.setdefault(action.session, {})[handle] = None
        self._held[action.session] = self._held.get(action.session, 0) + action.cost
        self.held += action.cost
        # The new handle itself is never removed, however large it is.
        while self._held[action.session] > self.session_bytes and len(self._of[action.session]) > 1:
            self._drop(next(iter(self._of[action.session])))
        while self.held > self.all_bytes and len(self._actions) > 1:
            self._drop(next(iter(self._actions)))
        return Handle(handle, secret)

    def owner(self, handle: str, secret: str, repo: RepoPath, call: Call, now: float) -> str | None:
        """Return the public id of the handle's session if ``secret``, ``repo`` and ``call`` match the handle."""
        action, known = self._actions.get(handle), self._secrets.get(handle, b"")
        # The digest is computed for an unknown handle as well, so that the time does not show whether it exists.
        matches = hmac.compare_digest(known, digest(secret))
        if action is None or not matches or (action.repo, action.call) != (repo, call) or now >= action.expires:
            return None
        return action.session

    def find(self, handle: str, session: str, repo: RepoPath, call: Call, now: float) -> Action | None:
        """Return the action of the handle, if it was made for this session, repository and method."""
        action = self._actions.get(handle)
        if action is None or (action.session, action.repo, action.call) != (session, repo, call):
            return None
        if now >= action.expires:
            self._drop(handle)
            return None
        return action

    def forget(self, session: str) -> None:
        """Remove all handles of a session that has ended."""
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
