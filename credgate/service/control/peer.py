"""Who is at the other end of the control socket, as the kernel tells it, and whether they may use it.

Linux notes the credentials of whoever called connect() (unix(7), SO_PEERCRED); they cannot be forged and do not change
for the life of the connection, so they are read and judged once, when the connection is made and before a byte is read.
Admitted: root, the uid that credgate runs as, and the uids that the operator lists. The pid is read by nobody: it may
have been given to another process since.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from twisted.internet.interfaces import ITransport

_UCRED = struct.Struct("3i")
"""``struct ucred``: pid, uid, gid."""
_ROOT = 0


@frozen(slots=True)
class Peer:
    """The user at the other end, at the time of its connect()."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"uid:{self.uid}"


def read_peer(transport: ITransport) -> Peer | None:
    """Return the peer of a connected UNIX transport; ``None`` when the kernel does not tell."""
    try:
        handle = transport.getHandle()  # type: ignore[attr-defined]  # ISystemHandle; both kinds of socket have it
        packed = handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, gid = _UCRED.unpack(packed)
    except (OSError, struct.error):
        return None
    # What is no UNIX socket answers pid 0 and uid and gid -1: nobody.
    return Peer(uid=uid, gid=gid) if uid >= 0 else None


@frozen(slots=True)
class PeerRule:
    """Which peers may use the control API. ``own_uid`` is asked each time: twistd changes its uid later than this."""

    allow_uids: Collection[int] = ()
    own_uid: Callable[[], int] = os.geteuid

    def is_own(self, uid: int) -> bool:
        """Whether a user is root or our own."""
        return uid in (_ROOT, self.own_uid())

    def admits(self, peer: Peer | None) -> bool:
        """Whether this peer may; an unknown one may not."""
        return peer is not None and (self.is_own(peer.uid) or peer.uid in self.allow_uids)
