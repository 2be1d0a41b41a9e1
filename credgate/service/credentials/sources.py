"""The interface between the credential sources and the rest of credgate: one ``Source`` a reference or forge table.

A source returns a credential from memory (``cached``: no I/O, called on every request) or gets one (``fetch``: reads a
file again, runs a command, asks the forge for a token). Both take a ``CredentialRequest``, so that a source can make a
credential that is limited to what the request needs.

The id of a credential names one value. It changes with the value and is not derived from it, so connection pools,
audit lines and status pages may show it. A secret is never shown.

A source raises ``CredentialError`` and nothing else that a request could cause; any other exception is a defect. Calls
may overlap: a source that does I/O does it once for all callers that wait, and the cancellation of one caller does not
affect the others.
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
    """A secret that a forge accepts. ``id`` names its value; ``expires_at`` is in wall seconds, ``None``: unknown."""

    id: str
    secret: str = field(repr=False)
    kind: SourceKind = "env"
    expires_at: float | None = None


ANONYMOUS = Credential("", "", "none")
"""No credential: used where none is configured. Every other credential has an id and a secret."""


@frozen(slots=True)
class CredentialRequest:
    """The use of a credential: one repository, one kind of access, one session."""

    repo: RepoPath
    access: Access
    session: Session


@frozen(slots=True)
class SourceDescription:
    """One credential as status pages show it. ``id`` is ``""`` while there is no credential."""

    id: str
    kind: SourceKind
    expires_at: float | None = None
    trouble: str = ""
    """The last failure in one printable line without a secret; ``""`` after a success."""


class Source(Protocol):
    """One source of credentials."""

    kind: SourceKind

    def cached(self, wanted: CredentialRequest) -> Credential | None:
        """Return a credential that can be used now; ``None``: call ``fetch``. Does no I/O; called on every request."""
        ...

    async def fetch(self, wanted: CredentialRequest, refused: str = "") -> Credential:
        """Return a credential. ``refused`` is the id of one that the forge refused: another value is needed then.

        Raises ``CredentialError`` if there is no credential, or no other.
        """
        ...

    async def session_ended(self, session: Session) -> None:
        """Revoke the credentials that only this session used. No response of a forge makes it raise."""
        ...

    def describe(self) -> list[SourceDescription]:
        """Return the credentials for status pages, without secrets. Does no I/O."""
        ...


@runtime_checkable
class Renewing(Protocol):
    """A source that renews its credential by a timer."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


@runtime_checkable
class Proving(Protocol):
    """A source that can ask its forge whether it would get a credential, without getting one."""

    async def prove(self, path: str) -> None:
        """Ask for the repository ``path``, or in general if that is "". Raises ``CredentialError`` if refused."""
        ...


class Ids:
    """Make the ids of one source's values: keyed digests of a counter, so that an id reveals nothing of its value.

    The key is random and is never stored: two processes give the same secret different ids.
    """

    def __init__(self, name: str) -> None:
        """``name`` is unique in the process: the forge's name and the source's reference."""
        self._name, self._count, self._key = name, 0, os.urandom(32)

    def another(self) -> str:
        """Return the id of the next value: twelve hexadecimal digits."""
        self._count += 1
        named = f"{self._name}\0{self._count}".encode()
        return hmac.new(self._key, named, hashlib.sha256).hexdigest()[:12]
