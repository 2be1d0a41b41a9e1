"""What the sandbox is sent: the forge's response if it is the expected one, else a refusal in the client's own format.

``judge_response`` looks at the head of the forge's response: only 200 with exactly the body type that git asked for is
relayed. Everything else, redirects and challenges above all, is replaced by a refusal. ``refusal`` encodes a
``Refuse``: text at discovery, an ``ERR`` packet for a fetch, a report-status for a push, JSON for git-lfs, each
measured on the real client. A refused push names each of its refs with its own reason.

No byte of the forge's response is repeated in a refusal, so a hostile forge cannot show its credential there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.git import refusal as forms
from credgate.git.authorize import Moved, Refuse, Relay
from credgate.git.route import Kind
from credgate.http import header_policy
from credgate.http.header_policy import local_reply
from credgate.lfs import refusals as lfs
from credgate.sessions import scope
from credgate.values import Reason, RepoPath, refuse

if TYPE_CHECKING:
    from credgate.git.push_stream import RefusedPush
    from credgate.http.grammar import ResponseHead

_MOVED = frozenset({301, 302, 307, 308})
_OK = 200
# Statuses of the forge that the sandbox is sent unchanged; git acts on 429 and 503 by itself.
_KEPT = frozenset({403, 404, 429, 503})
_BASIC = (b"WWW-Authenticate", b'Basic realm="credgate"')


def judge_response(head: ResponseHead, verdict: Relay, *, secret: str) -> bytes | Moved | Refuse:
    """Return the body type to relay, the new name of the repository, or the refusal that replaces the response.

    ``secret`` is the credential that the forge was sent; ``""``: none.
    """
    expected = forms.content_type(verdict.request.kind, verdict.request.service)
    if head.status == _OK and header_policy.content_type(head) == expected:
        return expected
    if head.status in _MOVED:
        return _moved(head, verdict, anonymous=not secret)
    return _failed(head, verdict, anonymous=not secret)


def _refuse(verdict: Relay, reason: Reason, status: int, text: str, retry_after: int = 0) -> Refuse:
    decision, request = refuse(reason, "forge", text), verdict.request
    return Refuse(decision, status, request.kind, verdict.session, request, retry_after=retry_after)


def _moved(head: ResponseHead, verdict: Relay, *, anonymous: bool) -> Moved | Refuse:
    """Judge a redirect: never sent to the client, followed by the gateway inside the session's grants only."""
    request, name = verdict.request, verdict.driver.forge.name
    location = head.get(b"location") or b""
    path = verdict.driver.moved(location)
    if path is None and verdict.driver.refuses_credential(head.status):
        return _failed(head, verdict, anonymous=anonymous)  # to a sign-in page
    # git would not send the body of a POST again, so only a discovery is redirected.
    if path is None or request.kind is not Kind.ADVERTISEMENT:
        text = f"{name} answered with a redirect, which credgate does not follow"
        return _refuse(verdict, Reason.FORGE_MOVED, 502, text)
    if not scope.find(verdict.session.grants, RepoPath(name, path), request.needed).decision.allow:
        # The new name is not repeated: a hostile forge could write the credential into it.
        text = "the repository was renamed or moved, and its new name is outside this session"
        return _refuse(verdict, Reason.FORGE_MOVED, 403, text)
    return Moved(RepoPath(name, path), b".git/info/refs?" in location)


def _failed(head: ResponseHead, verdict: Relay, *, anonymous: bool) -> Refuse:
    status, name = head.status, verdict.driver.forge.name
    if status == _OK:
        return _refuse(verdict, Reason.FORGE_MALFORMED, 502, f"{name} answered in a form that is not git's protocol")
    credential = verdict.driver.refuses_credential(status)
    if credential and anonymous:
        text = f"{name} requires a credential for this repository and none is configured"
        return _refuse(verdict, Reason.NO_FORGE_CREDENTIAL, 403, text)
    reason = Reason.FORGE_REFUSED if status < 500 else Reason.FORGE_ERROR  # noqa: PLR2004 - RFC 9110's classes
    if credential:
        reason = Reason.FORGE_REFUSED_CREDENTIAL
    text = verdict.driver.sentence(status, verdict.request.needed)
    # Never 401: git would delete the session's credential.
    shown = status if status in _KEPT else 502
    return _refuse(verdict, reason, shown, text, header_policy.retry_after(head) or 0)


def refusal(refused: Refuse, push: RefusedPush | None, *, close: bool) -> bytes:
    """Return the whole response that refuses a request; ``push`` is what was kept of a push."""
    text = refused.decision.text
    extra = [_BASIC] if refused.challenge else []
    if refused.retry_after:
        extra.append((b"Retry-After", str(refused.retry_after).encode()))
    if refused.lfs:
        return local_reply(refused.status, lfs.message(text), lfs.MEDIA_TYPE, close=close, extra=extra)
    # git hides the body of any HTTP error to a POST, so fetch and push are refused with status 200.
    if refused.kind is Kind.UPLOAD_PACK:
        return local_reply(_OK, forms.err(text), forms.UPLOAD_PACK_RESULT, close=close)
    if refused.kind is Kind.RECEIVE_PACK and push is not None:
        report = _report(refused, push)
        if report is not None:
            return local_reply(_OK, report, forms.RECEIVE_PACK_RESULT, close=close)
    return local_reply(refused.status, forms.text_body(text), close=close, extra=extra)


def _report(refused: Refuse, push: RefusedPush) -> bytes | None:
    if push.probe:
        return b""  # git only tests its credential; the refusal is sent on the push itself
    if not push.report:
        return None
    text = refused.decision.text
    refs = refused.refs or [(ref, f"credgate: {text}") for ref in push.refs]
    return forms.status_report(refs, sideband=push.sideband, lines=refused.lines or [text])
