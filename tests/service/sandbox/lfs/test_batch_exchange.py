"""Batches and locks through a gateway without sockets: what is asked of whom, and every end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from twisted.internet import error

from credgate.lfs.reading import MAX_ANSWER, MAX_REQUEST
from credgate.service.credentials.sources import Credential
from credgate.service.upstream.project_paths import ProjectPaths
from credgate.sessions.model import Grant
from credgate.values import Access, Decision, Reason
from tests.fakes.lfshouse import (
    CONTENT,
    OID,
    OWN,
    STORED,
    answered,
    batch,
    call,
    get,
    offered,
    refused,
    said,
    say,
    sent,
    target,
)
from tests.fakes.relay import House, ask, only

if TYPE_CHECKING:
    from twisted.python.failure import Failure

LOCK = {"id": "1", "path": "a/b"}


@pytest.mark.parametrize(
    "request_", [batch(), batch("upload"), call("/locks", method="GET"), call("/locks", {"path": "a"})]
)
def test_a_project_under_another_path_is_refused_before_the_forge_is_asked(
    monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    """Where its name is to be asked for; the same request is asked if the name holds."""
    moved = Decision(allow=False, reason=Reason.FORGE_MOVED, rule="check_path", text="under another path now")
    for verdict in (moved, None):

        async def refuses(*_: object, verdict: Decision | None = verdict) -> Decision | None:
            return verdict

        house = House()
        monkeypatch.setattr(ProjectPaths, "refused", refuses)
        client = house.say(request_)
        assert bool(house.forge.wires) is (verdict is None)
        if verdict is not None:
            assert "under another path now" in refused(client, request_.split(b" ")[0])[1]
            assert house.reasons == [Reason.FORGE_MOVED]


def test_batch_is_written_anew_and_answered_with_handles() -> None:
    """With the forge's credential upstream, and nothing of the storage downstream."""
    house = House()
    client = say(house, batch(ref={"name": "refs/heads/main"}), offered("download", header={"X-Amz-Date": "secret"}))
    asked = house.forge.asked()
    assert asked.start.target == b"/octo/hello.git/info/lfs/objects/batch"
    assert asked.field(
        b"authorization",
    ) == house.drivers["github.com"].login("forge-secret")
    assert json.loads(asked.body)["transfers"] == ["basic"]
    assert b"amazonaws" not in client.received
    assert b"secret" not in client.received
    assert len(house.services.handles) == 1
    assert house.reasons == [Reason.ALLOWED]
    event = house.audit.events[0]
    assert (event.operation, event.upstream_status, event.credential) == ("lfs-batch", 200, "cred-1")
    house.nothing_left()


def test_next_batch_uses_the_kept_connection() -> None:
    """Downstream and upstream."""
    house = House()
    client = say(house, batch(), offered("download"))
    client.deliver(batch())
    house.settle()
    house.forge.wire.deliver(offered("download"))
    house.settle()
    assert len(house.forge.wires) == 1
    assert len(house.services.handles) == 2


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    """Once, and only if it had not begun to answer."""
    house = House()
    say(house, batch(), offered("download"))
    client = house.say(batch())
    house.forge.wires[0].hang_up()
    house.settle()
    assert len(house.forge.wires) == 2
    house.forge.wire.deliver(offered("download"))
    house.settle()
    assert only(client, b"POST").status == 200


@pytest.mark.parametrize("piece", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", b"nonsense\r\n\r\n"])
def test_cut_answer_is_refused(piece: bytes) -> None:
    """With a text, because no byte of an answer was sent yet."""
    house = House()
    client = house.say(batch())
    house.forge.wire.deliver(piece)
    house.forge.wire.hang_up()
    house.settle()
    status, text = refused(client, b"POST")
    assert (status, "the answer of github.com cannot be used" in text) == (502, True)
    house.nothing_left()


def test_kept_connection_that_began_to_answer_is_not_replaced() -> None:
    """Whatever it had to say, it began."""
    house = House()
    say(house, batch(), offered("download"))
    client = house.say(batch())
    house.forge.wire.deliver(b"HTTP/1.1 200 OK\r\n")
    house.forge.wire.hang_up()
    house.settle()
    assert refused(client, b"POST")[0] == 502
    assert len(house.forge.wires) == 1


def test_a_coded_or_endless_answer_is_refused() -> None:
    """It was not asked for so; memory is bounded."""
    house = House()
    client = say(house, batch(), answered({}, "200 OK", b"Content-Encoding: gzip"))
    assert "Content-Encoding" in refused(client, b"POST")[1]
    client = house.say(batch())
    house.forge.wire.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * MAX_ANSWER) + b" " * MAX_ANSWER)
    house.forge.wire.deliver(b" ")
    house.settle()
    assert "too long" in refused(client, b"POST")[1]
    house.nothing_left()


def test_a_forge_that_cannot_be_reached_is_named() -> None:
    """In git-lfs's form."""
    house = House()
    house.forge.open = False
    client = house.say(batch())
    house.forge.refuse(error.ConnectionRefusedError())
    house.settle()
    status, text = refused(client, b"POST")
    assert (status, "github.com cannot be reached" in text) == (502, True)
    assert house.reasons == [Reason.FORGE_UNREACHABLE]


def test_malformed_batch_is_refused_before_the_forge_is_asked() -> None:
    """As is one that is too large."""
    house = House()
    assert refused(house.say(call("/objects/batch", {"operation": "x"})), b"POST")[0] == 422
    head = b"POST /git/octo/hello.git/info/lfs/objects/batch"
    fields = (b"Content-Type: application/vnd.git-lfs+json", b"Content-Length: %d" % (MAX_REQUEST + 1))
    client = house.say(ask(head, *fields, body=b" " * (MAX_REQUEST + 1)))
    assert refused(client, b"POST")[0] == 413
    assert house.forge.wires == []
    assert house.reasons == [Reason.LFS_MALFORMED] * 2


def test_an_upload_needs_write_and_a_credential() -> None:
    """The body says what is wanted; the same repository may be read."""
    house = House()
    client = house.say(batch("upload").replace(b"octo/hello", b"read/only"))
    status, text = refused(client, b"POST")
    assert (status, "may only read" in text) == (403, True)
    assert only(say(house, batch().replace(b"octo/hello", b"read/only"), offered("download")), b"POST").status == 200
    house.credentials.held.clear()
    client = house.say(batch("upload"))
    assert "no credential is configured" in refused(client, b"POST")[1]
    assert house.reasons == [Reason.READ_ONLY, Reason.ALLOWED, Reason.NO_FORGE_CREDENTIAL]


def test_anonymous_batch_may_download_and_is_not_renewed() -> None:
    """As git itself is served; a forge that wants a credential is asked once."""
    house = House()
    house.credentials.held.clear()
    house.credentials.renewed = Credential("cred-2", "newer-secret")
    client = say(house, batch(), offered("download"))
    assert only(client, b"POST").status == 200
    assert house.forge.asked().field(b"authorization") is None
    client = say(house, batch(), answered({}, "401 Unauthorized"))
    assert (refused(client, b"POST")[0], house.reasons[-1]) == (403, Reason.NO_FORGE_CREDENTIAL)
    assert house.credentials.asked == []


def test_objects_over_the_limit_are_not_asked_for() -> None:
    """They are not in the forge's request, and the audit line names the reason."""
    house = House()
    grants = (Grant("octo/*", "github.com", max_lfs_object_bytes=len(CONTENT) - 1),)
    house.sessions.known["token", "secret"] = evolve(house.session, grants=grants)
    heard = said(house.say(batch("upload")), b"POST")
    assert "may not move LFS objects over" in heard["objects"][0]["error"]["message"]
    assert house.forge.wires == []
    assert house.reasons == [Reason.LFS_OBJECT_TOO_LARGE]


def test_refused_credential_is_renewed_once() -> None:
    """It may have been rotated a second ago."""
    house = House()
    house.credentials.renewed = Credential("cred-2", "newer-secret")
    client = house.say(batch())
    house.forge.wire.deliver(answered({}, "401 Unauthorized"))
    house.settle()
    assert house.forge.asked().field(b"authorization") == house.drivers["github.com"].login("newer-secret")
    house.forge.wire.deliver(offered("download"))
    house.settle()
    assert only(client, b"POST").status == 200
    assert house.credentials.asked[0][1] == "cred-1"


def test_refusal_stands_without_another_credential() -> None:
    """503: it may come."""
    house = House()
    client = say(house, batch(), answered({}, "401 Unauthorized"))
    assert refused(client, b"POST") == (503, "credgate: there is no other")


@pytest.mark.parametrize(("status", "shown"), [("404 Not Found", 404), ("301 Moved", 502), ("429 Slow", 429)])
def test_text_of_a_forges_refusal_is_credgates(status: str, shown: int) -> None:
    """And how long to wait."""
    house = House()
    client = say(house, batch(), answered({"message": "forge's own"}, status, b"Retry-After: 7"))
    assert refused(client, b"POST")[0] == shown
    assert b"forge's own" not in client.received
    assert (b"Retry-After: 7" in client.received) == (status[0] == "4")


def test_batch_waits_for_its_credential() -> None:
    """And nothing comes of it if the client leaves meanwhile."""
    house = House()
    house.credentials.late = True
    client = house.say(batch())
    assert house.forge.wires == []
    house.credentials.come(Credential("cred-3", "late-secret"))
    house.settle()
    house.forge.wire.deliver(offered("download"))
    house.settle()
    assert only(client, b"POST").status == 200
    house.credentials.late = True
    client = house.say(batch())
    client.hang_up()
    house.settle()
    assert house.credentials.waiting == []
    assert house.reasons == [Reason.ALLOWED, Reason.CLIENT_LEFT]


def test_client_that_leaves_closes_the_connection_to_the_forge() -> None:
    """In the middle of its answer, too; and a session that ends cuts at once."""
    house = House()
    house.say(batch()).hang_up()
    house.settle()
    assert house.forge.wire.ended == "reset"
    client = house.say(batch())
    house.sessions.revoke(house.session)
    house.settle()
    assert client.ended == "reset"
    assert house.reasons == [Reason.CLIENT_LEFT, Reason.SESSION_ENDED]
    house.nothing_left()


def test_waiting_is_limited_in_time() -> None:
    """``stall_timeout`` for a client that stops sending, ``forge_timeout`` for a silent forge."""
    house = House(stall_timeout=10, forge_timeout=30)
    client = house.say(batch()[:-5])
    house.wait(12)
    assert client.ended == "reset"
    client = house.say(batch())
    house.wait(32)
    assert refused(client, b"POST") == (504, "credgate: github.com did not answer in time; try again later")
    assert house.reasons == [Reason.STALLED, Reason.FORGE_TIMEOUT]
    house.nothing_left()


def test_a_body_that_breaks_its_framing_is_refused() -> None:
    """Nothing was asked of the forge."""
    house = House()
    line = b"POST /git/octo/hello.git/info/lfs/objects/batch"
    fields = (b"Content-Type: application/vnd.git-lfs+json", b"Transfer-Encoding: chunked")
    client = house.say(ask(line, *fields, body=b"zz\r\n"))
    assert only(client, b"POST").status == 400
    assert house.reasons == [Reason.MALFORMED_REQUEST]


def test_defect_resets_the_connection_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, clean_reactor: list[Failure]
) -> None:
    """One connection, and no other."""
    house = House()
    monkeypatch.setattr(type(house.services.handles), "give", lambda *_: 1 / 0)
    client = say(house, batch(), offered("download"))
    assert client.ended == "reset"
    assert house.reasons == [Reason.INTERNAL]
    assert clean_reactor.pop().check(ZeroDivisionError)
    house.nothing_left()


# Locks.


def test_locks_are_listed_page_by_page() -> None:
    """The query is written anew."""
    house = House()
    client = say(
        house, call("/locks?path=a%2Fb&limit=1", method="GET"), answered({"locks": [LOCK], "next_cursor": "2"})
    )
    assert house.forge.asked().start.target == b"/octo/hello.git/info/lfs/locks?path=a%2Fb&limit=1"
    assert said(client) == {"locks": [LOCK], "next_cursor": "2"}


@pytest.mark.parametrize(
    ("tail", "members", "status", "answer"),
    [
        ("/locks", {"path": "a/b"}, "201 Created", {"lock": LOCK}),
        ("/locks", {"path": "a/b"}, "409 Conflict", {"lock": LOCK, "message": "this file is already locked"}),
        ("/locks/verify", {}, "200 OK", {"ours": [LOCK], "theirs": []}),
        ("/locks/1/unlock", {"force": False}, "200 OK", {"lock": LOCK}),
    ],
)
def test_locks_are_made_checked_and_released(tail: str, members: object, status: str, answer: object) -> None:
    """With the status that git-lfs acts on."""
    house = House()
    client = say(house, call(tail, members), answered(answer, status))
    assert (only(client, b"POST").status, said(client, b"POST")) == (int(status[:3]), answer)
    assert house.forge.asked().start.target.endswith(tail.encode())


@pytest.mark.parametrize("status", ["202 Accepted", "403 Forbidden", "500 Whatever"])
def test_failed_lock_is_refused_whatever_its_body(status: str) -> None:
    """An answer to a lock has its statuses; with any other, its body is not even read."""
    house = House()
    client = say(house, call("/locks", {"path": "a/b"}), answered({"lock": LOCK}, status))
    code, text = refused(client, b"POST")
    assert (code in {403, 502}, f"github.com answered {status[:3]}" in text) == (True, True)
    assert house.reasons[-1] in {Reason.FORGE_MALFORMED, Reason.FORGE_REFUSED, Reason.FORGE_ERROR}


def test_request_for_a_lock_is_not_repeated() -> None:
    """Not on a kept connection, and not with another credential: it may have been made."""
    house = House()
    house.credentials.renewed = Credential("cred-2", "newer-secret")
    say(house, batch(), offered("download"))
    client = say(house, call("/locks", {"path": "a"}), answered({}, "401 Unauthorized"))
    assert len(house.forge.wires) == 2
    assert refused(client, b"POST")[0] == 502
    assert house.credentials.asked == []


# The verifying of an upload.


def test_verification_asks_about_the_object_of_the_batch() -> None:
    """The client's body is ignored; the forge's credential is sent only to the forge."""
    house = House()
    place = target(house, "verify", href=OWN)
    client = say(house, call(place.partition("/info/lfs")[2], {"oid": "f" * 64, "size": 1}), answered({}))
    asked = house.forge.asked()
    assert asked.start.target == b"/octo/hello.git/info/lfs/objects/oid"
    assert asked.field(b"authorization") == house.drivers["github.com"].login("forge-secret")
    assert json.loads(asked.body) == {"oid": OID, "size": len(CONTENT)}
    assert said(client, b"POST") == {}
    assert (house.audit.events[-1].operation, house.audit.events[-1].oid) == ("lfs-verify", OID)
    place = target(house, "verify", href=STORED, header={"Authorization": "storage's own"})
    client = say(house, call(place.partition("/info/lfs")[2], {}), answered({}, "404 Not Found"))
    assert house.forge.asked().field(b"authorization") == b"storage's own"
    assert refused(client, b"POST")[0] == 404


def test_unknown_handle_is_refused() -> None:
    """git-lfs asks for a new batch."""
    house = House()
    client = house.say(call("/_x/" + "h" * 43, {}))
    status, text = refused(client, b"POST")
    assert (status, "asks for a new one by itself" in text) == (404, True)
    assert house.reasons == [Reason.LFS_HANDLE]


def test_end_of_a_session_removes_its_handles() -> None:
    """Nothing of it is left."""
    house = House()
    target(house, "download")
    house.sessions.revoke(house.session)
    assert len(house.services.handles) == 0
    assert house.session.grants[0].access is Access.WRITE


def test_links_use_the_configured_public_url() -> None:
    """Behind a TLS terminator neither the scheme nor perhaps the host is what the sandbox wrote."""
    house = House(public_url="https://gate.example.com:8443")
    heard = said(say(house, batch(), offered("download")), b"POST")
    href = heard["objects"][0]["actions"]["download"]["href"]
    assert href.startswith("https://gate.example.com:8443/git/octo/hello.git/info/lfs/_x/")
    client = get(house, href.removeprefix("https://gate.example.com:8443"))
    house.forge.wire.deliver(sent())
    house.settle()
    assert only(client).body == CONTENT
