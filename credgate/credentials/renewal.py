"""What a forge gives for a token that is used up in asking: the next credential, and the next token to ask with.

``kept`` must be on disk before ``secret`` is used, because the forge may have ended what was asked with. A credential
is renewed early by a margin: five minutes for what lives an hour, a quarter for what lives shorter, so that no request
sets out with a token that ends on its way. Seconds everywhere; nothing here reads a clock.
"""

from __future__ import annotations

from attrs import field, frozen

MARGIN = 300.0
"""Seconds before its end that a minted token is replaced."""


@frozen(slots=True)
class Renewed:
    """A credential for ``lifetime`` seconds, and what the one after it is asked with."""

    secret: str = field(repr=False)
    kept: str = field(repr=False)
    lifetime: float


def early(lifetime: float) -> float:
    """Return how long before the end of ``lifetime`` a credential is replaced."""
    return min(MARGIN, lifetime / 4)
