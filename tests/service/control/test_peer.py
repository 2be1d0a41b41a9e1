"""Who the kernel says is there, and who may be."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from credgate.service.control.peer import Peer, PeerRule, read_peer


class Transport:
    """What read_peer asks of a transport."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def getHandle(self) -> Any:
        """Return the socket."""
        return self.handle


def test_the_kernel_names_the_user_at_the_other_end() -> None:
    """SO_PEERCRED is what the whole check stands on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert read_peer(Transport(ours)) == Peer(uid=os.geteuid(), gid=os.getegid())


def test_what_is_no_unix_socket_has_no_peer() -> None:
    """On TCP the kernel answers with uid -1, which must not be compared with anything."""
    with socket.socket(socket.AF_INET) as tcp:
        assert read_peer(Transport(tcp)) is None


class Handle:
    """A socket whose option answers as told."""

    def __init__(self, answer: bytes | OSError) -> None:
        self.answer = answer

    def getsockopt(self, *_: int) -> bytes:
        """Answer."""
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [OSError(92, "Protocol not available"), b"", b"\0" * 4])
def test_a_kernel_that_does_not_tell_leaves_the_peer_unknown(answer: bytes | OSError) -> None:
    """Could not tell is never taken for yes."""
    assert read_peer(Transport(Handle(answer))) is None


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (Peer(0, 0), True),
        (Peer(1000, 5), True),
        (Peer(1001, 1001), True),
        (Peer(1002, 0), False),
        (Peer(65534, 1000), False),
        (None, False),
    ],
)
def test_root_own_and_listed_uids_are_admitted_and_nobody_else(peer: Peer | None, *, expected: bool) -> None:
    """The group does not count, and an unknown peer is refused."""
    assert PeerRule((1001,), lambda: 1000).admits(peer) == expected


def test_own_uid_is_the_one_at_the_time_of_asking() -> None:
    """Twistd drops its uid after the rule was made."""
    uids = iter([0, 1000])
    rule = PeerRule((), lambda: next(uids))
    assert [rule.admits(Peer(1000, 1000)), rule.admits(Peer(1000, 1000))] == [False, True]


def test_a_peer_is_named_by_its_uid() -> None:
    """The form that audit lines carry."""
    assert str(Peer(1000, 5)) == "uid:1000"
