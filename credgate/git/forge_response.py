"""What the sandbox is told: the forge's answer if it is the expected one, else a refusal in the asker's own words.

Pure. ``judge_response`` looks at the head of the forge's answer: only 200 with exactly the body type that git asked
for is relayed; everything else, redirects and challenges above all, becomes ours. ``refusal`` turns a ``Refuse`` into
bytes: text at discovery, an ``ERR`` packet on a fetch, a report-status on a push, JSON to git-lfs, each measured on the
real client. Refs that a push was refused for are named one by one, each with its own reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from credgate.git import refusal as forms
from credgate.git.authorize import Moved, Refuse, Relay
from credgate.git.echo import echoes
from credgate.git.route import Kind
from credgate.http import header_policy
from credgate.http.header_policy import local_reply
from credgate.lfs import refusals as lfs
from credgate.sessions import scope
from credgate.values import Decision, Reason, RepoPath

if TYPE_CHECKING:
    from credgate.git.push_stream import RefusedPush
    from credgate.http.grammar import ResponseHead

_MOVED = frozenset({301, 302, 307, 308})
_OK = 200
_FORBIDDEN, _NOT_FOUND, _TOO_MANY, _UNAVAILABLE = 403, 404, 429, 503
_KEPT = frozenset({_FORBIDDEN, _NOT_FOUND, _TOO_MANY, _UNAVAILABLE})
"""Statuses of the forge that the sandbox sees as they are; git acts on 429 and 503 by itself."""
_BASIC = (b"WWW-Authenticate", b'Basic realm="credgate"')


def judge_response(head: ResponseHead, verdict: Relay, *, secret: str) -> bytes | Moved | Refuse:
    """Return the body type to relay, where the repository went, or the refusal that stands in for the answer.

    ``secret`` is the credential that the forge was shown; ``""``: none.
    """
    expected = forms.content_type(verdict.request.kind, verdict.request.service)
    if head.status == _OK and header_policy.content_type(head) == expected:
        return expected
    if head.status in _MOVED:
        return _moved(head, verdict, secret)
    return _trouble(head, verdict, anonymous=not secret)


def _refuse(verdict: Relay, reason: Reason, status: int, text: str, **more: object) -> Refuse:
    decision = Decision(allow=False, reason=reason, rule="forge", text=text)
    asked = verdict.request
    return Refuse(decision, status, asked.kind, verdict.session, asked, **more)  # type: ignore[arg-type]  # its own keys


def _moved(head: ResponseHead, verdict: Relay, secret: str) -> Moved | Refuse:
    """Judge a redirect: never shown to the client, followed by the gateway inside the session's scope only."""
    request, name = verdict.request, verdict.driver.forge.name
    location = head.get(b"location") or b""
    path = verdict.driver.moved(location)
    if path is None and verdict.driver.refuses_credential(head.status):
        return _trouble(head, verdict, anonymous=not secret)  # to a sign-in page
    if path is None or request.kind is not Kind.ADVERTISEMENT:
        text = f"{name} answered with a redirect, which credgate does not follow"
        return _refuse(verdict, Reason.FORGE_MOVED, 502, text)
    match = scope.find(verdict.session.grants, RepoPath(name, path), request.needed)
    if not match.decision.allow:
        where = "elsewhere" if echoes(secret, path) else f"to {path}"
        return _refuse(verdict, Reason.FORGE_MOVED, 403, f"the repository has moved {where}, outside this session")
    return Moved(RepoPath(name, path), b".git/info/refs?" in location)


def _trouble(head: ResponseHead, verdict: Relay, *, anonymous: bool) -> Refuse:
    status, name = head.status, verdict.driver.forge.name
    if status == _OK:
        text = f"{name} answered with something that is not git's protocol"
        return _refuse(verdict, Reason.FORGE_MALFORMED, 502, text)
    credential = verdict.driver.refuses_credential(status)
    if credential and anonymous:
        text = f"{name} wants a credential for this repository and none is configured"
        return _refuse(verdict, Reason.NO_FORGE_CREDENTIAL, 403, text)
    reason = Reason.FORGE_REFUSED if status < 500 else Reason.FORGE_ERROR  # noqa: PLR2004 - RFC 9110's classes
    if credential:
        reason = Reason.FORGE_REFUSED_CREDENTIAL
    text = verdict.driver.sentence(status, verdict.request.needed)
    shown = status if status in _KEPT else 502
    return _refuse(verdict, reason, shown, text, retry_after=header_policy.retry_after(head) or 0)


def refusal(refuse: Refuse, push: RefusedPush | None, *, close: bool) -> bytes:
    """Return the whole answer that says ``refuse`` to whoever asked."""
    text = refuse.decision.text
    if refuse.lfs:
        return local_reply(refuse.status, lfs.message(text), lfs.MEDIA_TYPE, close=close, extra=_extra(refuse))
    if refuse.kind is Kind.UPLOAD_PACK:
        return local_reply(_OK, forms.err(text), forms.UPLOAD_PACK_RESULT, close=close)
    if refuse.kind is Kind.RECEIVE_PACK and push is not None:
        report = _report(refuse, push)
        if report is not None:
            return local_reply(_OK, report, forms.RECEIVE_PACK_RESULT, close=close)
    return local_reply(refuse.status, forms.text_body(text), close=close, extra=_extra(refuse))


def _report(refuse: Refuse, push: RefusedPush) -> bytes | None:
    if push.probe:
        return b""  # git only wants to know whether it may talk; it hears the refusal on the push itself
    if not push.report:
        return None
    text = refuse.decision.text
    said = f"credgate: {text}"
    refs = refuse.refs or [(ref, said) for ref in push.refs]
    return forms.status_report(refs, sideband=push.sideband, lines=refuse.lines or [text])


def _extra(refuse: Refuse) -> list[tuple[bytes, bytes]]:
    extra = [_BASIC] if refuse.challenge else []
    if refuse.retry_after:
        extra.append((b"Retry-After", str(refuse.retry_after).encode()))
    return extra
