"""A slow forge: git waits as long as ``forge_timeout`` allows, and gets each progress packet at once.

``stall_timeout`` limits a stalled transfer. A forge that has the whole request may work for ``forge_timeout``. Gateways
that confuse the two break only the largest pushes. ``CREDGATE_TEST_SLOW=1`` tests the 90 seconds of the slowest forges;
by default it is five seconds, with a ``stall_timeout`` that is shorter still.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from credgate.git.pktline import FLUSH, encode
from tests.attacks.scripted import Asked, Said, ScriptedForge
from tests.fakes.pushing import Desk
from tests.fakes.sandbox import address
from tests.fakes.thinking import ThinkingForge
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Door, Enter, Forge, StartGateway
    from tests.fakes.repositories import Repositories

MINE = "refs/heads/agent"
SLOW = pytest.mark.skipif(not os.environ.get("CREDGATE_TEST_SLOW"), reason="slow: set CREDGATE_TEST_SLOW=1")
ROUNDS = 4


def sit(enter: Enter, door: Door, repos: Repositories) -> Desk:
    """Start a session with a commit to push."""
    path = repos.seeded()
    visit = enter([path], login="bearer", door=door)
    desk = Desk(visit.box, visit.lease, door.gateway, repos, path)
    desk.local("branch", "new", desk.commit("main"))
    return desk


@pytest.mark.parametrize(
    ("seconds", "stall"), [(5, "2s"), pytest.param(90, "30s", marks=[SLOW, pytest.mark.slow])], ids=["everyday", "slow"]
)
def test_forge_may_take_longer_than_stall_timeout(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge, seconds: int, stall: str
) -> None:
    """Before its first byte. A fetch, a push and an inspected push succeed."""
    with ThinkingForge(forge.server.port, seconds) as thinking:
        door = start_gateway(url=thinking.url, settings={"limits": {"stall_timeout": stall}})
        desk = sit(enter, door, repos)
        new = desk.local("rev-parse", "new")
        pushes = [desk.box.begin("git", "push", "origin", f"new:{ref}", cwd="work") for ref in (MINE, "main")]
        desk.box.git("-c", "protocol.version=0", "clone", address(desk.path), "clone").fine()
        for push in pushes:
            desk.box.finish(push, seconds=300).fine()
    assert {desk.refs()[ref] for ref in (MINE, "refs/heads/main")} == {new}


def test_forge_over_forge_timeout_is_refused(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge
) -> None:
    """The refusal names the forge. This proves that the limits above were in force."""
    with ThinkingForge(forge.server.port, 5) as thinking:
        door = start_gateway(url=thinking.url, settings={"limits": {"stall_timeout": "1s", "forge_timeout": "2s"}})
        desk = sit(enter, door, repos)
        said = desk.push("origin", f"new:{MINE}").refused()
        assert "github.com did not answer in time; try again later" in said
        line = desk.audited(MINE, reason="forge-timeout")
    assert line[MINE]["verb"] == "create"


class Talking:
    """A forge that sends its next progress packet only when the last one has arrived."""

    def __init__(self, advertised: bytes, report: bytes) -> None:
        self.signs = [sign for number in range(ROUNDS) for sign in (encode(b"\2step %d\n" % number), encode(b"\1"))]
        self.arrived = [threading.Event() for _ in self.signs]
        self.lost: list[int] = []
        self._advertised, self._report = advertised, report

    def answer(self, asked: Asked) -> Said:
        """Answer instead of a script."""
        kind = b"advertisement" if asked.method == b"GET" else b"result"
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-receive-pack-%b\r\n" % kind
        if asked.method == b"GET":
            return Said([head + b"Content-Length: %d\r\n\r\n%b" % (len(self._advertised), self._advertised)])
        return Said(self._pieces(head))

    def _pieces(self, head: bytes) -> Iterator[bytes]:
        yield head + b"Transfer-Encoding: chunked\r\n\r\n"
        for number, (sign, arrived) in enumerate(zip(self.signs, self.arrived, strict=True)):
            yield b"%x\r\n%b\r\n" % (len(sign), sign)
            if not arrived.wait(20):
                self.lost.append(number)
        yield b"%x\r\n%b\r\n0\r\n\r\n" % (len(self._report), self._report)


@pytest.mark.parametrize("partial", [False, True])
def test_progress_is_relayed_at_once(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, *, partial: bool
) -> None:
    """Progress and empty packets do not wait for each other or for the report, even if we write into it."""
    path = repos.seeded()
    old = repos.head(path)
    caps = b"\0report-status side-band-64k delete-refs ofs-delta object-format=sha1"
    advertised = (
        encode(b"# service=git-receive-pack\n") + FLUSH + encode(old.encode() + b" refs/heads/main" + caps) + FLUSH
    )
    report = encode(b"\1" + encode(b"unpack ok\n") + encode(b"ok " + MINE.encode() + b"\n") + FLUSH) + FLUSH
    talking = Talking(advertised, report)
    forge = ScriptedForge(talking.answer)
    try:
        door = start_gateway(url=forge.url)
        rules = [{"refs": MINE, "allow": ["create"]}]
        visit = enter([{"repo": path, "push": rules, "partial": partial}], login="bearer", door=door)
        desk = Desk(visit.box, visit.lease, door.gateway, repos, path)
        desk.local("branch", "new", desk.commit("main"))
        push = desk.box.begin("git", "push", "origin", f"new:{MINE}", *(["new:main"] if partial else []), cwd="work")
        for number, sign in enumerate(talking.signs):
            count = talking.signs[: number + 1].count(sign)
            wait_until(lambda sign=sign, count=count: door.front.down.count(sign) == count, f"{sign!r} arrives")
            talking.arrived[number].set()
        ran = desk.box.finish(push)
    finally:
        for arrived in talking.arrived:
            arrived.set()
        forge.close()
    assert talking.lost == []
    assert [f"remote: step {number}" in ran.err for number in range(ROUNDS)] == [True] * ROUNDS
    assert "* [new branch]      new -> agent" in ran.err
    assert (ran.code, "new -> main (credgate: no rule" in ran.err) == ((1, True) if partial else (0, False))
