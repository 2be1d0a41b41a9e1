"""The login form that forges take: HTTP Basic (RFC 7617), the token as the password.

Sent with every upstream request, also on git's probe: a forge never has to ask. Holds no secret; what comes out is
one and goes nowhere but into an upstream head.
"""

from __future__ import annotations

from base64 import b64encode


def basic(user: str, secret: str) -> bytes:
    """Return the ``Authorization`` value for ``user`` (no colon in it) and ``secret``, both sent as UTF-8."""
    return b"Basic " + b64encode(f"{user}:{secret}".encode())
