"""What a forge's error status means to the person whose git command failed, in words that hold for any forge.

The reader did not make the request that failed: credgate did, with its own stored credential. So every sentence says
that the forge answered, what it most likely means, and who can help. Never a byte of the forge's own answer.
"""

from __future__ import annotations

from credgate.values import Access

_DEED = {Access.READ: "read", Access.WRITE: "write to"}
_OPERATOR = "ask the operator of this gateway"


def sentence(forge: str, status: int, access: Access) -> str:
    """Write one line for people about ``forge`` (its configured name) answering ``status`` (400-599) to a request."""
    said = f"{forge} answered {status}"
    texts = {
        401: f"{said}: it refused credgate's stored credential; {_OPERATOR} to renew it",
        403: f"{said}: credgate's credential may not {_DEED[access]} this repository; {_OPERATOR}",
        404: f"{said}: no such repository, or credgate's credential may not {_DEED[access]} it",
        407: f"{said}: a proxy between credgate and the forge asks for a login; {_OPERATOR}",
        413: f"{said}: the request is larger than the forge takes",
        429: f"{said}: it limits credgate's requests; try again later",
    }
    if status in texts:
        return texts[status]
    if status >= 500:  # noqa: PLR2004  (RFC 9110 section 15.6: the server's own failure)
        return f"{said}: the forge has trouble of its own; try again later"
    return f"{said}: it did not accept the request that credgate relayed"
