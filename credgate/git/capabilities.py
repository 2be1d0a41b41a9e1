"""The capabilities of a push: those that exist, which of them carry a value, and how a line of them is read.

    capabilities = [SP] *(word SP) [word]
    word         = flag / key "=" value

git's own reader (``parse_feature_value``) takes ``atomic=1`` for ``atomic``, and ``push-options=1`` for
``push-options``. Another reader takes neither. So a flag with a value is malformed here, and so is a key without one:
what is accepted means the same to every reader. ``push`` reads by these names, ``commandlist`` writes by them.
"""

from __future__ import annotations

import re

FLAGS = frozenset(
    {
        b"report-status",
        b"report-status-v2",
        b"delete-refs",
        b"side-band-64k",
        b"quiet",
        b"atomic",
        b"ofs-delta",
        b"push-options",
    }
)
"""Those without a value that a client may send to ``receive-pack`` (gitprotocol-capabilities)."""
VALUED = frozenset({b"object-format", b"agent", b"session-id"})
"""Those with a value; no other capability of a push has one."""
FORWARDED = FLAGS | {b"object-format", b"agent"}
"""Those that the forge is sent. ``session-id`` names the client's run in a server's trace and is left out."""

_LINE = re.compile(rb" ?(?:[!-~]+(?: [!-~]+)*)? ?")


def parse(text: bytes) -> tuple[bytes, ...]:
    """Return the words of a capability line. Raises ``ValueError`` with the reason if it is malformed.

    Words that are not known are returned as well, if they have no value; nothing is decided by them and they are not
    forwarded.
    """
    if _LINE.fullmatch(text) is None:
        raise ValueError("malformed capabilities")
    words = tuple(text.split())
    keys = set()
    for word in words:
        key, equals, value = word.partition(b"=")
        if key in keys:
            # git uses the first, another reader may use the last
            raise ValueError("the same capability twice")
        keys.add(key)
        if key in VALUED and not value:
            raise ValueError(f"the capability {key.decode()} without a value")
        if key not in VALUED and equals:
            raise ValueError("a capability with a value that takes none")
    return words


def name(word: bytes) -> bytes:
    """Return the name of a capability, without its value."""
    return word.partition(b"=")[0]
