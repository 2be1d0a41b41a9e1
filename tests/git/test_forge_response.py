"""Responses to the sandbox: only the expected response passes, every other becomes a refusal in the client's format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.git import refusal as forms
from credgate.git.authorize import Moved, Refuse, Relay
from credgate.git.forge_response import judge_response, refusal
from credgate.git.push_stream import PushStream, RefusedPush
from credgate.git.route import GitRequest, Kind, route
from credgate.http.grammar import ResponseHead
from credgate.sessions.model import Grant
from credgate.values import Decision, Reason, RepoPath
from tests.fakes.relay import Message, answers_in, command, commands
from tests.fakes.sessions import session

DRIVERS = {
    "github.com": driver_for(ForgeConfig("github.com", "github", "https://github.com")),
    "lab": driver_for(ForgeConfig("lab", "generic", "https://lab.example/srv")),
    "azure": driver_for(ForgeConfig("azure", "azure", "https://dev.azure.com")),
}
GRANTS = Grant("octo/*", "github.com"), Grant("Team/X", "lab"), Grant("org/*", "azure")
GOT = b"application/x-git-upload-pack-"
PUT = b"application/x-git-receive-pack-"
SECRET = "ghp_forge-secret-0123456789"
TEXT = Decision(allow=False, reason=Reason.READ_ONLY, rule="grants", text="this session may only read it")


def relayed(line: bytes) -> Relay:
    """Make the verdict on a granted request."""
    method, target = line.split(b" ")
    request = route(method, target, DRIVERS, "github.com")
    assert isinstance(request, GitRequest)
    return Relay(request, session(grants=GRANTS), DRIVERS[request.forge], request.repo.path, request.dot_git)


DISCOVERY = relayed(b"GET /git/octo/hello/info/refs?service=git-upload-pack")
FETCH = relayed(b"POST /git/octo/hello/git-upload-pack")
PUSH = relayed(b"POST /git/octo/hello/git-receive-pack")
AT_AZURE = relayed(b"GET /forge/azure/Org/P/_git/R/info/refs?service=git-upload-pack")
AT_LAB = relayed(b"GET /forge/lab/Team/X/info/refs?service=git-upload-pack")


def head(status: int = 200, **fields: bytes) -> ResponseHead:
    """Make a forge's head."""
    lines = tuple((name.replace("_", "-").encode(), value) for name, value in fields.items())
    return ResponseHead(status, b"1.1", lines, 0, chunked=False, keep_alive=True)


def refused(verdict: Relay, anonymous: bool = False, **more: Any) -> Refuse:  # noqa: FBT001, FBT002 - of a fake
    """Judge a response that is not relayed."""
    judged = judge_response(head(**more), verdict, secret="" if anonymous else SECRET)
    assert isinstance(judged, Refuse)
    assert (judged.kind, judged.session, judged.request) == (verdict.request.kind, verdict.session, verdict.request)
    assert judged.decision.rule == "forge"
    return judged


# Heads of the forge.


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (DISCOVERY, GOT + b"advertisement"),
        (FETCH, GOT + b"result"),
        (PUSH, PUT + b"result"),
        (relayed(b"GET /git/octo/hello/info/refs?service=git-receive-pack"), PUT + b"advertisement"),
    ],
)
def test_only_the_expected_type_is_relayed(verdict: Relay, kind: bytes) -> None:
    """200 with exactly the type that git asked for."""
    assert judge_response(head(content_type=kind), verdict, secret=SECRET) == kind
    for other in (GOT + b"advertisement", GOT + b"result", PUT + b"result", b"text/html", b"text/plain"):
        if other != kind:
            judged = refused(verdict, content_type=other)
            assert (judged.decision.reason, judged.status) == (Reason.FORGE_MALFORMED, 502)
    assert refused(verdict).decision.reason is Reason.FORGE_MALFORMED


@pytest.mark.parametrize("status", [201, 204, 206, 304])
def test_other_success_statuses_are_refused(status: int) -> None:
    """A part is not the whole."""
    assert refused(DISCOVERY, status=status, content_type=GOT + b"advertisement").status == 502


@pytest.mark.parametrize(
    ("status", "reason", "shown"),
    [
        (400, Reason.FORGE_REFUSED, 502),
        (401, Reason.FORGE_REFUSED_CREDENTIAL, 502),
        (403, Reason.FORGE_REFUSED, 403),
        (404, Reason.FORGE_REFUSED, 404),
        (407, Reason.FORGE_REFUSED, 502),
        (429, Reason.FORGE_REFUSED, 429),
        (500, Reason.FORGE_ERROR, 502),
        (503, Reason.FORGE_ERROR, 503),
    ],
)
def test_error_status_selects_reason_and_text(status: int, reason: Reason, shown: int) -> None:
    """A 401 of the forge must never reach git: it would delete the session's credential."""
    judged = refused(DISCOVERY, status=status, retry_after=b"7", www_authenticate=b"Basic")
    assert (judged.decision.reason, judged.status, judged.retry_after, judged.challenge) == (reason, shown, 7, False)
    assert judged.decision.text == DISCOVERY.driver.sentence(status, DISCOVERY.request.needed)


def test_refusal_without_a_credential_is_no_forge_credential() -> None:
    """None was sent."""
    judged = refused(DISCOVERY, anonymous=True, status=401)
    assert (judged.decision.reason, judged.status) == (Reason.NO_FORGE_CREDENTIAL, 403)
    judged = refused(DISCOVERY, anonymous=True, status=404)
    assert (judged.decision.reason, judged.status) == (Reason.FORGE_REFUSED, 404)


def test_sign_in_page_is_a_refused_credential() -> None:
    """Azure DevOps answers 203 or a redirect, which must not be followed."""
    for status in (203, 302):
        judged = refused(AT_AZURE, status=status, location=b"https://spsprodeus2.vssps.visualstudio.com/_signin")
        assert (judged.decision.reason, judged.status) == (Reason.FORGE_REFUSED_CREDENTIAL, 502)
        assert "sign-in page: credgate's PAT is wrong" in judged.decision.text
        judged = refused(AT_AZURE, anonymous=True, status=status)
        assert (judged.decision.reason, judged.status) == (Reason.NO_FORGE_CREDENTIAL, 403)
    here = b"https://dev.azure.com/org/P/_git/New/info/refs?service=git-upload-pack"
    assert judge_response(head(302, location=here), AT_AZURE, secret=SECRET) == Moved(
        RepoPath("azure", "org/p/_git/new"), dot_git=False
    )
    judged = refused(DISCOVERY, status=302, location=b"https://github.com/login")
    assert judged.decision.reason is Reason.FORGE_MOVED


# Redirects.


HERE = b"https://github.com/%b/info/refs?service=git-upload-pack"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("suffix", [b"", b".git"])
def test_rename_inside_the_grants_is_followed(status: int, suffix: bytes) -> None:
    """With the normal form of the new name."""
    judged = judge_response(head(status, location=HERE % (b"Octo/New" + suffix)), DISCOVERY, secret=SECRET)
    assert judged == Moved(RepoPath("github.com", "octo/new"), bool(suffix))


def test_rename_to_an_exact_grant_takes_its_spelling() -> None:
    """As any request for it does."""
    verdict = evolve(AT_LAB, path="old")
    where = b"https://lab.example/srv/Team/X.git/info/refs?service=git-upload-pack"
    assert judge_response(head(301, location=where), verdict, secret=SECRET) == Moved(
        RepoPath("lab", "Team/X"), dot_git=True
    )


@pytest.mark.parametrize("name", [b"elsewhere/new", b"elsewhere/" + SECRET.encode()])
def test_rename_outside_the_grants_is_refused_without_the_new_name(name: bytes) -> None:
    """A hostile forge can write the credential into the new name, so no refusal repeats one."""
    judged = refused(DISCOVERY, status=301, location=HERE % name)
    assert (judged.decision.reason, judged.status) == (Reason.FORGE_MOVED, 403)
    assert judged.decision.text == "the repository was renamed or moved, and its new name is outside this session"


@pytest.mark.parametrize(
    ("verdict", "location"),
    [
        (DISCOVERY, b"https://evil.example/octo/hello/info/refs?service=git-upload-pack"),
        (DISCOVERY, b"https://github.com/login"),
        (DISCOVERY, b""),
        (FETCH, HERE % b"octo/new"),
        (PUSH, HERE % b"octo/new"),
    ],
)
def test_other_redirects_are_refused(verdict: Relay, location: bytes) -> None:
    """Also one that answers a POST: git would not send its body again."""
    judged = refused(verdict, status=302, location=location)
    assert (judged.decision.reason, judged.status) == (Reason.FORGE_MOVED, 502)
    assert refused(verdict, status=302).decision.reason is Reason.FORGE_MOVED


# Forms of refusals.


def said(refuse: Refuse, push: RefusedPush | None = None, *, close: bool = False) -> Message:
    """Read a refusal."""
    (one,) = answers_in(refusal(refuse, push, close=close))
    assert one.whole
    return one


def pushed(body: bytes) -> RefusedPush | None:
    """Read the body of a push."""
    push = PushStream(None)
    assert list(push.receive(body)) == []  # without rules nothing may pass
    return push.refused_push


def test_discovery_is_refused_in_plain_text() -> None:
    """Git prints its lines after ``remote:``."""
    one = said(Refuse(TEXT, 403, Kind.ADVERTISEMENT))
    assert (one.status, one.body) == (403, b"credgate: this session may only read it\n")
    assert one.field(b"content-type") == b"text/plain; charset=utf-8"


@pytest.mark.parametrize("close", [False, True])
def test_refusal_has_connection_close_on_the_last_response(*, close: bool) -> None:
    """And is the same otherwise."""
    assert said(Refuse(TEXT, 403), close=close).field(b"connection") == (b"close" if close else None)


def test_challenge_asks_for_basic() -> None:
    """Without it git never sends its credential."""
    assert said(Refuse(TEXT, 401, challenge=True)).field(b"www-authenticate") == b'Basic realm="credgate"'
    assert said(Refuse(TEXT, 401)).field(b"www-authenticate") is None


def test_retry_after_is_in_seconds() -> None:
    """Newer versions of git obey it."""
    assert said(Refuse(TEXT, 429, retry_after=7)).field(b"retry-after") == b"7"
    assert said(Refuse(TEXT, 429)).field(b"retry-after") is None


def test_fetch_is_refused_in_an_err_packet() -> None:
    """Git hides the body of any HTTP error to a POST."""
    one = said(Refuse(TEXT, 403, Kind.UPLOAD_PACK))
    assert (one.status, one.body) == (200, forms.err(TEXT.text))
    assert one.field(b"content-type") == forms.UPLOAD_PACK_RESULT


def test_lfs_is_refused_in_json() -> None:
    """git-lfs shows only ``message``."""
    one = said(Refuse(evolve(TEXT, reason=Reason.LFS_NOT_SERVED), 501, lfs=True))
    assert (one.status, json.loads(one.body)) == (501, {"message": f"credgate: {TEXT.text}"})
    assert one.field(b"content-type") == b"application/vnd.git-lfs+json"


def test_git_lfs_gets_challenge_and_retry_after() -> None:
    """It asks its credential helper only if a 401 has a challenge."""
    one = said(Refuse(TEXT, 401, challenge=True, lfs=True))
    assert (one.status, one.field(b"www-authenticate")) == (401, b'Basic realm="credgate"')
    assert said(Refuse(TEXT, 429, retry_after=7, lfs=True)).field(b"retry-after") == b"7"


def test_push_is_refused_ref_by_ref() -> None:
    """Otherwise git prints "Everything up-to-date"."""
    one = said(Refuse(TEXT, 403, Kind.RECEIVE_PACK), pushed(commands(b"refs/heads/a", b"refs/tags/b") + b"PACK"))
    assert one.status == 200
    assert one.field(b"content-type") == forms.RECEIVE_PACK_RESULT
    assert one.body == forms.report(
        [b"refs/heads/a", b"refs/tags/b"], f"credgate: {TEXT.text}", sideband=True, lines=[TEXT.text]
    )


def test_refs_keep_their_own_reasons() -> None:
    """The refused one, and those that were not attempted; git prints the lines."""
    refs = [(b"refs/heads/a", "credgate: no"), (b"refs/tags/b", "credgate: not attempted")]
    refuse = Refuse(TEXT, 403, Kind.RECEIVE_PACK, refs=refs, lines=["one", "two"])
    one = said(refuse, pushed(commands(b"refs/heads/a", b"refs/tags/b")))
    assert one.body == forms.status_report(refs, sideband=True, lines=["one", "two"])
    assert b"not attempted" in one.body


def test_refused_probe_gets_an_empty_answer() -> None:
    """Git only tests its credential; the push itself is refused later."""
    one = said(Refuse(TEXT, 403, Kind.RECEIVE_PACK), pushed(b"0000"))
    assert (one.status, one.body, one.field(b"content-type")) == (200, b"", forms.RECEIVE_PACK_RESULT)


SILENT = commands().replace(b" report-status", b" ofs-delta-xyz")


@pytest.mark.parametrize("push", [None, pushed(b""), pushed(command()), pushed(SILENT)])
def test_push_without_a_report_is_refused_in_plain_text(push: RefusedPush | None) -> None:
    """Its list was not read to the end, or it did not ask for a report."""
    one = said(Refuse(TEXT, 403, Kind.RECEIVE_PACK), push)
    assert (one.status, one.body) == (403, b"credgate: this session may only read it\n")
