"""Asking the forge while a push waits: what is sent, what is taken for an answer, and every way in which it ends."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectionRefusedError as Refused

from credgate.errors import CredentialError
from credgate.git import refs, v2
from credgate.git.pktline import FLUSH, encode
from credgate.pack.objects import SHA1, SHA256
from credgate.pack.walk import PackWalk
from credgate.service.credentials.sources import Credential, CredentialRequest
from credgate.service.inspect.pack_reader import FULL
from credgate.service.inspect.repository_client import MAX_SMALL, MAX_WANTS, InquiryError, RepositoryClient
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
    """Make the body of an answer to a fetch."""
    bands = (encode(b"\x01" + pack[at : at + piece]) for at in range(0, len(pack), piece))
    return encode(b"packfile\n") + b"".join(bands) + FLUSH


class Asked:
    """An inquiry, and what became of its one question."""

    def __init__(self, *, eager: bool = True) -> None:
        self.house = House()
        self.threads = Threads(eager)
        driver = self.house.drivers["github.com"]
        house: Any = self.house
        wanted = CredentialRequest(RepoPath("github.com", "octo/hello"), Access.WRITE, house.session)
        means = house.pool, house.credentials, wanted, driver
        self.inquiry = RepositoryClient(*means, "octo/hello", True, 30.0, 100.0, self.threads)  # noqa: FBT003 - positional by its definition
        self.walk = PackWalk(SHA1)
        self.results: list[Any] = []
        self.asking: Deferred[Any] | None = None

    def ask(self, question: Coroutine[Deferred[Any], Any, Any]) -> None:
        """Begin."""
        self.asking = ensureDeferred(question).addBoth(self.results.append)
        self.house.settle()

    def tell(self, body: bytes, kind: bytes = b"upload-pack-result", *fields: bytes, **more: Any) -> None:
        """Answer."""
        self.house.forge.wire.deliver(answer(body, *fields, kind=kind, **more))
        self.house.settle()

    def capable(self, body: bytes = V2) -> None:
        """Answer the first question."""
        self.tell(body, b"upload-pack-advertisement")

    @property
    def text(self) -> str:
        """What went wrong, in our words."""
        (failure,) = self.results
        assert isinstance(failure.value, InquiryError)
        return str(failure.value)

    def over(self) -> None:
        """Check that nothing is left."""
        self.threads.run_all()
        self.house.nothing_left()


QUESTIONS = ["capabilities", "refs", "fetch"]


def asked(which: str, **more: Any) -> Asked:
    """Ask a question, up to the point where its own answer is awaited."""
    one = Asked(**more)
    if which == "capabilities":
        one.ask(one.inquiry.capabilities())
    else:
        question = one.inquiry.refs(SHA1, [b"refs/heads/a", b"refs/heads/b"]) if which == "refs" else None
        one.ask(question or one.inquiry.fetch(one.walk, [OID], [b"\x11" * 20]))
        one.capable()
    return one


# What is asked.


def test_capabilities_are_asked_once_with_the_forges_credential() -> None:
    """In protocol version 2, where the push goes, too."""
    one = asked("capabilities")
    request = one.house.forge.asked()
    assert request.start.target == b"/octo/hello.git/info/refs?service=git-upload-pack"
    assert request.field(b"git-protocol") == b"version=2"
    assert request.field(b"authorization") is not None
    assert request.whole
    one.capable()
    assert one.results == [[b"ls-refs", b"fetch=shallow filter", b"object-format=sha1"]]
    one.ask(one.inquiry.capabilities())
    assert one.results[1] == one.results[0]
    assert len(one.house.forge.wires) == 1
    assert FORGE_SECRET not in repr(one.inquiry._lines)
    one.over()


def test_without_a_credential_it_is_asked_as_anybody() -> None:
    """A public repository answers all the same."""
    one = Asked()
    one.house.credentials.held.clear()
    one.ask(one.inquiry.capabilities())
    assert one.house.forge.asked().field(b"authorization") is None
    one.capable()
    one.over()


def test_of_the_refs_those_that_were_asked_for_are_told() -> None:
    """A prefix has more of them."""
    one = asked("refs")
    request = one.house.forge.asked()
    assert request.start.target == b"/octo/hello.git/git-upload-pack"
    assert request.field(b"content-type") == b"application/x-git-upload-pack-request"
    assert request.body.count(b"ref-prefix ") == 2
    one.tell(REFS)
    assert one.results == [{b"refs/heads/a": ONE}]
    one.over()


def test_many_refs_are_read_in_a_thread() -> None:
    """A mebibyte of them takes a tenth of a second, in which the reactor serves others."""
    for count, threaded in ((10, False), (10_000, True)):
        asked = Asked(eager=False)
        asked.ask(asked.inquiry.refs(SHA1, [b"refs/heads/7"]))
        asked.capable()
        lines = [encode(b"%040x refs/heads/%d\n" % (number, number)) for number in range(count)]
        asked.tell(b"".join(lines) + FLUSH)
        assert (len(asked.threads.waiting), asked.results == []) == (int(threaded), threaded)
        asked.threads.run_all()
        assert asked.results == [{b"refs/heads/7": b"%040x" % 7}]


@pytest.mark.parametrize("size", [1, 7, 100000])
def test_what_is_fetched_goes_into_the_walk(size: int) -> None:
    """In a thread, whatever the pieces."""
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


def test_a_fetch_may_be_for_one_commit_alone() -> None:
    """Without its history."""
    one = Asked()
    one.ask(one.inquiry.fetch(one.walk, [OID], deepen=1))
    one.capable()
    assert b"deepen 1" in one.house.forge.asked().body
    one.tell(packed())
    assert one.results == [None]
    one.over()


def test_an_old_forge_is_not_told_of_formats() -> None:
    """Before git 2.28 forges do not know the word and refuse it; what has SHA-256 knows it."""
    one = Asked()
    one.ask(one.inquiry.refs(SHA1, [b"refs/heads/a"]))
    one.capable(CAPABLE + FLUSH)
    assert one.house.forge.asked().body == refs.refs_request(None, [b"refs/heads/a"])
    one.tell(REFS)
    one.ask(one.inquiry.fetch(one.walk, [OID]))
    assert one.house.forge.asked().body == v2.fetch_request(None, [OID])
    assert b"object-format" not in one.house.forge.wire.received
    one.tell(packed())
    assert one.results == [{b"refs/heads/a": ONE}, None]
    one.results.clear()
    one.ask(one.inquiry.refs(SHA256, [b"refs/heads/a"]))
    assert one.text == "this forge does not say that it has SHA-256"
    one.over()


# Bounds.


def test_a_forge_without_filters_is_not_asked_for_history() -> None:
    """It would send all of its files."""
    one = Asked()
    one.ask(one.inquiry.fetch(one.walk, [OID]))
    one.capable(encode(b"version 2\n") + encode(b"fetch=shallow\n") + FLUSH)
    assert one.text == "this forge cannot send history without files"
    assert len(one.house.forge.wires) == 1
    one.over()


def test_so_much_may_be_wanted_and_no_more() -> None:
    """A question has a bound, too."""
    one = Asked()
    one.ask(one.inquiry.fetch(one.walk, [b"%020d" % at for at in range(MAX_WANTS + 1)]))
    assert "more would have to be fetched" in one.text
    assert one.house.forge.wires == []
    one.ask(one.inquiry.fetch(one.walk, [b"%020d" % at for at in range(MAX_WANTS)]))
    one.capable()
    assert one.house.forge.asked().body.count(b"want ") == MAX_WANTS
    one.tell(packed())
    assert one.results[1] is None
    one.over()


@pytest.mark.parametrize("which", ["capabilities", "refs"])
def test_a_list_has_a_bound(which: str) -> None:
    """However it is framed; what came until then is thrown away, with the connection."""
    one = asked(which)
    line = encode(b"x" * 60000)
    kind = b"upload-pack-advertisement" if which == "capabilities" else b"upload-pack-result"
    one.tell(line * (MAX_SMALL // len(line) + 1) + FLUSH, kind, chunked=True)
    assert one.text == "the forge's answer is too long"
    one.over()


def test_all_fetches_of_a_push_share_a_bound() -> None:
    """A push may name many refs, and each may need trees."""
    one = Asked()
    one.inquiry._room = 2 * len(packed())
    for fetched in range(3):
        one.results.clear()
        one.ask(one.inquiry.fetch(PackWalk(SHA1), [OID]))
        if not fetched:
            one.capable()
        one.tell(packed())
        assert (one.results == [None]) is (fetched < 2)
    assert one.text == "the forge's answer is too long"
    one.over()


def test_what_came_with_the_end_of_a_question_is_not_taken() -> None:
    """The piece that was too much is the last; the others of the same read are thrown away."""
    one = asked("refs")
    line = encode(b"x" * 60000)
    pieces = [line] * (MAX_SMALL // len(line) + 4)
    one.house.forge.wire.bufferSize = 4 * MAX_SMALL
    head = answer(chunked=True)[:-5]
    one.house.forge.wire.deliver(head + chunks(*pieces))
    one.house.settle()
    assert one.text == "the forge's answer is too long"
    one.over()


def test_a_forge_is_read_no_faster_than_its_answer_is_walked() -> None:
    """Back-pressure reaches it; and it goes on afterwards."""
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


# What is no answer.


@pytest.mark.parametrize("which", QUESTIONS)
@pytest.mark.parametrize("status", [b"401 No", b"404 No", b"500 No", b"301 Moved"])
def test_what_is_not_200_is_no_answer(which: str, status: bytes) -> None:
    """Nothing of it is repeated but the number."""
    one = asked(which)
    one.tell(b"leak", b"upload-pack-result", b"Location: https://leak.example/", status=status)
    assert one.text == f"the forge answered {status[:3].decode()} when it was asked for history"
    one.over()


def test_refused_credential_is_renewed_once_and_the_question_repeated() -> None:
    """The forge did not serve the first request, so a second one is safe."""
    one = Asked()
    one.house.credentials.renewed = Credential("cred-2", "newer")
    one.ask(one.inquiry.capabilities())
    one.tell(b"", status=b"401 No")
    assert [refused for _, refused in one.house.credentials.asked] == ["cred-1"]
    assert one.house.forge.wire.protocol.key.credential == "cred-2"
    one.tell(b"", status=b"401 No")
    assert one.text == "the forge answered 401 when it was asked for history"
    assert len(one.house.credentials.asked) == 1
    one.over()


def test_a_credential_that_does_not_come_is_not_waited_for_for_ever() -> None:
    """It counts into the push's own time."""
    one = Asked()
    one.house.credentials.late = True
    one.ask(one.inquiry.capabilities())
    one.house.wait(29)
    assert one.results == []
    one.house.wait(2)
    assert one.text == "no credential came within 30 s"
    assert one.house.forge.wires == []
    one.over()


@pytest.mark.parametrize("comes", [True, False])
def test_a_credential_that_is_not_at_hand_is_waited_for(*, comes: bool) -> None:
    """The push has had one; that may have ended while it was read."""
    one = Asked()
    one.house.credentials.late = True
    one.ask(one.inquiry.capabilities())
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


@pytest.mark.parametrize("which", QUESTIONS)
@pytest.mark.parametrize("field", [b"Content-Encoding: gzip", b"Content-Encoding: br", b"X: y"])
def test_what_is_of_another_type_or_coding_is_no_answer(which: str, field: bytes) -> None:
    """It was not asked for."""
    one = asked(which)
    kind = b"receive-pack-result" if field == b"X: y" else b"upload-pack-result"
    if which == "capabilities" and field != b"X: y":
        kind = b"upload-pack-advertisement"
    one.tell(gzip.compress(V2), kind, field)
    refused = "the forge answered 200" if field == b"X: y" else "the forge sent a Content-Encoding"
    assert one.text.startswith(refused)
    one.over()


@pytest.mark.parametrize("which", QUESTIONS)
@pytest.mark.parametrize("body", [b"", b"zzzz", encode(b"ERR no\n"), encode(b"packfile\n") + b"0009\x01xxxx" + FLUSH])
def test_what_does_not_read_is_no_answer(which: str, body: bytes) -> None:
    """And the question is over."""
    one = asked(which)
    one.tell(body, b"upload-pack-advertisement" if which == "capabilities" else b"upload-pack-result")
    assert one.text.startswith("the forge")
    one.over()


@pytest.mark.parametrize("which", QUESTIONS)
@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_an_answer_that_is_cut_is_none(which: str, how: str) -> None:
    """Though all that came of it reads well."""
    one = asked(which)
    body = packed() if which == "fetch" else REFS if which == "refs" else V2
    kind = b"upload-pack-advertisement" if which == "capabilities" else b"upload-pack-result"
    one.house.forge.wire.deliver(answer(body, kind=kind, length=len(body) + 1))
    getattr(one.house.forge.wire, how)()
    one.house.settle()
    assert one.text == "the forge closed the connection before its answer was whole"
    one.over()


# Connections and time.


def test_a_forge_that_cannot_be_reached_is_said_to_be() -> None:
    """With the reason."""
    one = Asked()
    one.house.forge.open = False
    one.ask(one.inquiry.capabilities())
    one.house.forge.refuse(Refused())
    one.house.settle()
    assert one.text == "the forge cannot be reached: it refuses connections"
    one.over()


def test_a_connection_has_a_deadline() -> None:
    """The pool's."""
    one = Asked()
    one.house.forge.open = False
    one.ask(one.inquiry.capabilities())
    one.house.wait(31)
    assert one.text == "the forge cannot be reached: it does not answer in time"
    one.over()


def test_questions_of_a_push_share_a_connection() -> None:
    """Each would cost a handshake; a connection that an answer was whole on is kept for the next."""
    one = asked("refs")
    one.tell(REFS)
    one.ask(one.inquiry.refs(SHA1, [b"HEAD"]))
    one.tell(REFS)
    assert one.results == [{b"refs/heads/a": ONE}, {}]
    assert len(one.house.forge.wires) == 1
    one.over()


@pytest.mark.parametrize("which", ["refs", "fetch"])
@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_a_kept_connection_that_is_closed_is_no_answer(which: str, how: str) -> None:
    """The question is asked again, on a new one, and once."""
    one = asked(which)
    assert len(one.house.forge.wires) == 1
    getattr(one.house.forge.wire, how)()
    one.house.settle()
    assert len(one.house.forge.wires) == 2
    assert one.house.forge.asked().start.target == b"/octo/hello.git/git-upload-pack"
    getattr(one.house.forge.wire, how)()
    one.house.settle()
    assert one.text == "the forge closed the connection before its answer was whole"
    assert len(one.house.forge.wires) == 2
    one.over()


@pytest.mark.parametrize("taken", [True, False])
def test_an_answer_that_cannot_be_read_is_not_asked_for_again(*, taken: bool) -> None:
    """Also where another push has taken the connection by then: its question is not answered yet, ours is."""
    one = asked("fetch", eager=False)
    one.tell(encode(b"ERR upload-pack: not our ref\n") + FLUSH)
    assert one.results == []  # the whole answer came, the connection is kept, and the thread has yet to read it
    means = one.house.pool, one.inquiry.credentials, one.inquiry.wanted, one.inquiry.driver
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


def test_all_questions_of_a_push_share_a_deadline() -> None:
    """A forge that is only just in time, again and again, holds a push no longer than one that never answers."""
    one = asked("capabilities")
    one.inquiry.patience = 70
    one.house.wait(25)
    one.capable()
    for spent in (25, 50):
        one.results.clear()
        one.ask(one.inquiry.refs(SHA1, [b"HEAD"]))
        one.house.wait(25)
        if spent == 25:
            one.tell(REFS)
            assert one.results == [{}]
    one.house.wait(5)
    assert one.text == "the forge did not answer in time"
    one.house.wait(30)
    one.results.clear()
    one.ask(one.inquiry.refs(SHA1, [b"HEAD"]))
    assert one.text == "the forge took too long to answer what had to be asked"
    one.over()


@pytest.mark.parametrize("which", QUESTIONS)
@pytest.mark.parametrize("part", [0, 20])
def test_a_question_has_a_deadline(which: str, part: int) -> None:
    """Whether the answer began or not; what is late is not taken, and the connection is gone."""
    one = asked(which)
    one.house.forge.wire.deliver(answer(packed())[:part])
    one.house.wait(29)
    assert one.results == []
    one.house.wait(2)
    assert one.text == "the forge did not answer in time"
    assert one.house.forge.wire.ended == "reset"
    one.over()


def test_a_question_that_fails_waits_for_its_thread() -> None:
    """The next look at the same graph must not meet it there."""
    one = asked("fetch", eager=False)
    whole = answer(packed(), length=len(packed()) + 1)
    one.house.forge.wire.deliver(whole)
    assert len(one.threads.waiting) == 1
    one.house.wait(31)
    assert one.results == []
    one.threads.run_all()
    assert one.text == "the forge did not answer in time"
    one.over()


@pytest.mark.parametrize("which", QUESTIONS)
@pytest.mark.parametrize("point", ["connecting", "thinking", "answering"])
def test_a_question_that_is_cancelled_takes_its_connection_along(which: str, point: str) -> None:
    """And is not taken for one that failed: nothing more is asked."""
    one = Asked(eager=False) if which == "fetch" else Asked()
    one.house.forge.open = point != "connecting"
    question = {
        "capabilities": one.inquiry.capabilities,
        "refs": lambda: one.inquiry.refs(SHA1, [b"HEAD"]),
        "fetch": lambda: one.inquiry.fetch(one.walk, [OID]),
    }[which]
    one.ask(question())
    if point != "connecting" and which != "capabilities":
        one.capable()
    if point == "answering":
        kind = b"upload-pack-advertisement" if which == "capabilities" else b"upload-pack-result"
        one.house.forge.wire.deliver(answer(packed(), kind=kind)[:-3])
    asking, failed = one.asking, one.results
    assert asking is not None
    one.inquiry.leave()
    asking.cancel()
    one.house.settle()
    assert isinstance(failed[0].value, CancelledError)
    assert one.house.forge.coming == []
    before = len(one.house.forge.wires)
    one.ask(one.inquiry.refs(SHA1, [b"HEAD"]))
    assert isinstance(failed[1].value, CancelledError)
    assert len(one.house.forge.wires) == before
    one.over()
