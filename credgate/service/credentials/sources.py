"""Where a forge's credentials come from, as the rest of credgate sees it: one ``Source`` a reference or minting table.

A source hands out what it has (``at_hand``: no I/O, asked on every request) or gets it (``obtain``: a file read again,
a command run, a token minted). It is asked for what a request needs (``CredentialRequest``), so that a source that
mints can mint for exactly that. Ids name values: they change with them and are never made from them, so pools, audit
lines and status pages may show an id where they must never show a secret.

A source raises ``CredentialError`` and nothing else that a request could cause; what else it raises is a defect. Calls
may overlap: a source that does I/O does it once for all who wait (single flight), and a waiter that is cancelled takes
nobody else's result away.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from attrs import field, frozen

if TYPE_CHECKING:
    from credgate.sessions.model import Session
    from credgate.values import Access, RepoPath

SourceKind = Literal["env", "file", "cmd", "systemd", "keyring", "app", "oauth", "rotated", "none"]


@frozen(slots=True)
class Credential:
    """What a forge accepts. ``id`` names one value of it; ``expires_at`` is wall seconds, ``None`` if nobody knows."""

    id: str
    secret: str = field(repr=False)
    kind: SourceKind = "env"
    expires_at: float | None = None


ANONYMOUS = Credential("", "", "none")
"""Stands for no credential, where none is configured: neither an id nor a secret is ever empty otherwise."""


@frozen(slots=True)
class CredentialRequest:
    """What a credential is needed for: one repository, one kind of access, on behalf of one session."""

    repo: RepoPath
    access: Access
    session: Session


@frozen(slots=True)
class SourceDescription:
    """One credential as status pages show it. ``id`` is ``""`` while there is none, ``trouble`` while all is well."""

    id: str
    kind: SourceKind
    expires_at: float | None = None
    trouble: str = ""
    """One printable line that holds no secret."""


class Source(Protocol):
    """One place that credentials come from."""

    kind: SourceKind

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        """Return what can be used now; ``None``: ask ``obtain``. No I/O; on the path of every request."""
        ...

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """Get a credential; with ``refused``, the id of one that the forge rejected, another value than that.

        Raises ``CredentialError`` if there is none, or no other.
        """
        ...

    async def session_ended(self, session: Session) -> None:
        """Take back what was made for this session alone. Raises nothing that a forge's answer could cause."""
        ...

    def describe(self) -> list[SourceDescription]:
        """Return what is held, for status pages. No I/O, no secret."""
        ...


@runtime_checkable
class Renewing(Protocol):
    """A source that renews by itself, while it is started."""

    def start(self) -> None:
        """Begin, in the reactor."""
        ...

    def stop(self) -> None:
        """Renew no more."""
        ...


@runtime_checkable
class Proving(Protocol):
    """A source that can ask its forge whether it would be given a credential, without being given one."""

    async def prove(self, path: str) -> None:
        """Ask, for the repository ``path`` or, if that is "", in general. Raises ``CredentialError`` unless it is."""
        ...


class Ids:
    """Ids for one source's values: keyed digests of a running number, so that none says anything of its value.

    The key is this object's own and dies with it: two processes with one secret call it differently.
    """

    def __init__(self, name: str) -> None:
        """``name`` is the source's, unique in the process: a forge's name and what the operator wrote the source as."""
        self._name, self._count, self._key = name, 0, os.urandom(32)

    def another(self) -> str:
        """Return the id of the next value: twelve hexadecimal digits."""
        self._count += 1
        named = f"{self._name}\0{self._count}".encode()
        return hmac.new(self._key, named, hashlib.sha256).hexdigest()[:12]
