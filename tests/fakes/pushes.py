"""Pushes that must be inspected, in memory: their bodies, and a forge that answers credgate's requests meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from credgate.git.pktline import FLUSH, encode
from credgate.sessions.model import Grant
from tests.fakes import packs
from tests.fakes.relay import House, answer, only, post, requests_in
from tests.fakes.threads import Threads

if TYPE_CHECKING:
    from tests.fakes.relay import Message
    from tests.fakes.wire import Wire

TREE = b"\xaa" * 20
OLD_BODY = packs.commit(TREE, text=b"old")
OLD = packs.oid(packs.COMMIT, OLD_BODY)
MIDDLE_BODY = packs.commit(TREE, [OLD], b"middle")
MIDDLE = packs.oid(packs.COMMIT, MIDDLE_BODY)
ON_OLD, ON_MIDDLE, ON_NOTHING = (packs.commit(TREE, parents, b"new") for parents in ([OLD], [MIDDLE], []))
REF = b"refs/heads/main"
TRAILER = 20
ZERO = bytes(20)
CAPABILITIES = encode(b"version 2\n") + encode(b"ls-refs\n") + encode(b"fetch=filter\n") + FLUSH
OK = encode(b"\x01" + encode(b"unpack ok\n") + encode(b"ok " + REF + b"\n") + FLUSH) + FLUSH
BROKEN = encode(b"\x01" + encode(b"unpack early EOF\n") + encode(b"ng " + REF + b" no\n") + FLUSH) + FLUSH


def listed(new: bytes, old: bytes = OLD, ref: bytes = REF, caps: bytes = b"report-status side-band-64k") -> bytes:
    """Make a command list of one command; ids are binary."""
    line = b"%s %s %s\x00 %s" % (old.hex().encode(), new.hex().encode(), ref, caps)
    return encode(line) + FLUSH


def packed(*bodies: bytes, noise: int = 0) -> bytes:
    """Make a pack of commits, with ``noise`` KiB of blobs before them."""
    blobs = [packs.entry(packs.BLOB, bytes([at % 251]) * 1024, level=0) for at in range(noise)]
    return packs.pack([*blobs, *[packs.entry(packs.COMMIT, body) for body in bodies]])


def push(commit: bytes, noise: int = 0) -> bytes:
    """Make the body of a push that moves ``REF`` from ``OLD`` to ``commit``, which its pack holds."""
    return listed(packs.oid(packs.COMMIT, commit)) + packed(commit, noise=noise)


def sent(body: bytes, *fields: bytes, **more: Any) -> bytes:
    """Make the request, in chunked coding."""
    return post(body, *fields, service=b"receive", chunked=True, **more)


def granted(house: House, **more: Any) -> House:
    """Give the session one grant with these limits."""
    one = evolve(house.session, grants=(Grant("octo/*", "github.com", **more),))
    house.session = house.sessions.known["token", "secret"] = one
    return house


def threaded(house: House) -> Threads:
    """Make threaded work wait for the test."""
    threads = Threads()
    house.lane = lambda _session: threads
    return threads


def pushed(house: House) -> list[Wire]:
    """Return the connections on which a push was sent."""
    return [wire for wire in house.forge.wires if b"/git-receive-pack HTTP" in wire.received]


def arrived(house: House) -> Message:
    """Return the push as the forge received it."""
    (wire,) = pushed(house)
    return requests_in(wire.received)[-1]


def asked_on(wire: Wire) -> Message | None:
    """Return credgate's own request on this connection, or ``None``."""
    asked = requests_in(wire.received)
    return asked[-1] if asked and b"git-upload-pack" in asked[-1].start.target else None


def history(*bodies: bytes) -> bytes:
    """Make the forge's answer to a fetch of these commits."""
    return answer(encode(b"packfile\n") + encode(b"\x01" + packed(*bodies)) + FLUSH)


def named(**refs: bytes) -> bytes:
    """Make the forge's answer about its branches."""
    lines = [encode(oid.hex().encode() + b" refs/heads/" + name.encode()) for name, oid in refs.items()]
    return answer(b"".join(lines) + FLUSH)


def capable() -> bytes:
    """Make the forge's answer with its capabilities."""
    return answer(CAPABILITIES, kind=b"upload-pack-advertisement")


# Actions and checks.


def report(house: House, body: bytes = OK) -> None:
    """Make the forge report on the push."""
    (wire,) = pushed(house)
    wire.deliver(answer(body, kind=b"receive-pack-result"))
    house.settle()


def refused(client: Wire, text: bytes) -> None:
    """Check that the answer refuses the ref with this text."""
    said = only(client, b"POST")
    assert (said.status, said.whole) == (200, True)
    assert b"ng " + REF + b" credgate: " in said.body
    assert text in said.body


def unfinished(house: House, body: bytes) -> None:
    """Check that the forge received at most ``body`` without its checksum, and that the connection is closed."""
    for wire in pushed(house):
        (one,) = requests_in(wire.received)
        assert body[:-TRAILER].startswith(one.body)
        assert not one.whole
        assert wire.ended


def asking(*, noise: int = 0) -> tuple[House, Wire, bytes]:
    """Make a push wait for the forge's history."""
    house, body = House(), push(ON_MIDDLE, noise)
    client = house.say(sent(body))
    assert asked_on(house.forge.wire) is not None
    assert (arrived(house).body, arrived(house).whole) == (body[:-TRAILER], False)
    return house, client, body


def tell(house: House, *answers: bytes) -> None:
    """Answer credgate's own requests, one after the other, each on the newest connection."""
    for one in answers:
        house.forge.wire.deliver(one)
        house.settle()
