"""One request's audit line: written once, with the first reason that ended it."""

from __future__ import annotations

from credgate.audit.event import Happening
from credgate.git.authorize import Refuse, Serve
from credgate.service.sandbox.request_log import RequestLog
from credgate.values import Decision, Reason
from tests.fakes.relay import House, ask, discover, post


def lines(house: House) -> list[tuple[str, str, str, str, str]]:
    """Return who asked for what, as written."""
    return [(one.session, one.peer, one.forge, one.repo, one.operation) for one in house.audit.events]


def test_a_line_says_who_asked_for_what() -> None:
    """Operations have git's own names; what is not known is left out."""
    house = House()
    house.say(discover(repo=b"else/WHERE"))
    house.say(post(b"", repo=b"else/where"))
    house.say(ask(b"GET /whoami"))
    house.say(ask(b"GET /health", auth=b""))
    house.say(ask(b"GET /nowhere"))
    assert lines(house) == [
        (house.session.id, "10.0.0.7", "github.com", "else/where", "git-upload-pack-advertisement"),
        (house.session.id, "10.0.0.7", "github.com", "else/where", "git-upload-pack"),
        (house.session.id, "10.0.0.7", "", "", "whoami"),
        ("", "10.0.0.7", "", "", "health"),
        ("", "10.0.0.7", "", "", ""),
    ]
    assert {one.event for one in house.audit.events} == {Happening.REQUEST}


def test_the_first_reason_counts_and_the_line_is_written_once() -> None:
    """Whatever ends after it."""
    house = House()
    record = RequestLog(house.services, "10.0.0.7")
    record.describe(Refuse(Decision(allow=False, reason=Reason.NOT_FOUND), 404))
    house.reactor.advance(2)
    for reason in (Reason.READ_ONLY, Reason.CLIENT_LEFT):
        record.set_decision(Decision(allow=False, reason=reason, rule="r", text="t")).close()
    (line,) = house.audit.events
    assert (line.allow, line.reason, line.rule, line.text, line.duration) == (False, Reason.READ_ONLY, "r", "t", 2.0)
    assert (line.status, line.upstream_status, line.bytes_up, line.bytes_down) == (None, None, 0, 0)


def test_what_went_well_needs_no_words() -> None:
    """Its reason is that it was allowed."""
    house = House()
    record = RequestLog(house.services, "10.0.0.7")
    record.describe(Serve("health"))
    record.set_status(200)
    record.close()
    (line,) = house.audit.events
    assert (line.allow, line.reason, line.status, line.text) == (True, Reason.ALLOWED, 200, "")


def test_the_time_of_the_forges_answer_is_told_once_it_answered() -> None:
    """Metrics have it; the last answer counts where the forge was asked again."""
    house = House()
    record = RequestLog(house.services, "10.0.0.7")
    for status in (401, 200):
        house.reactor.advance(1.5)
        record.upstream_status = status
    house.reactor.advance(10)
    record.close()
    (line,) = house.audit.events
    assert (line.upstream_status, line.answered, line.duration) == (200, 3.0, 13.0)
