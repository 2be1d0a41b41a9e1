"""The meaning of a forge's error status, for the user whose git command failed.

The user did not make the request that failed: credgate did, with its own stored credential. So each sentence states
that the forge answered, what the status most likely means, and who can help, without a byte of the forge's response.
``COMMON`` is for any forge; a driver's own words come first, for a status alone or for a status and the access that the
request needed. ``docs/operations.md`` lists all of them, and a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping

from credgate.values import Access

Words = Mapping[int | tuple[int, Access], str]
"""Words by status, or by status and access; 500 is the entry for all of 5xx, 400 for all other statuses."""

# Maximum bytes: with the text before them, git shows the line whole for a forge's name of 35 bytes.
MAX_WORDS = 140

_OPERATOR = "ask the operator of this gateway"
COMMON: Words = {
    400: "it did not accept the request that credgate relayed",
    401: f"it refused credgate's stored credential; {_OPERATOR} to renew it",
    (403, Access.READ): f"credgate's credential may not read this repository; {_OPERATOR}",
    (403, Access.WRITE): f"credgate's credential may not write to this repository; {_OPERATOR}",
    (404, Access.READ): "no such repository, or credgate's credential may not read it",
    (404, Access.WRITE): "no such repository, or credgate's credential may not write to it",
    407: f"a proxy between credgate and the forge requires a login; {_OPERATOR}",
    410: "the repository was removed there permanently",
    413: "the request is larger than the forge takes",
    429: "it limits credgate's requests; try again later",
    451: "it blocks this repository for legal reasons; the operator of this gateway cannot change that",
    500: "the forge reports an internal error; try again later",
}


def sentence(forge: str, status: int, access: Access, own: Words | None = None) -> str:
    """Return one line about ``forge`` (its configured name) answering ``status`` to a request.

    ``own`` are the words of the forge's kind.
    """
    rest = 500 if status >= 500 else 400  # noqa: PLR2004  (RFC 9110 section 15.6: the server's own failure)
    tables, keys = (own or {}, COMMON), ((status, access), status)
    words = next((table[key] for table in tables for key in keys if key in table), None)
    return f"{forge} answered {status}: {words or (own or {}).get(rest) or COMMON[rest]}"
