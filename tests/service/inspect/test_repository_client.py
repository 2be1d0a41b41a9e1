"""Requests to the forge while a push waits: what is sent, which answers are accepted, and every way to fail."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectionRefusedError as Refused

from credgate.errors import CredentialError
from credgate.git import v2
from credgate.git.pktline import FLUSH, encode
from credgate.pack.objects import SHA1, SHA256
from credgate.pack.walk import PackWalk
from credgate.service.credentials.sources import Credential, CredentialRequest
from credgate.service.inspect import repository_client as module
from credgate.service.inspect.pack_reader import FULL
from credgate.service.inspect.repository_client import MAX_SMALL, MAX_WANTS, InspectionError, RepositoryClient
from credgate.values import Access, RepoPath
from tests.fakes import packs
from tests.fakes.relay import FORGE_SECRET, House, answer, chunks
from tests.fakes.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Coroutine

ONE, TWO = b"1" * 40, b"2" * 40
COMMIT = packs.commit(b"\xaa" * 20)
OID = packs.oid(packs.COMMIT, COMMIT)
PACK = packs.pack([packs.entry(packs.COMMIT, COMMIT)])
CAPABLE = encode(b"version 2\n") + encode(b"ls-refs\n") + encode(b"fetch=shallow filter\n")
V2 = CAPABLE + encode(b"object-format=sha1\n") + FLUSH
REFS = encode(ONE + b" refs/heads/a\n") + encode(TWO + b" refs/heads/ab\n") + FLUSH


def packed(pack: bytes = PACK, piece: int = 60000) -> bytes:
    """Return the body of an answer to a fetch."""
    bands = (encode(b"\x01" + pack[at : at + piece]) for at in range(0, len(pack), piece))
    return encode(b"packfile\n") + b"".join(bands) + FLUSH


class Asked:
    """A client, and the results of its requests."""

    def __init__(self, *, eager: bool = True) -> None:
        self.house = House()
        self.threads = Threads(eager)
        driver = self.house.drivers["github.com"]
        house: Any = self.house
        wanted = CredentialRequest(RepoPath("github.com", "octo/hello"), Access.WRITE, house.session)
        means = house.pool, house.credentials, wanted, driver
        self.client = RepositoryClient(*means, "octo/hello", True, 30.0, 100.0, self.threads)  # noqa: FBT003 - positional by its definition
        self.walk = PackWalk(SHA1)
        self.results: list[Any] = []
        self.asking: Deferred[Any] | None = None

    def ask(self, request: Coroutine[Deferred[Any], Any, Any]) -> None:
        """Start a request."""
        self.asking = ensureDeferred(request).addBoth(self.results.append)
        self.house.settle()

    def tell(self, body: bytes, kind: bytes = b"upload-pack-result", *fields: bytes, **more: Any) -> None:
        """Answer a request."""
        self.house.forge.wire.deliver(answer(body, *fields, kind=kind, **more))
        self.house.settle()

    def capable(self, body: bytes = V2) -> None:
        """Answer the request for capabilities."""
        self.tell(body, b"upload-pack-advertisement")

    @property
    def text(self) -> str:
        """The text of the failure."""
        (failure,) = self.results
        assert isinstance(failure.value, InspectionError)
        return str(failure.value)

    def over(self) -> None:
        """Check that nothing is left over."""
        self.threads.run_all()
        self.house.nothing_left()


REQUESTS = ["capabilities", "refs", "fetch"]


def asked(which: str, **more: Any) -> Asked:
    """Start a request, up to the point at which its own answer is awaited."""
    one = Asked(**more)
    if which == "capabilities":
        one.ask(one.client.capabilities())
    else:
        request = one.client.refs(SHA1, [b"refs/heads/a", b"refs/heads/b"]) if which == "refs" else None
        one.ask(request or one.client.fetch(one.walk, [OID], [b"\x11" * 20]))
        one.capable()
    return one


# Requests.


def test_capabilities_are_requested_once_with_the_forge_s_credential() -> None:
    """In protocol version 2, from the repository of the push."""
    one = asked("capabilities")
    request = one.house.forge.asked()
    assert request.start.target == b"/octo/hello.git/info/refs?service=git-upload-pack"
    assert request.field(b"git-protocol") == b"version=2"
    assert request.field(b"authorization") is not None
    assert request.whole
    one.capable()
    assert one.results == [[b"ls-refs", b"fetch=shallow filter", b"object-format=sha1"]]
    one.ask(one.client.capabilities())
    assert one.results[1] == one.results[0]
    assert len(one.house.forge.wires) == 1
    assert FORGE_SECRET not in repr(one.results)
    one.over()


def test_without_credential_the_request_is_anonymous() -> None:
    """A public repository still answers."""
    one = Asked()
    one.house.credentials.held.clear()
    one.ask(one.client.capabilities())
    assert one.house.forge.asked().field(b"authorization") is None
    one.capable()
    one.over()


def test_only_requested_refs_are_returned() -> None:
    """A ref prefix matches more of them."""
    one = asked("refs")
    request = one.house.forge.asked()
    assert request.start.target == b"/octo/hello.git/git-upload-pack"
    assert request.field(b"content-type") == b"application/x-git-upload-pack-request"
    assert request.body.count(b"ref-prefix ") == 2
    one.tell(REFS)
    assert one.results == [{b"refs/heads/a": ONE}]
    one.over()


def test_many_refs_are_parsed_in_a_thread() -> None:
    """A mebibyte of them takes 0.1 s, in which the reactor serves others."""
    for count, threaded in ((10, False), (10_000, True)):
        asked = Asked(eager=False)
        asked.ask(asked.client.refs(SHA1, [b"refs/heads/7"]))
        asked.capable()
        lines = [encode(b"%040x refs/heads/%d\n" % (number, number)) for number in range(count)]
        asked.tell(b"".join(lines) + FLUSH)
        assert (len(asked.threads.waiting), asked.results == []) == (int(threaded), threaded)
        asked.threads.run_all()
        assert asked.results == [{b"refs/heads/7": b"%040x" % 7}]


@pytest.mark.parametrize("size", [1, 7, 100000])
def test_fetched_pack_goes_into_the_walk(size: int) -> None:
    """In a thread, whatever the size of the pieces."""
    one = asked("fetch")
    request = one.house.forge.asked()
    assert request.body == v2.fetch_request(SHA1, [OID], [b"\x11" * 20])
    whole = answer(packed())
    for at in range(0, len(whole), size):
        one.house.forge.wire.deliver(whole[at : at + size])
    one.house.settle()
    assert one.results == [None]
    assert one.walk.graph.has(OID)
    one.over()


def test_fetch_of_one_commit_without_history() -> None:
    """With ``deepen 1``."""
    one = Asked()
    one.ask(one.client.fetch(one.walk, [OID], deepen=1))
    one.capable()
    assert b"deepen 1" in one.house.forge.asked().body
    one.tell(packed())
    assert one.results == [None]
    one.over()


def test_object_format_is_not_sent_to_old_forges() -> None:
    """Before git 2.28 forges refuse that argument. Every forge with SHA-256 knows it."""
    one = Asked()
    one.ask(one.client.refs(SHA1, [b"refs/heads/a"]))
    one.capable(CAPABLE + FLUSH)
    assert one.house.forge.asked().body == v2.refs_request(None, [b"refs/heads/a"])
    one.tell(REFS)
    one.ask(one.client.fetch(one.walk, [OID]))
    assert one.house.forge.asked().body == v2.fetch_request(None, [OID])
    assert b"object-format" not in one.house.forge.wire.received
    one.tell(packed())
    assert one.results == [{b"refs/heads/a": ONE}, None]
    one.results.clear()
    one.ask(one.client.refs(SHA256, [b"refs/heads/a"]))
    assert one.text == "this forge does not advertise SHA-256"
    one.over()


# Limits.


def test_forge_without_filter_is_not_asked_for_history() -> None:
    """It would send all of its files."""
    one = Asked()
    one.ask(one.client.fetch(one.walk, [OID]))
    one.capable(encode(b"version 2\n") + encode(b"fetch=shallow\n") + FLUSH)
    assert one.text == "this forge cannot send history without files"
    assert len(one.house.forge.wires) == 1
    one.over()


def test_number_of_wants_is_limited() -> None:
    """The limit itself is accepted."""
    one = Asked()
    one.ask(one.client.fetch(one.walk, [b"%020d" % at for at in range(MAX_WANTS + 1)]))
    assert one.text == "too many objects to fetch for one push"
    assert one.house.forge.wires == []
    one.ask(one.client.fetch(one.walk, [b"%020d" % at for at in range(MAX_WANTS)]))
    one.capable()
    assert one.house.forge.asked().body.count(b"want ") == MAX_WANTS
    one.tell(packed())
    assert one.results[1] is None
    one.over()


@pytest.mark.parametrize("which", ["capabilities", "refs"])
def test_length_of_short_answers_is_limited(which: str) -> None:
    """Whatever the framing. The connection is closed."""
    one = asked(which)
    line = encode(b"x" * 60000)
    kind = b"upload-pack-advertisement" if which == "capabilities" else b"upload-pack-result"
    one.tell(line * (MAX_SMALL // len(line) + 1) + FLUSH, kind, chunked=True)
    assert one.text == "the forge's answer is too long"
    one.over()


def test_all_fetches_of_a_push_share_a_limit_of_bytes() -> None:
    """A push may name many refs, and each may need trees."""
    one = Asked()
    one.client.bytes_left = 2 * len(packed())
    for fetched in range(3):
        one.results.clear()
        one.ask(one.client.fetch(PackWalk(SHA1), [OID]))
        if not fetched:
            one.capable()
        one.tell(packed())
        assert (one.results == [None]) is (fetched < 2)
    assert one.text == "the forge's answer is too long"
    one.over()


def test_data_after_the_limit_is_discarded() -> None:
    """The rest of the same read is not parsed."""
    one = asked("refs")
    line = encode(b"x" * 60000)
    pieces = [line] * (MAX_SMALL // len(line) + 4)
    one.house.forge.wire.bufferSize = 4 * MAX_SMALL
    head = answer(chunked=True)[:-5]
    one.house.forge.wire.deliver(head + chunks(*pieces))
    one.house.settle()
    assert one.text == "the forge's answer is too long"
    one.over()


def test_slow_walk_pauses_the_forge() -> None:
    """It resumes afterwards."""
    one = asked("fetch", eager=False)
    noise = bytes(range(256)) * 4
    blobs = [packs.entry(packs.BLOB, noise * (at + 1), level=0) for at in range(100)]
    pack = packs.pack([*blobs, packs.entry(packs.COMMIT, COMMIT)])
    assert len(pack) > 4 * FULL
    whole = answer(packed(pack))
    wire = one.house.forge.wire
    for at in range(0, len(whole), 65536):
        wire.deliver(whole[at : at + 65536])
    one.house.settle()
    assert not wire.reading
    for _ in range(20):
        one.threads.run_all()
        one.house.settle()
    assert one.results == [None]
    assert one.walk.graph.has(OID)
    one.over()


# Unusable answers.


@pytest.mark.parametrize("which", REQUESTS)
@pytest.mark.parametrize("status", [b"401 No", b"404 No", b"500 No", b"301 Moved"])
def test_status_other_than_200_fails(which: str, status: bytes) -> None:
    """The text repeats only the status."""
    one = asked(which)
    one.tell(b"leak", b"upload-pack-result", b"Location: https://leak.example/", status=status)
    assert one.text == f"the forge answered {status[:3].decode()} when it was asked for history"
    one.over()


def test_refused_credential_is_renewed_once_and_the_question_repeated() -> None:
    """The forge did not serve the first request, so a second one is safe."""
    one = Asked()
    one.house.credentials.renewed = Credential("cred-2", "newer")
    one.ask(one.client.capabilities())
    one.tell(b"", status=b"401 No")
    assert [refused for _, refused in one.house.credentials.asked] == ["cred-1"]
    assert one.house.forge.wire.protocol.key.credential == "cred-2"
    one.tell(b"", status=b"401 No")
    assert one.text == "the forge answered 401 when it was asked for history"
    assert len(one.house.credentials.asked) == 1
    one.over()


def test_wait_for_a_credential_has_a_time_limit() -> None:
    """It counts as time of the push."""
    one = Asked()
    one.house.credentials.late = True
    one.ask(one.client.capabilities())
    one.house.wait(29)
    assert one.results == []
    one.house.wait(2)
    assert one.text == "no credential came within 30 s"
    assert one.house.forge.wires == []
    one.over()


@pytest.mark.parametrize("comes", [True, False])
def test_missing_credential_is_waited_for(*, comes: bool) -> None:
    """The push's own may have expired while it was read."""
    one = Asked()
    one.house.credentials.late = True
    one.ask(one.client.capabilities())
    assert one.house.forge.wires == []
    if comes:
        one.house.credentials.come(Credential("cred-2", "newer"))
        one.house.settle()
        one.capable()
        assert one.results != []
    else:
        one.house.credentials.fail(CredentialError("the command ended with status 1"))
        one.house.settle()
        assert one.text == "the command ended with status 1"
    one.over()


@pytest.mark.parametrize("which", REQUESTS)
@pytest.mark.parametrize("field", [b"Content-Encoding: gzip", b"Content-Encoding: br", b"X: y"])
def test_other_content_type_or_encoding_fails(which: str, field: bytes) -> None:
    """It was not requested."""
    one = asked(which)
    kind = b"receive-pack-result" if field == b"X: y" else b"upload-pack-result"
    if which == "capabilities" and field != b"X: y":
        kind = b"upload-pack-advertisement"
    one.tell(gzip.compress(V2), kind, field)
    refused = "the forge answered 200" if field == b"X: y" else "the forge sent a Content-Encoding"
    assert one.text.startswith(refused)
    one.over()


@pytest.mark.parametrize("which", REQUESTS)
@pytest.mark.parametrize("body", [b"", b"zzzz", encode(b"ERR no\n"), encode(b"packfile\n") + b"0009\x01xxxx" + FLUSH])
def test_malformed_answer_fails(which: str, body: bytes) -> None:
    """And ends the request."""
    one = asked(which)
    one.tell(body, b"upload-pack-advertisement" if which == "capabilities" else b"upload-pack-result")
    assert one.text.startswith("the forge")
    one.over()


@pytest.mark.parametrize("which", REQUESTS)
@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_truncated_answer_fails(which: str, how: str) -> None:
    """Even if everything that arrived is well-formed."""
    one = asked(which)
    body = packed() if which == "fetch" else REFS if which == "refs" else V2
    kind = b"upload-pack-advertisement" if which == "capabilities" else b"upload-pack-result"
    one.house.forge.wire.deliver(answer(body, kind=kind, length=len(body) + 1))
    getattr(one.house.forge.wire, how)()
    one.house.settle()
    assert one.text == "the forge closed the connection before its response was complete"
    one.over()


# Connections and time limits.


def test_refused_connection_fails_with_the_reason() -> None:
    """As reported by the network."""
    one = Asked()
    one.house.forge.open = False
    one.ask(one.client.capabilities())
    one.house.forge.refuse(Refused())
    one.house.settle()
    assert one.text == "cannot connect to the forge: it refuses connections"
    one.over()


def test_connecting_has_a_time_limit() -> None:
    """The pool's."""
    one = Asked()
    one.house.forge.open = False
    one.ask(one.client.capabilities())
    one.house.wait(31)
    assert one.text == "cannot connect to the forge: it does not answer in time"
    one.over()


def test_requests_of_a_push_reuse_a_connection() -> None:
    """A connection is reused after a complete answer, which saves a handshake."""
    one = asked("refs")
    one.tell(REFS)
    one.ask(one.client.refs(SHA1, [b"HEAD"]))
    one.tell(REFS)
    assert one.results == [{b"refs/heads/a": ONE}, {}]
    assert len(one.house.forge.wires) == 1
    one.over()


@pytest.mark.parametrize("which", ["refs", "fetch"])
@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_request_is_repeated_once_if_a_reused_connection_was_closed(which: str, how: str) -> None:
    """On a new connection."""
    one = asked(which)
    assert len(one.house.forge.wires) == 1
    getattr(one.house.forge.wire, how)()
    one.house.settle()
    assert len(one.house.forge.wires) == 2
    assert one.house.forge.asked().start.target == b"/octo/hello.git/git-upload-pack"
    getattr(one.house.forge.wire, how)()
    one.house.settle()
    assert one.text == "the forge closed the connection before its response was complete"
    assert len(one.house.forge.wires) == 2
    one.over()


@pytest.mark.parametrize("taken", [True, False])
def test_malformed_answer_is_not_requested_again(*, taken: bool) -> None:
    """Also if another push has taken the connection by then: its own request is not answered yet."""
    one = asked("fetch", eager=False)
    one.tell(encode(b"ERR upload-pack: not our ref\n") + FLUSH)
    assert one.results == []  # the answer is complete and the connection idle, but the thread has yet to read it
    means = one.house.pool, one.client.credentials, one.client.wanted, one.client.driver
    other = RepositoryClient(*means, "octo/hello", True, 30.0, 100.0, one.threads)  # noqa: FBT003 - positional by its definition
    results: list[Any] = []
    if taken:
        ensureDeferred(other.capabilities()).addBoth(results.append)
        one.house.settle()
    one.threads.run_all()
    one.house.settle()
    assert one.text == "the forge refused: upload-pack: not our ref"
    assert len(one.house.forge.wires) == 1
    if taken:
        one.capable()
        assert results == [[b"ls-refs", b"fetch=shallow filter", b"object-format=sha1"]]
    one.over()


def test_number_of_requests_of_a_push_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one that is allowed is answered. Requests to the forge's API count, too."""
    monkeypatch.setattr(module, "MAX_REQUESTS", 3)
    one = asked("capabilities")
    one.capable()
    for allowed in (True, False):
        one.results.clear()
        one.ask(one.client.refs(SHA1, [b"HEAD"]))
        if allowed:
            one.tell(REFS)
            assert one.results == [{}]
            one.ask(one.client.api_credential())
    assert one.text == "this push needs too many requests to the forge"
    one.results.clear()
    one.ask(one.client.api_credential())
    assert one.text == "this push needs too many requests to the forge"


def test_requests_of_a_push_share_a_time_limit() -> None:
    """A forge that is always almost late holds a push no longer than one that never answers."""
    one = asked("capabilities")
    one.client.patience = 70
    one.house.wait(25)
    one.capable()
    for spent in (25, 50):
        one.results.clear()
        one.ask(one.client.refs(SHA1, [b"HEAD"]))
        one.house.wait(25)
        if spent == 25:
            one.tell(REFS)
            assert one.results == [{}]
    one.house.wait(5)
    assert one.text == "the forge did not answer in time"
    one.house.wait(30)
    one.results.clear()
    one.ask(one.client.refs(SHA1, [b"HEAD"]))
    assert one.text == "the forge took too long to answer all requests for this push"
    one.over()


@pytest.mark.parametrize("which", REQUESTS)
@pytest.mark.parametrize("part", [0, 20])
def test_each_request_has_a_time_limit(which: str, part: int) -> None:
    """Whether the answer has begun or not. The connection is closed."""
    one = asked(which)
    one.house.forge.wire.deliver(answer(packed())[:part])
    one.house.wait(29)
    assert one.results == []
    one.house.wait(2)
    assert one.text == "the forge did not answer in time"
    assert one.house.forge.wire.ended == "reset"
    one.over()


def test_failed_request_waits_for_its_thread() -> None:
    """The thread may still be writing to the graph, which is read next."""
    one = asked("fetch", eager=False)
    whole = answer(packed(), length=len(packed()) + 1)
    one.house.forge.wire.deliver(whole)
    assert len(one.threads.waiting) == 1
    one.house.wait(31)
    assert one.results == []
    one.threads.run_all()
    assert one.text == "the forge did not answer in time"
    one.over()


@pytest.mark.parametrize("which", REQUESTS)
@pytest.mark.parametrize("point", ["connecting", "thinking", "answering"])
def test_cancelled_request_closes_its_connection(which: str, point: str) -> None:
    """It does not count as failed, and no further request is sent."""
    one = Asked(eager=False) if which == "fetch" else Asked()
    one.house.forge.open = point != "connecting"
    request = {
        "capabilities": one.client.capabilities,
        "refs": lambda: one.client.refs(SHA1, [b"HEAD"]),
        "fetch": lambda: one.client.fetch(one.walk, [OID]),
    }[which]
    one.ask(request())
    if point != "connecting" and which != "capabilities":
        one.capable()
    if point == "answering":
        kind = b"upload-pack-advertisement" if which == "capabilities" else b"upload-pack-result"
        one.house.forge.wire.deliver(answer(packed(), kind=kind)[:-3])
    asking, failed = one.asking, one.results
    assert asking is not None
    one.client.leave()
    asking.cancel()
    one.house.settle()
    assert isinstance(failed[0].value, CancelledError)
    assert one.house.forge.coming == []
    before = len(one.house.forge.wires)
    one.ask(one.client.refs(SHA1, [b"HEAD"]))
    assert isinstance(failed[1].value, CancelledError)
    assert len(one.house.forge.wires) == before
    one.over()
