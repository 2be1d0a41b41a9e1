"""Whether a server answers over both its doors."""

from __future__ import annotations

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from credgate.dns import response
from credgate.service.dns import probe
from tests.fakes import dnswire as w
from tests.fakes.dnsupstream import FakeUpstream
from tests.fakes.waiting import free_port

ASKED = response.ask((b"ready",), 1, bytes)


@pytest.mark.parametrize("rcode", [0, 3, 5])
@ensureDeferred
async def test_any_reply_to_the_question_is_a_sign_of_life(rcode: int) -> None:
    """A refusal too."""
    server = FakeUpstream(reactor, lambda query, _: [w.response(query, rcode=rcode)])
    assert await probe.answers(server.server, ASKED, reactor)
    assert [tcp for _, tcp, _ in server.asked] == [False, True]
    await server.stop()


@ensureDeferred
async def test_a_lost_datagram_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice at most."""
    monkeypatch.setattr(probe, "TIMEOUT", 0.05)
    server = FakeUpstream(reactor, lambda query, _: [w.response(query)] if len(server.asked) > 2 else [])
    assert await probe.answers(server.server, ASKED, reactor)
    assert [tcp for _, tcp, _ in server.asked] == [False, False, False, True]
    await server.stop()


@ensureDeferred
async def test_one_dead_door_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """UDP silent, TCP closed, TCP cut, nobody there."""
    monkeypatch.setattr(probe, "TIMEOUT", 0.05)
    for script, tcp in (
        (lambda _query, tcp: [w.response(_query)] if tcp else [], True),
        (lambda query, _tcp: [w.response(query)], False),
        (lambda query, tcp: [] if tcp else [w.response(query)], True),
        (lambda query, _tcp: [query], True),
    ):
        server = FakeUpstream(reactor, script, tcp=tcp)
        assert not await probe.answers(server.server, ASKED, reactor)
        await server.stop()
    assert not await probe.answers(("::1", free_port()), ASKED, reactor)
    assert not await probe.answers(("127.0.0.1", free_port()), ASKED, reactor)
