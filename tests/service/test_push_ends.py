"""A push under pressure, and every end but a verdict: none of them finishes it, hangs, or leaves anything behind."""

from __future__ import annotations

import contextlib
import gc
import gzip
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused

from credgate.git.push_verdict import Findings
from credgate.service.inspect.pack_reader import FULL
from credgate.values import Reason
from tests.fakes.pushes import (
    BROKEN,
    MIDDLE_BODY,
    ON_MIDDLE,
    ON_NOTHING,
    ON_OLD,
    REF,
    arrived,
    asking,
    capable,
    history,
    push,
    pushed,
    refused,
    report,
    sent,
    tell,
    threaded,
    unfinished,
)
from tests.fakes.relay import KIB64, PACK, House, answer, commands, only, post

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.python.failure import Failure

    from tests.fakes.threads import Threads
    from tests.fakes.wire import Wire

# Pressure.


@pytest.mark.parametrize("coding", [None, b"gzip"])
def test_a_client_is_held_while_the_walk_is_behind(coding: bytes | None) -> None:
    """Memory is bounded, and the upload goes on when the walk does."""
    house, body = House(), push(ON_OLD, noise=1500)
    threads = threaded(house)
    plain = coding is None
    whole = sent(body) if plain else sent(gzip.compress(body, 0), b"Content-Encoding: gzip")
    client = house.say(whole)
    upload = client.protocol._exchange._upload
    assert not client.reading
    assert upload._reader._held <= FULL + 2 * KIB64
    assert upload._trailer.held <= FULL + 4 * KIB64
    for _ in range(100):
        threads.run_all()
        house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body, True)
    assert client.reading
    report(house)
    house.nothing_left()


def test_a_client_is_held_while_the_forge_takes_nothing() -> None:
    """Although the walk is done with all that came."""
    house, body = House(), push(ON_OLD, noise=1500)
    whole = sent(body)
    begun = whole.index(b"PACK") + 100
    client = house.say(whole[:begun])
    wire = house.forge.wire
    wire.stall()
    client.deliver(whole[begun:])
    house.settle()
    assert not client.reading
    assert len(wire.unsent) <= FULL + 4 * KIB64
    wire.resume()
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body, True)
    assert client.reading


def test_a_client_is_held_while_there_is_no_connection() -> None:
    """Its list is here, so it was judged; what comes behind it waits, so much of it."""
    house, body = House(), push(ON_OLD, noise=1500)
    house.forge.open = False
    client = house.say(sent(body))
    upload = client.protocol._exchange._upload
    assert not client.reading
    assert upload._held <= FULL + 4 * KIB64
    wire = house.forge.let_in(shake=False)
    wire.stall()
    wire.protocol.handshakeCompleted()
    house.settle()
    assert not client.reading
    wire.resume()
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body, True)


def test_a_push_that_was_judged_before_it_was_connected_is_sent_whole() -> None:
    """All of it waited, its end included."""
    house, body = House(), push(ON_OLD)
    house.forge.open = False
    client = house.say(sent(body))
    assert client.reading
    wire = house.forge.let_in()
    house.settle()
    assert (arrived(house).body, arrived(house).whole) == (body, True)
    assert wire.producer is None


# Every other end.


def stop_at(point: str) -> tuple[House, Wire, Threads, bytes]:
    """Bring a push to a point at which it is not decided."""
    house, body = House(), push(ON_MIDDLE)
    threads = threaded(house)
    house.forge.open = point != "connecting"
    client = house.say(sent(body))
    if point != "walking":
        threads.run_all()
        house.settle()
    if point in ("fetching", "reading"):
        tell(house, capable())
    if point == "reading":
        tell(house, history(MIDDLE_BODY))
        assert threads.waiting
    return house, client, threads, body


POINTS = ["connecting", "walking", "asking", "fetching", "reading"]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("how", ["leaves", "breaks", "revoked", "shutdown"])
def test_whatever_ends_it_leaves_it_unfinished_and_nothing_behind(point: str, how: str) -> None:
    """Questions are cancelled, connections left, and a thread that is still at it tells nobody."""
    house, client, threads, body = stop_at(point)
    {
        "leaves": client.hang_up,
        "breaks": client.reset,
        "revoked": lambda: house.sessions.revoke(house.session),
        "shutdown": lambda: client.protocol.cut(Reason.SHUTDOWN),
    }[how]()
    house.settle()
    wires = len(house.forge.wires)
    threads.run_all()
    house.settle()
    threads.run_all()
    assert len(house.forge.wires) == wires
    unfinished(house, body)
    (line,) = house.audit.events
    ended = {"revoked": Reason.SESSION_ENDED, "shutdown": Reason.SHUTDOWN}
    assert line.reason == ended.get(how, Reason.CLIENT_LEFT)
    assert [one.ref for one in line.refs] == [REF.decode()]
    house.nothing_left()


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Let no collector of cycles run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("how", ["leaves", "breaks", "revoked", "shutdown"])
def test_what_a_push_held_is_freed_when_it_ends(point: str, how: str) -> None:
    """At once: a pack's bodies may be 32 MiB, and a gateway that idles collects no cycles."""
    house, client, threads, _ = stop_at(point)
    held = weakref.ref(client.protocol._exchange._upload._walk._store._bodies)
    {
        "leaves": client.hang_up,
        "breaks": client.reset,
        "revoked": lambda: house.sessions.revoke(house.session),
        "shutdown": lambda: client.protocol.cut(Reason.SHUTDOWN),
    }[how]()
    house.settle()
    threads.run_all()
    assert held() is None


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(push(ON_OLD), Reason.ALLOWED, id="allowed"),
        pytest.param(push(ON_NOTHING), Reason.PUSH_FORCE, id="refused"),
        pytest.param(push(ON_OLD)[:-1] + b"x", Reason.MALFORMED_PUSH, id="malformed"),
    ],
)
def test_what_a_push_held_is_freed_when_it_is_decided(body: bytes, reason: Reason) -> None:
    """Whatever the decision."""
    house = House()
    threads = threaded(house)
    client = house.say(sent(body))
    held = weakref.ref(client.protocol._exchange._upload._walk._store._bodies)
    threads.run_all()
    house.settle()
    if reason is Reason.ALLOWED:
        report(house)
    assert house.reasons == [reason]
    assert held() is None


@pytest.mark.parametrize("point", [point for point in POINTS if point != "connecting"])
@pytest.mark.parametrize("how", ["lost", "early", "500"])
def test_a_forge_that_does_not_wait_ends_it(point: str, how: str) -> None:
    """Lost: git is told. With a report of its own: that is relayed, and nothing is sent any more."""
    house, client, threads, body = stop_at(point)
    (wire,) = pushed(house)
    if how == "lost":
        wire.hang_up()
    else:
        kind = b"receive-pack-result"
        wire.deliver(answer(BROKEN, kind=kind) if how == "early" else answer(status=b"500 No"))
    house.settle()
    threads.run_all()
    house.settle()
    threads.run_all()
    if how == "early":
        assert only(client, b"POST").body == BROKEN
        assert house.audit.events[0].refs[0].forge == "ng no"
    else:
        refused(client, b"github.com")
    unfinished(house, body)
    house.nothing_left()


def test_a_verdict_against_it_after_the_forge_began_to_answer_resets_the_client() -> None:
    """There is no second answer to put into the first one's middle."""
    house, body = House(), push(ON_NOTHING)
    threads = threaded(house)
    client = house.say(sent(body))
    (wire,) = pushed(house)
    wire.deliver(answer(BROKEN[:30], kind=b"receive-pack-result", length=len(BROKEN)))
    house.settle()
    threads.run_all()
    house.settle()
    assert client.ended == "reset"
    assert not only(client, b"POST").whole
    assert house.reasons == [Reason.PUSH_FORCE]
    unfinished(house, body)
    house.nothing_left()


def test_a_forge_that_thinks_too_long_over_a_question_ends_the_push() -> None:
    """The question's deadline is shorter than the forge's for the push."""
    house, client, body = asking()
    house.wait(house.limits.inquiry_timeout + 1)
    refused(client, b"could not tell whether this is a fast-forward (the forge did not answer in time)")
    assert house.reasons == [Reason.PUSH_UNKNOWN]
    unfinished(house, body)
    house.nothing_left()


def test_a_walk_that_does_not_end_is_given_up() -> None:
    """Nobody waits for ever, and it is said whose fault that is: neither the sandbox's nor the forge's."""
    house, body = House(), push(ON_OLD)
    threads = threaded(house)
    client = house.say(sent(body))
    house.wait(house.limits.stall_timeout + 2)
    refused(client, b"could not be read in time, because the gateway has too much to do: push again later")
    assert house.reasons == [Reason.PUSH_UNKNOWN]
    threads.run_all()
    unfinished(house, body)
    house.nothing_left()


class Nowhere:
    """An endpoint that fails at once."""

    def connect(self, factory: Any) -> Any:
        """Fail."""
        return fail(Refused())


@pytest.mark.parametrize("open_", [False, True])
def test_a_forge_that_cannot_be_reached_refuses_the_push(*, open_: bool) -> None:
    """Also if it is found out while the push is still in hand."""
    house, body = House(), push(ON_OLD)
    house.forge.open = False
    if open_:
        house.pool.endpoint_for = lambda _: Nowhere()  # type: ignore[assignment,return-value]
    client = house.say(sent(body))
    if not open_:
        house.forge.refuse(Refused())
        house.settle()
    refused(client, b"github.com cannot be reached: it refuses connections")
    assert pushed(house) == []
    house.nothing_left()


# Defects of our own.


class DefectError(Exception):
    """One."""


def _defect(*_: Any, **__: Any) -> Any:
    raise DefectError


@pytest.mark.parametrize("where", ["settle", "find", "walk", "told"])
def test_a_defect_ends_both_sides(where: str, monkeypatch: pytest.MonkeyPatch, clean_reactor: list[Failure]) -> None:
    """Nothing hangs, nothing is finished, and it is told to the operator."""
    house, body = House(), push(ON_OLD if where != "told" else ON_NOTHING)
    threads = threaded(house)
    client = house.say(sent(body))
    if where == "settle":
        monkeypatch.setattr("credgate.service.sandbox.push_relay.settling", _defect)
    elif where == "find":
        monkeypatch.setattr("credgate.service.inspect.push_inspection.PushInspection.find", _raises)
    elif where == "walk":
        monkeypatch.setattr("credgate.pack.walk.PackWalk.step", _defect)
    else:
        monkeypatch.setattr(client.protocol, "refuse", _defect)
    threads.run_all()
    house.settle()
    assert client.ended == "reset"
    assert (client.received, house.reasons[0]) == (b"", Reason.INTERNAL if where != "told" else house.reasons[0])
    assert [failure.check(DefectError) for failure in clean_reactor] == [DefectError]
    clean_reactor.clear()
    unfinished(house, body)
    house.nothing_left()


async def _raises(_self: Any) -> Any:
    raise DefectError


def test_what_is_found_out_too_late_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks may not hear that nobody waits any more: a verdict for the push sends nothing then."""
    house, body = House(), push(ON_OLD)

    async def stubborn(_self: Any) -> Findings:
        with contextlib.suppress(CancelledError):
            await Deferred()
        return Findings(fast_forward={REF: True})

    monkeypatch.setattr("credgate.service.inspect.push_inspection.PushInspection.find", stubborn)
    client = house.say(sent(body))
    client.reset()
    house.settle()
    unfinished(house, body)
    assert house.reasons == [Reason.CLIENT_LEFT]
    house.nothing_left()


def test_a_push_is_never_sent_again() -> None:
    """It could move refs twice."""
    house, body = House(), push(ON_OLD)
    client = house.say(sent(body)[:-5])
    upload = client.protocol._exchange._upload
    assert not upload.repeat()
    upload.hold()
    assert client.reading


@pytest.mark.parametrize("asked", [True, False])
def test_refs_are_not_attempted_only_where_the_forge_could_not_act(*, asked: bool) -> None:
    """A forge may move refs and then answer 500: the audit line must not say that nobody tried."""
    house = House()
    house.forge.open = asked
    house.say(post(commands() + PACK, service=b"receive"))
    if asked:
        house.forge.wire.deliver(answer(b"x", status=b"500 Whatever"))
    else:
        house.forge.refuse(Refused())
    house.settle()
    (line,) = house.audit.events
    assert line.reason == (Reason.FORGE_ERROR if asked else Reason.FORGE_UNREACHABLE)
    assert [one.reason for one in line.refs] == [Reason.ALLOWED if asked else Reason.PUSH_NOT_ATTEMPTED]


def test_a_push_whose_checksum_the_forge_has_was_attempted() -> None:
    """It was held back and then released: what a 500 says of it is not that no ref moved."""
    house = House()
    house.say(sent(push(ON_OLD, noise=300)))
    assert arrived(house).whole
    (wire,) = pushed(house)
    wire.deliver(answer(b"x", status=b"500 Whatever"))
    house.settle()
    (line,) = house.audit.events
    assert (line.reason, [one.reason for one in line.refs]) == (Reason.FORGE_ERROR, [Reason.ALLOWED])
