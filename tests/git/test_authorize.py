"""Authorization: every refusal beside a request that differs in one thing and is allowed."""

from __future__ import annotations

import base64
import itertools

import pytest
from attrs import evolve

from credgate.config.schema import ForgeConfig, PushPolicy
from credgate.forges.registry import driver_for
from credgate.git.authorize import Authorizer, LfsRelay, Refuse, Relay, Serve, Verdict
from credgate.git.route import Kind
from credgate.http.request import judge as read_head
from credgate.lfs.handles import Action, Handle, Handles
from credgate.lfs.hrefs import read_href
from credgate.lfs.target import Call
from credgate.sessions.login_throttle import LoginThrottle
from credgate.sessions.model import Grant, PushRule, Session
from credgate.values import Access, Reason, RepoPath
from tests.fakes.sessions import session

LIMIT = 3
HERE = "10.0.0.7"
DRIVERS = {
    "github.com": driver_for(ForgeConfig("github.com", "github", "https://github.com")),
    "lab": driver_for(ForgeConfig("lab", "generic", "https://lab.example/srv")),
}
GRANTS = (
    Grant("Octo/Hello", "github.com", normal="octo/hello"),
    Grant("octo/readable", "github.com", Access.READ),
    Grant("team/*", "lab"),
)
FETCH = b"GET /git/octo/hello.git/info/refs?service=git-upload-pack"
PUSH = b"GET /git/octo/hello/info/refs?service=git-receive-pack"
POST = b"POST /git/octo/hello.git/git-upload-pack"
FETCH_TYPE = b"Content-Type: application/x-git-upload-pack-request"
PUSH_TYPE = b"Content-Type: application/x-git-receive-pack-request"


class OneSession:
    """Has one session, found by its token and secret, and records the addresses."""

    def __init__(self, known: Session) -> None:
        self.known = known
        self.asked: list[tuple[str, str, str]] = []

    def authenticate(self, token: str, secret: str, address: str) -> Session | None:
        """Return it for the right pair."""
        self.asked.append((token, secret, address))
        return self.known if (token, secret) == ("token", "secret") else None

    def usable(self, session_id: str, address: str) -> Session | None:
        """Return it for its public id, from this address alone."""
        return self.known if (session_id, address) == (self.known.id, HERE) else None


class Door:
    """An authorizer with everything that it consults."""

    def __init__(self) -> None:
        self.session = session(grants=GRANTS)
        self.sessions = OneSession(self.session)
        self.brake = LoginThrottle(LIMIT)
        self.random = map("{:043d}".format, itertools.count(1))
        self.without: set[str] = set()
        self.admission = Authorizer(
            DRIVERS,
            "github.com",
            self.sessions,
            self.brake,
            lambda repo: not self.without & {repo.forge, str(repo)},
            PushPolicy(),
            Handles(lambda: next(self.random)),
        )

    def ask(self, line: bytes, *fields: bytes, login: bytes | None = b"basic", now: float = 100.0) -> Verdict:
        """Judge a request of ``line`` and ``fields``; ``login`` is a kind, or the field's value, or None."""
        kinds = {
            b"basic": b"Basic " + base64.b64encode(b"x:token:secret"),
            b"bearer": b"Bearer token:secret",
            b"wrong": b"Basic " + base64.b64encode(b"x:token:wrong"),
            b"wrong-bearer": b"Bearer token:wrong",
        }
        shown = () if login is None else (b"Authorization: " + kinds.get(login, login),)
        head = b"\r\n".join((line + b" HTTP/1.1", b"Host: gate", *shown, *fields, b"", b""))
        return self.admission.judge(read_head(head), HERE, now)


def refused(verdict: Verdict) -> tuple[Reason, int]:
    """Return reason and status of a refusal."""
    assert isinstance(verdict, Refuse)
    assert not verdict.decision.allow
    assert verdict.decision.rule
    assert verdict.decision.text
    return verdict.decision.reason, verdict.status


# Allowed requests.


def test_upstream_path_has_the_spelling_of_the_grant() -> None:
    """Whatever the client's case."""
    door = Door()
    verdict = door.ask(FETCH.replace(b"octo/hello", b"OCTO/hellO"))
    assert isinstance(verdict, Relay)
    assert (verdict.path, verdict.dot_git, verdict.session) == ("Octo/Hello", True, door.session)
    assert verdict.driver is DRIVERS["github.com"]
    assert verdict.request.needed is Access.READ


@pytest.mark.parametrize("suffix", [b"", b".git"])
def test_pattern_keeps_the_requested_name_and_suffix(suffix: bytes) -> None:
    """A server may know ``x.git`` and not ``x``, or redirect from one to the other."""
    verdict = Door().ask(b"GET /forge/lab/team/sub/x%b/info/refs?service=git-upload-pack" % suffix)
    assert isinstance(verdict, Relay)
    assert (verdict.path, verdict.dot_git) == ("team/sub/x", bool(suffix))


@pytest.mark.parametrize("suffix", [b"", b".git"])
def test_exact_grant_keeps_the_requested_suffix(suffix: bytes) -> None:
    """A URL that works without a gateway works with it."""
    door = Door()
    door.sessions.known = evolve(door.session, grants=(Grant("team/x", "lab"),))
    verdict = door.ask(b"GET /forge/lab/team/x%b/info/refs?service=git-upload-pack" % suffix)
    assert isinstance(verdict, Relay)
    assert (verdict.path, verdict.dot_git) == ("team/x", bool(suffix))


@pytest.mark.parametrize("login", [b"basic", b"bearer"])
def test_basic_and_bearer_are_equal(login: bytes) -> None:
    """The credential helper and extraHeader are two ways to send the same credential."""
    door = Door()
    assert isinstance(door.ask(PUSH, login=login), Relay)
    assert door.sessions.asked == [("token", "secret", HERE)]


@pytest.mark.parametrize("coding", [b"gzip", b"x-gzip", b"identity"])
def test_gzip_body_is_allowed(coding: bytes) -> None:
    """C git compresses fetches, JGit pushes."""
    assert isinstance(Door().ask(POST, FETCH_TYPE, b"Content-Encoding: " + coding, b"Content-Length: 4"), Relay)


def test_health_needs_no_session_and_no_lookup() -> None:
    """A probe must cost nothing."""
    door = Door()
    assert door.ask(b"GET /health", login=None) == Serve("health")
    assert door.ask(b"GET /health", login=b"wrong") == Serve("health")
    assert door.sessions.asked == []


def test_whoami_is_served_with_its_session() -> None:
    """An agent can ask what it may do."""
    door = Door()
    assert door.ask(b"GET /whoami") == Serve("whoami", door.session)


# Authentication.


@pytest.mark.parametrize("line", [FETCH, PUSH, POST, b"GET /whoami", b"GET /forge/nobody/a/b/git-upload-pack"])
def test_missing_credential_is_challenged(line: bytes) -> None:
    """Git sends its credential only after a 401 with Basic; it does not count as a failure."""
    door = Door()
    if b"nobody" in line:
        line = line.replace(b"GET", b"GET").replace(b"git-upload-pack", b"info/refs?service=git-upload-pack")
    verdict = door.ask(line, login=None)
    assert refused(verdict) == (Reason.NO_CREDENTIAL, 401)
    assert isinstance(verdict, Refuse)
    assert verdict.challenge
    assert len(door.brake) == 0


@pytest.mark.parametrize(
    ("login", "status", "challenge"),
    [
        (b"wrong", 401, True),
        (b"wrong-bearer", 403, False),
        (b"Bearer x", 403, False),
        (b"Basic x", 401, True),
        (b"Digest x", 401, True),
    ],
)
def test_every_wrong_credential_has_the_same_answer(login: bytes, status: int, *, challenge: bool) -> None:
    """Unknown, expired or malformed; 403 only where git would hide the text of a 401."""
    door = Door()
    verdict = door.ask(FETCH, login=login)
    assert refused(verdict) == (Reason.BAD_CREDENTIAL, status)
    assert isinstance(verdict, Refuse)
    assert verdict.challenge is challenge
    assert verdict.session is None
    other = Door().ask(FETCH, login=b"wrong")
    assert isinstance(other, Refuse)
    assert verdict.decision == other.decision


def test_unknown_forge_is_shown_to_sessions_only() -> None:
    """Without a session a client learns nothing about forges."""
    for place, reason in ((b"nobody/a", Reason.UNKNOWN_FORGE), (b"lab/a.git", Reason.NOT_FOUND)):
        line = b"GET /forge/" + place + b"/b/info/refs?service=git-upload-pack"
        stranger = Door().ask(line, login=b"wrong")
        assert refused(stranger) == (Reason.BAD_CREDENTIAL, 401)
        assert isinstance(stranger, Refuse)
        assert "lab" not in stranger.decision.text
        verdict = Door().ask(line)
        assert refused(verdict) == (reason, 404)
        assert isinstance(verdict, Refuse)
        assert verdict.session is not None


def test_throttle_stops_guessing_but_not_a_valid_credential() -> None:
    """One sandbox must not lock out another that shares its address."""
    door = Door()
    for _ in range(LIMIT):
        assert refused(door.ask(FETCH, login=b"wrong")) == (Reason.BAD_CREDENTIAL, 401)
    verdict = door.ask(FETCH, login=b"wrong", now=110.5)
    assert refused(verdict) == (Reason.TOO_MANY_FAILURES, 429)
    assert isinstance(verdict, Refuse)
    assert verdict.retry_after == 50
    assert not verdict.challenge
    assert isinstance(door.ask(FETCH, now=110.5), Relay)
    assert refused(door.ask(FETCH, login=b"wrong", now=161.0)) == (Reason.BAD_CREDENTIAL, 401)


# Authorization.


@pytest.mark.parametrize(
    ("line", "reason", "status"),
    [
        (b"GET /nowhere", Reason.NOT_FOUND, 404),
        (b"HEAD /health", Reason.METHOD_NOT_ALLOWED, 405),
        (b"GET /git/octo/hello/HEAD", Reason.DUMB_PROTOCOL, 404),
        (b"POST /git/octo/hello.git/info/lfs/objects/bulk", Reason.LFS_NOT_SERVED, 501),
    ],
)
def test_unknown_path_is_refused_without_a_session(line: bytes, reason: Reason, status: int) -> None:
    """Nothing is looked up for it."""
    door = Door()
    assert refused(door.ask(line, login=b"wrong")) == (reason, status)
    assert door.sessions.asked == []


@pytest.mark.parametrize(
    ("line", "fields", "kind"),
    [
        (b"GET /git/octo/other/info/refs?service=git-upload-pack", (), Kind.ADVERTISEMENT),
        (b"POST /git/octo/other/git-upload-pack", (FETCH_TYPE,), Kind.UPLOAD_PACK),
        (b"POST /git/octo/other/git-receive-pack", (PUSH_TYPE,), Kind.RECEIVE_PACK),
        (b"GET /forge/lab/octo/hello/info/refs?service=git-upload-pack", (), Kind.ADVERTISEMENT),
    ],
)
def test_grants_are_checked_on_every_endpoint(line: bytes, fields: tuple[bytes, ...], kind: Kind) -> None:
    """Not only at discovery; and the refusal has the form of its endpoint."""
    door = Door()
    verdict = door.ask(line, *fields)
    assert refused(verdict) == (Reason.OUTSIDE_SESSION, 403)
    assert isinstance(verdict, Refuse)
    assert (verdict.kind, verdict.session) == (kind, door.session)
    granted = line.replace(b"octo/other", b"octo/hello").replace(b"lab/octo", b"lab/team")
    assert isinstance(door.ask(granted, *fields), Relay)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b"GET /git/octo/readable/info/refs?service=git-receive-pack", ()),
        (b"POST /git/octo/readable/git-receive-pack", (PUSH_TYPE,)),
    ],
)
def test_read_grant_does_not_push(line: bytes, fields: tuple[bytes, ...]) -> None:
    """The discovery of a push needs write access, too."""
    door = Door()
    assert refused(door.ask(line, *fields)) == (Reason.READ_ONLY, 403)
    read = line.replace(b"receive", b"upload")
    assert isinstance(door.ask(read, *([FETCH_TYPE] if fields else [])), Relay)


def test_push_gets_rules_and_an_empty_list_is_refused_at_discovery() -> None:
    """Before git packs anything; a fetch has no rules, and the policy bounds the push."""
    door = Door()
    verdict = door.ask(PUSH)
    assert isinstance(verdict, Relay)
    assert verdict.rules is not None
    assert verdict.rules.max_refs == PushPolicy().max_refs
    door.admission = evolve(door.admission, policy=PushPolicy(max_refs=3))
    verdict = door.ask(PUSH)
    assert isinstance(verdict, Relay)
    assert verdict.rules is not None
    assert verdict.rules.max_refs == 3
    door.sessions.known = evolve(door.session, grants=(Grant("octo/hello", "github.com", push=()),))
    assert refused(door.ask(PUSH)) == (Reason.PUSH_REF, 403)
    fetch = door.ask(FETCH)
    assert isinstance(fetch, Relay)
    assert fetch.rules is None


def test_push_without_a_forge_credential_is_refused() -> None:
    """The forge could only refuse it."""
    door = Door()
    door.without.add("github.com")
    assert refused(door.ask(PUSH)) == (Reason.NO_FORGE_CREDENTIAL, 403)
    assert isinstance(door.ask(FETCH), Relay)
    door.without.clear()
    assert isinstance(door.ask(PUSH), Relay)


def test_credential_of_another_repository_does_not_count() -> None:
    """One forge may have several credentials."""
    door = Door()
    door.without.add("github.com/octo/hello")
    assert refused(door.ask(PUSH)) == (Reason.NO_FORGE_CREDENTIAL, 403)
    door.without = {"github.com/octo/other"}
    assert isinstance(door.ask(PUSH), Relay)


@pytest.mark.parametrize("fields", [(), (b"Content-Type: text/plain",), (PUSH_TYPE,), (FETCH_TYPE + b"; charset=x",)])
def test_body_of_another_type_is_refused(fields: tuple[bytes, ...]) -> None:
    """A browser's form is not what git sends."""
    verdict = Door().ask(POST, *fields)
    assert refused(verdict) == (Reason.UNSUPPORTED_MEDIA_TYPE, 415)
    assert isinstance(verdict, Refuse)
    assert verdict.kind is None
    assert isinstance(Door().ask(POST, FETCH_TYPE), Relay)


@pytest.mark.parametrize(("line", "fields"), [(POST, (FETCH_TYPE,)), (FETCH, ())])
@pytest.mark.parametrize("coding", [b"br", b"gzip, gzip", b"GZIP"])
def test_other_coding_is_refused_with_and_without_a_body(line: bytes, fields: tuple[bytes, ...], coding: bytes) -> None:
    """A body that cannot be read cannot be judged."""
    verdict = Door().ask(line, *fields, b"Content-Encoding: " + coding)
    assert refused(verdict) == (Reason.UNSUPPORTED_CODING, 415)
    assert isinstance(Door().ask(line, *fields), Relay)


# LFS.

BATCH = b"POST /git/octo/hello.git/info/lfs/objects/batch"
LFS_TYPE = b"Content-Type: application/vnd.git-lfs+json"
HANDLE = b"/git/octo/%b.git/info/lfs/_x/" + b"h" * 43


@pytest.mark.parametrize("suffix", [b"", b"; charset=utf-8", b";charset=UTF-8"])
def test_granted_batch_is_allowed(suffix: bytes) -> None:
    """In the spelling of the grant; its body is judged later."""
    verdict = Door().ask(BATCH, LFS_TYPE + suffix)
    assert isinstance(verdict, LfsRelay)
    assert (verdict.path, verdict.dot_git, verdict.grant) == ("Octo/Hello", True, GRANTS[0])


@pytest.mark.parametrize(
    ("line", "fields", "reason", "status"),
    [
        (BATCH, [b"Content-Type: application/json"], Reason.UNSUPPORTED_MEDIA_TYPE, 415),
        (BATCH, [], Reason.UNSUPPORTED_MEDIA_TYPE, 415),
        (BATCH, [LFS_TYPE, b"Content-Encoding: gzip"], Reason.UNSUPPORTED_CODING, 415),
        (BATCH.replace(b"hello", b"other"), [LFS_TYPE], Reason.OUTSIDE_SESSION, 403),
        (b"PUT " + HANDLE % b"readable", [], Reason.READ_ONLY, 403),
        (b"POST /git/octo/readable/info/lfs/locks/verify", [LFS_TYPE], Reason.READ_ONLY, 403),
    ],
)
def test_refused_lfs_request_is_answered_in_json(line: bytes, fields: list[bytes], reason: Reason, status: int) -> None:
    """Before its body is read."""
    verdict = Door().ask(line, *fields)
    assert refused(verdict) == (reason, status)
    assert isinstance(verdict, Refuse)
    assert verdict.lfs


LOCK = b"POST /git/octo/hello.git/info/lfs/locks"


@pytest.mark.parametrize("line", [b"PUT " + HANDLE % b"hello", b"POST " + HANDLE % b"hello", LOCK, LOCK + b"/1/unlock"])
@pytest.mark.parametrize("by_policy", [False, True])
def test_lfs_writes_nothing_if_nothing_may_be_pushed(line: bytes, *, by_policy: bool) -> None:
    """By the grant or the policy; reads are allowed."""
    door = Door()
    assert isinstance(door.ask(line, LFS_TYPE), LfsRelay)
    if by_policy:
        door.admission = evolve(door.admission, policy=PushPolicy(push=(PushRule("refs/**", frozenset()),)))
    else:
        door.sessions.known = session(grants=(Grant("octo/hello", "github.com", push=()),))
    verdict = door.ask(line, LFS_TYPE)
    assert refused(verdict) == (Reason.PUSH_REF, 403)
    assert isinstance(verdict, Refuse)
    assert verdict.lfs
    for reading in (b"GET " + HANDLE % b"hello", b"GET" + LOCK[4:], LOCK + b"/verify"):
        assert isinstance(door.ask(reading, LFS_TYPE), LfsRelay)


def test_readable_repository_is_readable_by_lfs() -> None:
    """Downloads and lists of locks; an object needs no type."""
    for line in (b"GET " + HANDLE % b"readable", b"GET /git/octo/readable/info/lfs/locks?path=a%2Fb"):
        assert isinstance(Door().ask(line), LfsRelay)
    assert isinstance(Door().ask(b"PUT " + HANDLE % b"hello"), LfsRelay)


def test_lfs_write_without_a_forge_credential_is_refused() -> None:
    """Reads are anonymous then."""
    door = Door()
    door.without = {"github.com"}
    assert refused(door.ask(b"PUT " + HANDLE % b"hello")) == (Reason.NO_FORGE_CREDENTIAL, 403)
    assert isinstance(door.ask(b"GET " + HANDLE % b"hello"), LfsRelay)


@pytest.mark.parametrize(
    ("login", "status", "reason"),
    [
        (None, 401, Reason.NO_CREDENTIAL),
        (b"wrong", 403, Reason.BAD_CREDENTIAL),
        (b"wrong-bearer", 403, Reason.BAD_CREDENTIAL),
    ],
)
def test_git_lfs_is_challenged_once_in_json(login: bytes | None, status: int, reason: Reason) -> None:
    """With a helper that has one answer it repeats a 401 for ever (git-lfs 3.3)."""
    verdict = Door().ask(BATCH, LFS_TYPE, login=login)
    assert isinstance(verdict, Refuse)
    assert (verdict.status, verdict.decision.reason, verdict.challenge) == (status, reason, status == 401)
    assert verdict.lfs
    assert verdict.request is None


# Secrets of handles.

LINK = "/git/octo/hello.git/info/lfs/_x/"


def given(door: Door, call: Call = Call.DOWNLOAD) -> Handle:
    """Issue a handle to the session for one object of ``octo/hello``."""
    href = read_href("https://github.com/a", DRIVERS["github.com"])
    here = RepoPath("github.com", "octo/hello")
    action = Action(door.session.id, here, call, "0" * 64, 5, href, (), chunked=False, login=False, expires=200.0)
    return door.admission.handles.give(action)


def shown(secret: str) -> bytes:
    """Make the field with its secret."""
    return f"X-Credgate-Handle: {secret}".encode()


def test_secret_of_a_handle_proves_its_session_at_its_address() -> None:
    """Without the session's credential; beside a valid credential a stale secret does no harm."""
    door = Door()
    handle = given(door)
    line = f"GET {LINK}{handle.name}".encode()
    assert isinstance(door.ask(line, shown(handle.secret), login=None), LfsRelay)
    assert isinstance(door.ask(line, shown("x" * 43)), LfsRelay)
    assert isinstance(door.ask(line), LfsRelay)
    up = given(door, Call.UPLOAD)
    assert isinstance(door.ask(f"PUT {LINK}{up.name}".encode(), shown(up.secret), login=None), LfsRelay)


@pytest.mark.parametrize("seconds", [100.0, 200.0])
def test_secret_of_a_handle_is_valid_for_its_object_only(seconds: float) -> None:
    """404, after which git-lfs sends a new batch; never 401, at which it repeats the request for ever."""
    door = Door()
    handle, other = given(door), given(door)
    line, late = f"GET {LINK}{handle.name}".encode(), seconds == 200.0
    asked = [
        (line, [shown(other.secret)]),
        (line, [shown(handle.name)]),
        (line, [shown(handle.secret + "x")]),
        (line, [shown(handle.secret), shown(handle.secret)]),
        (line.replace(b"GET", b"PUT"), [shown(handle.secret)]),
        (line.replace(b"hello", b"readable"), [shown(handle.secret)]),
        (f"GET {LINK}{'y' * 43}".encode(), [shown(handle.secret)]),
        *([(line, [shown(handle.secret)])] if late else []),
    ]
    for each, fields in asked:
        verdict = door.ask(each, *fields, login=None, now=seconds)
        assert refused(verdict) == (Reason.LFS_HANDLE, 404), each
        assert isinstance(verdict, Refuse)
        assert (verdict.session, verdict.request, verdict.lfs) == (None, None, True)
    for each in (FETCH, BATCH, b"GET /whoami"):  # where only a session's credential counts
        verdict = door.ask(each, LFS_TYPE, shown(handle.secret), login=None)
        assert refused(verdict) == (Reason.NO_CREDENTIAL, 401), each


def test_secret_of_a_handle_ends_with_its_session() -> None:
    """And is valid from its address only."""
    door = Door()
    handle = given(door)
    line = f"GET {LINK}{handle.name}".encode()
    assert isinstance(door.ask(line, shown(handle.secret), login=None), LfsRelay)
    head = read_head(line + b" HTTP/1.1\r\nHost: gate\r\n" + shown(handle.secret) + b"\r\n\r\n")
    assert refused(door.admission.judge(head, "10.0.0.8", 100.0)) == (Reason.LFS_HANDLE, 404)
    door.sessions.known = evolve(door.session, id="s-other")
    assert refused(door.ask(line, shown(handle.secret), login=None)) == (Reason.LFS_HANDLE, 404)


def test_wrong_credential_beside_a_stale_handle_counts_as_wrong() -> None:
    """A handle must not bypass the throttle."""
    door = Door()
    handle = given(door)
    door.admission.handles.forget(door.session.id)
    line = f"GET {LINK}{handle.name}".encode()
    assert refused(door.ask(line, shown(handle.secret), login=b"wrong")) == (Reason.BAD_CREDENTIAL, 403)
