"""The tables of a forge whose credentials are short-lived: what is needed to get the next one.

``[forges."NAME".app]``, ``.oauth`` and ``.rotate``; a forge has one of them at most (``rules``). Every secret here is a
reference (``config.secrets``), read when it is used. Values only: nothing is fetched.
"""

from __future__ import annotations

from attrs import field, frozen


@frozen(slots=True)
class AppConfig:
    """A GitHub App: its private key signs requests for installation tokens."""

    app_id: str = ""
    """The App's id or client id, as its settings show it."""
    private_key: str = field(default="", repr=False)
    """Reference to the PEM file."""
    installation_id: int = 0
    """0: looked up, repository by repository."""


@frozen(slots=True)
class OAuthConfig:
    """An OAuth 2.0 client with a refresh token (RFC 6749 section 6): Gitea, Forgejo, Bitbucket."""

    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    """Reference to the first one; later ones come from the forge and are kept in the state directory."""
    key: str = field(default="", repr=False)
    """Reference to what those are encrypted with."""


@frozen(slots=True)
class RotateConfig:
    """A GitLab access token that rotates itself."""

    token: str = field(default="", repr=False)
    """Reference to the first one; later ones are kept in the state directory."""
    key: str = field(default="", repr=False)
    """Reference to what those are encrypted with."""
    lifetime: float = 7 * 24 * 3600.0
    """Seconds that each new token is asked to live; it is rotated when half of them are over."""
