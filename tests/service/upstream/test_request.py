"""What the forge is asked: the head built anew, and the body kept for one second try."""

from __future__ import annotations

import pytest
from attrs import evolve

from credgate.git.authorize import Moved, Relay
from credgate.http.request import judge
from credgate.service.credentials.sources import ANONYMOUS, Credential
from credgate.service.upstream.request import REPLAY_BYTES, UpstreamRequest, credential_request
from credgate.values import Access, RepoPath
from tests.fakes.relay import FORGE_SECRET, House, discover, post


def question(house: House, request: bytes, *, recoded: bool = False, read: bool = False) -> UpstreamRequest:
    """Make what the relay makes of ``request``."""
    head = judge(request[: request.index(b"\r\n\r\n") + 4])
    verdict = house.judge_head(head, "10.0.0.7")
    assert isinstance(verdict, Relay)
    made = UpstreamRequest(head, recoded=recoded, read=read)
    made.address(verdict, house.credentials.cached(credential_request(verdict)) or ANONYMOUS)
    return made


def test_request_has_the_current_credential() -> None:
    """And the key of the connections that belong to it."""
    house = House()
    asked = question(house, discover())
    assert (asked.key.forge, asked.key.credential, asked.secret) == ("github.com", "cred-1", FORGE_SECRET)
    assert b"\r\nAuthorization: Basic " in asked.lines
    del house.credentials.held["github.com"]
    asked = question(house, discover())
    assert (asked.key.credential, asked.secret) == ("", "")
    assert b"Authorization" not in asked.lines


def test_redirected_request_has_the_new_path_and_credential() -> None:
    """The rest of it stays as it was."""
    house = House()
    asked = question(house, discover())
    before = asked.lines
    verdict = house.judge_head(judge(discover()), "10.0.0.7")
    assert isinstance(verdict, Relay)
    asked.address(evolve(verdict, path="octo/new"), Credential("cred-2", "other"))
    assert (asked.key.credential, asked.secret) == ("cred-2", "other")
    assert asked.lines.startswith(b"GET /octo/new.git/info/refs")
    assert asked.lines.split(b"\r\n")[3:] == before.split(b"\r\n")[3:]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("recoded", [False, True])
def test_recoded_body_is_sent_in_chunks(*, chunked: bool, recoded: bool) -> None:
    """So it is chunked, and no longer gzip."""
    asked = question(House(), post(b"12345", b"Content-Encoding: gzip", chunked=chunked), recoded=recoded)
    assert asked.chunked is (chunked or recoded)
    assert (b"Transfer-Encoding: chunked" in asked.lines) is (chunked or recoded)
    assert (b"Content-Length: 5" in asked.lines) is not (chunked or recoded)
    assert (b"Content-Encoding: gzip" in asked.lines) is not recoded


@pytest.mark.parametrize("read", [False, True])
def test_answer_that_is_read_must_not_be_coded(*, read: bool) -> None:
    """The forge must not learn that the client accepts gzip."""
    asked = question(House(), discover(b"upload", b"octo/hello", b"Accept-Encoding: gzip"), read=read)
    assert (b"Accept-Encoding: gzip" in asked.lines) is not read


def test_sent_body_is_kept_for_a_second_try() -> None:
    """All of it, however it came, and what comes later too: a connection may be closed, then a credential refused."""
    asked = question(House(), post(b"12345"))
    asked.record_sent([b"12", b"34"])
    asked.record_sent([b"5"])
    assert asked.replay_body() == [b"12", b"34", b"5"]
    asked.record_sent([b"6"])
    assert asked.replay_body() == [b"12", b"34", b"5", b"6"]


def judged(house: House, request: bytes) -> Relay:
    """Return what the gate says to ``request``."""
    verdict = house.judge_head(judge(request), "10.0.0.7")
    assert isinstance(verdict, Relay)
    return verdict


def test_credential_is_for_the_requested_repository() -> None:
    """In its forge's normal form, for what is to be done, for the session that does it."""
    house = House()
    wanted = credential_request(judged(house, discover(b"receive", b"Octo/Hello.git")))
    assert (wanted.repo, wanted.access) == (RepoPath("github.com", "octo/hello"), Access.WRITE)
    assert wanted.session is house.session


def test_credential_after_a_rename_is_for_the_new_name() -> None:
    """The old name's owner may have another credential, which must not go there."""
    house = House()
    new = RepoPath("github.com", "octo/new")
    moved = house.judge.authorizer.moved(judged(house, discover()), Moved(new, dot_git=True))
    assert isinstance(moved, Relay)
    assert credential_request(moved).repo == new


def test_empty_body_can_be_repeated() -> None:
    """A discovery has no body."""
    assert question(House(), discover()).replay_body() == []


@pytest.mark.parametrize("more", [0, 1])
def test_body_over_the_limit_cannot_be_repeated(more: int) -> None:
    """Memory is bounded, however the body comes."""
    asked = question(House(), post(b"12345"))
    for _ in range(16):
        asked.record_sent([b"x" * (REPLAY_BYTES // 16)])
    asked.record_sent([b"x" * more])
    said = asked.replay_body()
    assert (said is None) is (more == 1)
