"""The login forms that forges take: HTTP Basic (RFC 7617) with the token as the password, or Bearer (RFC 6750).

Sent with every upstream request, also on git's probe: a forge never has to ask. Holds no secret; what comes out is
one and goes nowhere but into an upstream head.
"""

from __future__ import annotations

import re
from base64 import b64encode

_TOKEN = re.compile(r"[!-~]+")


def basic(user: str, secret: str) -> bytes:
    """Return the ``Authorization`` value for ``user`` (no colon in it) and ``secret``, both sent as UTF-8."""
    return b"Basic " + b64encode(f"{user}:{secret}".encode())


def bearer(secret: str) -> bytes:
    """Return the ``Authorization`` value of a token that stands alone.

    Raises ``ValueError`` for what is not visible ASCII: unlike in Basic it stands in the head as it is.
    """
    if _TOKEN.fullmatch(secret) is None:
        raise ValueError("not a token that a header field can hold")
    return b"Bearer " + secret.encode("ascii")
