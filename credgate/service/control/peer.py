"""The peer of the control socket, as the kernel reports it, and whether it has access.

Linux records the credentials of the process that called connect() (unix(7), SO_PEERCRED). They are read and checked
once, before any byte is read. Admitted are root, credgate's own uid and the uids that the operator lists.
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
    """The user of the peer at the time of its connect()."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"uid:{self.uid}"


def read_peer(transport: ITransport) -> Peer | None:
    """Return the peer of a connected UNIX transport; ``None`` if the kernel does not report it."""
    try:
        # unix(7): what the kernel recorded at connect(). It cannot be forged, and does not change afterwards.
        # The pid is not used: it may belong to another process by now.
        handle = transport.getHandle()  # type: ignore[attr-defined]  # ISystemHandle; both kinds of socket have it
        packed = handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, gid = _UCRED.unpack(packed)
    except (OSError, struct.error):
        return None
    # For other sockets the kernel reports pid 0 and uid and gid -1.
    return Peer(uid=uid, gid=gid) if uid >= 0 else None


@frozen(slots=True)
class PeerRule:
    """Which peers may use the control API. ``own_uid`` is called each time, since twistd changes its uid later."""

    allow_uids: Collection[int] = ()
    own_uid: Callable[[], int] = os.geteuid

    def is_own(self, uid: int) -> bool:
        """Return whether a user is root or credgate's own."""
        return uid in (_ROOT, self.own_uid())

    def admits(self, peer: Peer | None) -> bool:
        """Return whether this peer has access; an unknown one does not."""
        return peer is not None and (self.is_own(peer.uid) or peer.uid in self.allow_uids)
