"""Audit lines of short-lived credentials: made, revoked or refused. They name ids, never values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from credgate.audit.event import Event, Happening
from credgate.credentials.installation_tokens import permissions

if TYPE_CHECKING:
    from collections.abc import Callable

    from credgate.credentials.repositories import TokenScope
    from credgate.errors import CredentialError
    from credgate.service.audit.log import AuditLog
    from credgate.service.credentials.sources import Credential, SourceKind

_log = Logger()


class CredentialAudit:
    """Writes the audit lines of one forge's source."""

    def __init__(self, audit: AuditLog, forge: str, kind: SourceKind, wall: Callable[[], float]) -> None:
        self._audit, self._forge, self._kind, self._wall = audit, forge, kind, wall

    def minted(self, credential: Credential, scope: TokenScope | None = None) -> None:
        """Record a new credential."""
        self._write(Happening.CREDENTIAL_MINTED, credential, scope)

    def revoked(self, credential: Credential, scope: TokenScope, *, done: bool) -> None:
        """Record a revocation; not ``done``: the credential may live to its end."""
        text = "" if done else "the forge did not confirm it; it ends by itself"
        self._write(Happening.CREDENTIAL_REVOKED, credential, scope, text, allow=done)

    def failed(self, error: CredentialError, scope: TokenScope | None = None) -> None:
        """Record, and log, that no credential could be made."""
        _log.warn("{text}", text=error.text)
        self._write(Happening.CREDENTIAL_FAILED, None, scope, error.text, error.reason.value, allow=False)

    def _write(  # noqa: PLR0913 - the fields of one line
        self,
        event: Happening,
        credential: Credential | None,
        scope: TokenScope | None,
        text: str = "",
        reason: str = "",
        *,
        allow: bool | None = None,
    ) -> None:
        # Ids and permissions only, never a value.
        asked = {} if scope is None else permissions(scope)
        self._audit.write(
            Event(
                wall=self._wall(),
                event=event,
                forge=self._forge,
                allow=allow,
                reason=reason,
                credential="" if credential is None else credential.id,
                credential_kind=self._kind,
                expires=None if credential is None else credential.expires_at,
                permissions=", ".join(f"{name}: {level}" for name, level in asked.items()),
                repositories=() if scope is None else tuple(scope.repositories.sorted),
                text=text,
            )
        )
