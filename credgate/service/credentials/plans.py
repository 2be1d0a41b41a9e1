"""How a token that is used up in asking is asked with, its answer read and its refusal told: OAuth's, GitLab's own.

A plan knows its secrets and its forge's API; ``RefreshingSource`` knows when to ask and that the next token is kept
before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from credgate.credentials import gitlab_tokens, oauth
from credgate.credentials.renewal import early

if TYPE_CHECKING:
    from credgate.credentials.renewal import Renewed
    from credgate.credentials.token_request import Request
    from credgate.credentials.token_response import TokenResponse
    from credgate.errors import CredentialError
    from credgate.service.credentials.signing_secret import Secret
    from credgate.service.credentials.sources import SourceKind


class Plan(Protocol):
    """One kind."""

    @property
    def kind(self) -> SourceKind:
        """What its credentials are called."""
        ...

    @property
    def first(self) -> Secret:
        """The token that it all begins with."""
        ...

    @property
    def usable(self) -> bool:
        """Whether the kept token is itself the credential."""
        ...

    async def request(self, token: str, now: float) -> Request:
        """Make the request that asks with ``token``; ``now`` is wall seconds. Raises ``CredentialError``."""
        ...

    def read(self, answer: TokenResponse, asked_with: str, now: float) -> Renewed:
        """Return what the forge gave; raise ``Malformed``."""
        ...

    def refused(self, answer: TokenResponse, now: float) -> CredentialError:
        """Return what it means that the forge gave nothing."""
        ...

    def margin(self, lifetime: float) -> float:
        """Return how long before its end a credential is replaced."""
        ...


@frozen(slots=True)
class OAuthPlan:
    """Gitea, Forgejo, Bitbucket Cloud."""

    forge: str
    forge_kind: str
    client_id: str
    client_secret: Secret
    first: Secret
    kind: SourceKind = "oauth"
    usable: bool = False

    async def request(self, token: str, now: float) -> Request:
        """See :class:`Plan`."""
        return oauth.refresh(self.forge_kind, self.client_id, await self.client_secret.read(), token)

    def read(self, answer: TokenResponse, asked_with: str, now: float) -> Renewed:
        """See :class:`Plan`."""
        return oauth.read_refreshed(answer, asked_with)

    def refused(self, answer: TokenResponse, now: float) -> CredentialError:
        """See :class:`Plan`."""
        return oauth.refresh_error(self.forge, answer, now)

    def margin(self, lifetime: float) -> float:
        """See :class:`Plan`."""
        return early(lifetime)


@frozen(slots=True)
class RotatePlan:
    """GitLab."""

    forge: str
    lifetime: float
    first: Secret
    kind: SourceKind = "rotated"
    usable: bool = True

    async def request(self, token: str, now: float) -> Request:
        """See :class:`Plan`."""
        return gitlab_tokens.rotate(token, now, self.lifetime)

    def read(self, answer: TokenResponse, asked_with: str, now: float) -> Renewed:
        """See :class:`Plan`."""
        return gitlab_tokens.read_rotated(answer, now)

    def refused(self, answer: TokenResponse, now: float) -> CredentialError:
        """See :class:`Plan`."""
        return gitlab_tokens.rotate_error(self.forge, answer, now)

    def margin(self, lifetime: float) -> float:
        """See :class:`Plan`; half the life that was asked for, since a token that ends unrotated is lost."""
        return min(lifetime, self.lifetime) / 2
