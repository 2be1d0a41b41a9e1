"""Which requests are admitted: the one place that strings route, session, scope and forge credential together.

``Authorizer.judge`` takes a request head and the peer's address and answers with a verdict: serve a page of our own,
relay, or refuse. It holds no state of its own, reads no clock (``now`` is an argument) and writes no byte.

Order, and why: the target's form first (nothing is looked up for what we do not serve), then who asks, then what the
session was granted, then whether the forge could accept it. Before a session is proved a client learns nothing about
sessions, repositories or forges; every failed authentication has one answer (threats.md, row 20).

A right credential is served even from an address that is braked: secrets are 256 bits, so the brake exists to keep
guessing cheap for us and loud for the operator, and must not let one sandbox lock out another that shares its address.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from attrs import evolve, field, frozen

from credgate.git.push_rules import at_discovery, for_lfs, rules_for
from credgate.git.route import GitRequest, Kind, Local, Refused, route
from credgate.lfs.handles import FIELD
from credgate.lfs.refusals import no_handle
from credgate.lfs.target import LfsRequest
from credgate.sessions import scope, tokens
from credgate.values import Access, Decision, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from credgate.config.schema import PushPolicy
    from credgate.forges.driver import Driver
    from credgate.git.push_rules import PushRules
    from credgate.http.grammar import RequestHead
    from credgate.lfs.handles import Handles
    from credgate.sessions.login_throttle import LoginThrottle
    from credgate.sessions.model import Grant, Session
    from credgate.values import RepoPath

HANDLE_FIELD = FIELD.lower().encode("ascii")
HANDLE_SECRET = re.compile(rb"[A-Za-z0-9_-]{43}")
_CODINGS = {None, b"identity", b"gzip", b"x-gzip"}
_LFS_JSON = re.compile(rb"application/vnd\.git-lfs\+json(?:; ?charset=utf-8)?", re.IGNORECASE)


@frozen(slots=True)
class Serve:
    """Answer with a page of our own: ``health`` needs no session, ``whoami`` has one."""

    page: str
    session: Session | None = None


@frozen(slots=True)
class Relay:
    """Send it to the forge.

    ``path`` is how the upstream URL spells the repository, ``dot_git`` whether the client wrote ``.git``: a URL that
    works without a gateway works with it, on servers that know only one of the two forms, too.
    """

    request: GitRequest
    session: Session
    driver: Driver
    path: str
    dot_git: bool
    rules: PushRules | None = None
    """What limits the pushes of this session to this repository; None where nothing is written."""


@frozen(slots=True)
class LfsRelay:
    """Serve a part of LFS: from the forge's LFS server, or from where it keeps objects.

    ``grant`` covers what is known to be needed now; a batch says in its body that it wants to write.
    """

    request: LfsRequest
    session: Session
    driver: Driver
    path: str
    dot_git: bool
    grant: Grant


@frozen(slots=True)
class Refuse:
    """Say no. ``challenge`` asks for Basic credentials, ``retry_after`` is seconds (0: none).

    ``refs`` are a push's refused refs, each with its reason, and ``lines`` what else git prints.
    """

    decision: Decision
    status: int
    kind: Kind | None = None
    session: Session | None = None
    request: GitRequest | LfsRequest | None = None
    challenge: bool = False
    retry_after: int = 0
    refs: Sequence[tuple[bytes, str]] = ()
    lines: Sequence[str] = ()
    lfs: bool = False
    """Whether it is git-lfs that asked: it reads JSON."""
    early: bool = False
    """Whether the answer does not wait for the end of the body, and closes the connection."""


Verdict = Serve | Relay | LfsRelay | Refuse


@frozen(slots=True)
class Moved:
    """The forge knows the repository by another name, which the session may use too.

    git cannot be sent there: after a 401 it follows a redirect but goes on pushing and fetching at the old address
    (measured), so the gateway goes there itself. ``dot_git`` says whether the forge wrote ``.git``: some only redirect
    from the one form to the other.
    """

    repo: RepoPath
    dot_git: bool


class SessionLookup(Protocol):
    """Who answers for sessions: the registry in the service, a dict in tests."""

    def authenticate(self, token: str, secret: str, address: str) -> Session | None:
        """Return the live session that both halves name, usable from ``address``; else None."""
        ...

    def usable(self, session_id: str, address: str) -> Session | None:
        """Return the live session of this public id, if it is usable from ``address``; else None."""
        ...


def without_credential(repo: RepoPath) -> Decision:
    """Refuse a push to a repository that no credential is meant for: its forge could not accept it."""
    text = f"no credential is configured for {repo}, so nothing can be pushed there"
    return Decision(allow=False, reason=Reason.NO_FORGE_CREDENTIAL, rule="forge", text=text)


@frozen
class Authorizer:
    """The rules, bound to what they consult."""

    drivers: Mapping[str, Driver]
    default_forge: str
    sessions: SessionLookup
    brake: LoginThrottle
    has_credential: Callable[[RepoPath], bool]
    """Whether a credential is configured for this repository."""
    policy: PushPolicy
    """The operator's own rules on pushes."""
    handles: Handles = field(repr=False)
    """What was given out for LFS objects."""
    _route: Callable[[bytes, bytes], Local | GitRequest | LfsRequest | Refused] = field(init=False, repr=False)

    @_route.default
    def _cached_route(self) -> Callable[[bytes, bytes], Local | GitRequest | LfsRequest | Refused]:
        # A sandbox asks for the same few targets again and again. Only what a target names is kept, no decision.
        return lru_cache(maxsize=256)(lambda method, target: route(method, target, self.drivers, self.default_forge))

    def judge(self, head: RequestHead, address: str, now: float) -> Verdict:
        """Judge one request head from ``address`` at ``now`` (monotonic seconds)."""
        where = self._route(head.method, head.target)
        if type(where) is GitRequest:  # most requests: without the checks for all others
            session = self._session(head.all(b"authorization"), address, now)
            return session if type(session) is Refuse else self._git(head, where, session)  # type: ignore[arg-type]
        if isinstance(where, Refused) and not where.tells:
            return Refuse(where.decision, where.status, lfs=where.lfs)
        if isinstance(where, Local) and where.name == "health":
            return Serve("health")
        session = self._asker(head, where, address, now)
        if isinstance(session, Refuse):
            return _for_git_lfs(session) if isinstance(where, LfsRequest) else session
        if isinstance(where, LfsRequest):
            return self._lfs(head, where, session)
        return self._granted(head, where, session)

    def _asker(self, head: RequestHead, where: object, address: str, now: float) -> Session | Refuse:
        """Find who asks: for an LFS object the handle's own secret proves its session, too, as far as it is usable."""
        authorization = head.all(b"authorization")
        shown = head.all(HANDLE_FIELD) if isinstance(where, LfsRequest) and where.handle else ()
        if not shown:
            return self._session(authorization, address, now)
        assert isinstance(where, LfsRequest)
        session = self._bearer(where, shown, address, now)
        if session is not None:
            return session
        if authorization:
            return self._session(authorization, address, now)
        # Not 401: to that git-lfs 3.3 answers by the same request, for ever. Nor does it count as a wrong credential:
        # after a restart all handles are gone, and git-lfs comes with each that it has.
        error = no_handle()
        return Refuse(error.decision, error.status, lfs=True)

    def _bearer(self, where: LfsRequest, shown: Sequence[bytes], address: str, now: float) -> Session | None:
        if len(shown) != 1 or not HANDLE_SECRET.fullmatch(shown[0]):
            return None
        owner = self.handles.owner(where.handle, shown[0].decode("ascii"), where.repo, where.call, now)
        return None if owner is None else self.sessions.usable(owner, address)

    def _session(self, authorization: Sequence[bytes], address: str, now: float) -> Session | Refuse:
        presented = tokens.parse_authorization(authorization)
        if presented is None:
            text = "a session credential is needed; is the credential helper installed in this sandbox?"
            return Refuse(
                Decision(allow=False, reason=Reason.NO_CREDENTIAL, rule="session", text=text), 401, challenge=True
            )
        if isinstance(presented, tokens.PresentedToken):
            session = self.sessions.authenticate(presented.token, presented.secret, address)
            if session is not None:
                return session
        return self._wrong(presented, address, now)

    def _wrong(
        self, presented: tokens.PresentedToken | tokens.MalformedAuthorization, address: str, now: float
    ) -> Refuse:
        wait = self.brake.blocked(address, now)
        if wait > 0:
            seconds = int(wait) + 1
            text = f"too many wrong session credentials from this address; wait {seconds} s"
            return Refuse(
                Decision(allow=False, reason=Reason.TOO_MANY_FAILURES, rule="brake", text=text),
                429,
                retry_after=seconds,
            )
        self.brake.failed(address, now)
        text = (
            "this session credential is not accepted here: unknown, expired, revoked or bound to another "
            "address; ask the operator for a new session"
        )
        decision = Decision(allow=False, reason=Reason.BAD_CREDENTIAL, rule="session", text=text)
        # On 401 git hides the text of a Bearer refusal behind a prompt; on 403 it shows it (measured, both ways). A
        # malformed field is answered as a wrong one of its scheme, so that the answer does not tell which it was.
        if presented.scheme == "bearer":
            return Refuse(decision, 403)
        return Refuse(decision, 401, challenge=True)

    def _lfs(self, head: RequestHead, where: LfsRequest, session: Session) -> LfsRelay | Refuse:
        """Judge an LFS request by what its target says; what a batch's body says is judged when it is there."""
        refused = _lfs_form(head, where)
        if refused is not None:
            return Refuse(refused, 415, session=session, request=where, lfs=True)
        return self.admit_lfs(where, session)

    def admit_lfs(self, where: LfsRequest, session: Session) -> LfsRelay | Refuse:
        """Judge ``where`` by the session's grant of ``where.repo``; a batch again when its body says what it needs."""
        match = scope.find(session.grants, where.repo, where.needed)
        if match.grant is None:
            return Refuse(match.decision, 403, session=session, request=where, lfs=True)
        if where.needed is Access.WRITE and not self.has_credential(where.repo):
            return Refuse(without_credential(where.repo), 403, session=session, request=where, lfs=True)
        if where.writes:
            refused = for_lfs(rules_for(match.grant, self.policy, session.id, session.label))
            if refused is not None:
                return Refuse(refused, 403, session=session, request=where, lfs=True)
        return LfsRelay(where, session, self.drivers[where.repo.forge], match.path, where.dot_git, match.grant)

    def _granted(self, head: RequestHead, where: Local | GitRequest | Refused, session: Session) -> Verdict:
        if isinstance(where, Local):
            return Serve(where.name, session)
        if isinstance(where, Refused):
            return Refuse(where.decision, where.status, session=session)
        return self._git(head, where, session)

    def _git(self, head: RequestHead, where: GitRequest, session: Session) -> Relay | Refuse:
        refused = self._form(head, where)
        if refused is not None:
            return Refuse(refused, 415, session=session, request=where)
        return self.admit(where, session)

    def moved(self, verdict: Relay | LfsRelay, to: Moved) -> Relay | LfsRelay | Refuse:
        """Judge a request again under the repository's new name.

        Access, push rules, limits and credential are those of the new name's grant: the old name's grant was written
        for another repository, and a new one may be created under that name at any time.
        """
        asked = verdict.request.asked
        moved_from = None if to.repo == asked else asked
        again: Relay | LfsRelay | Refuse
        if isinstance(verdict, LfsRelay):
            again = self.admit_lfs(evolve(verdict.request, repo=to.repo, moved_from=moved_from), verdict.session)
        else:
            again = self.admit(evolve(verdict.request, repo=to.repo, moved_from=moved_from), verdict.session)
        return again if isinstance(again, Refuse) else evolve(again, dot_git=to.dot_git)

    def admit(self, where: GitRequest, session: Session) -> Relay | Refuse:
        """Judge ``where`` by the session's grant of ``where.repo``."""
        match = scope.find(session.grants, where.repo, where.needed)
        if not match.decision.allow:
            return Refuse(match.decision, 403, where.kind, session, where)
        if where.needed is Access.WRITE and not self.has_credential(where.repo):
            return Refuse(without_credential(where.repo), 403, where.kind, session, where)
        relay = Relay(where, session, self.drivers[where.repo.forge], match.path, where.dot_git)
        return relay if where.needed is Access.READ or match.grant is None else self._ruled(relay, match.grant)

    def _ruled(self, relay: Relay, grant: Grant) -> Relay | Refuse:
        """Give a push its rules; one that could not push anything is told so before it packs."""
        rules = rules_for(grant, self.policy, relay.session.id, relay.session.label)
        refused = at_discovery(rules)
        if refused is not None:
            return Refuse(refused, 403, relay.request.kind, relay.session, relay.request)
        return evolve(relay, rules=rules)

    def _form(self, head: RequestHead, where: GitRequest) -> Decision | None:
        """Judge the body's declared type and coding: git names both exactly (gitprotocol-http)."""
        if head.method == b"POST" and head.get(b"content-type") != where.request_type:
            text = f"the body must be {where.request_type.decode()}"
            return Decision(allow=False, reason=Reason.UNSUPPORTED_MEDIA_TYPE, rule="form", text=text)
        # Also of a request without a body: what names a coding must not reach the forge unjudged.
        if head.get(b"content-encoding") not in _CODINGS:
            text = "the body may be gzip, nothing else"
            return Decision(allow=False, reason=Reason.UNSUPPORTED_CODING, rule="form", text=text)
        return None


def _for_git_lfs(refuse: Refuse) -> Refuse:
    """Say it to git-lfs, which on a 401 asks its helper again and again, for ever, while that has but one answer."""
    wrong = refuse.decision.reason is Reason.BAD_CREDENTIAL
    return evolve(refuse, lfs=True, status=403, challenge=False) if wrong else evolve(refuse, lfs=True)


def _lfs_form(head: RequestHead, where: LfsRequest) -> Decision | None:
    """Judge an LFS body's declared type and coding: JSON of LFS's own type, or an object as it is."""
    if where.takes_json and not _LFS_JSON.fullmatch(head.get(b"content-type") or b""):
        text = "the body must be application/vnd.git-lfs+json"
        return Decision(allow=False, reason=Reason.UNSUPPORTED_MEDIA_TYPE, rule="form", text=text)
    if head.get(b"content-encoding") not in {None, b"identity"}:
        text = "the body of an LFS request is sent as it is"
        return Decision(allow=False, reason=Reason.UNSUPPORTED_CODING, rule="form", text=text)
    return None
