"""Which requests are allowed: combines route, session, grants and forge credential into one verdict.

``Authorizer.judge`` takes a request head and the peer's address and returns a verdict: serve a local page, relay, or
refuse. It holds no state of its own, reads no clock (``now`` is an argument) and writes nothing.

The order of the checks: the form of the target (nothing is looked up for a path that is not served), then the session's
credential, then the session's grants, then whether the forge could accept it. Without a valid session a client learns
nothing about sessions, repositories or forges; every failed authentication has one answer (docs/attacks.md).

A valid credential is served even from an address that is throttled. Secrets have 256 bits, so the throttle exists to
keep guessing cheap for the gateway and visible to the operator; it must not let one sandbox lock out another that
shares its address.
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
from credgate.values import Access, Decision, Reason, refuse

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


class VerdictBase:
    """The attributes that every verdict has, so that callers need not ask of which kind it is."""

    __slots__ = ()

    session: Session | None = None
    """The session that the credential proved."""
    request: GitRequest | LfsRequest | None = None
    """The request, if it is one for a forge."""
    page: str = ""
    """The local page to serve."""

    @property
    def lfs(self) -> bool:
        """Whether the client is git-lfs, which reads refusals as JSON."""
        return False

    @property
    def kind(self) -> Kind | None:
        """What a git request is; None for anything else."""
        return None


@frozen(slots=True)
class Serve(VerdictBase):
    """Serve a local page: ``health`` needs no session, ``whoami`` has one."""

    page: str
    session: Session | None = None


@frozen(slots=True)
class Relay(VerdictBase):
    """Send a git request to the forge.

    ``path`` is how the upstream URL spells the repository, ``dot_git`` whether the client wrote ``.git``: a URL that
    works without a gateway works with it, on servers that know only one of the two forms, too.
    """

    request: GitRequest
    session: Session
    driver: Driver
    path: str
    dot_git: bool
    rules: PushRules | None = None
    """What limits the pushes of this session to this repository; None for a fetch."""

    @property
    def kind(self) -> Kind:
        """The kind of the git request."""
        return self.request.kind


@frozen(slots=True)
class LfsRelay(VerdictBase):
    """Serve an LFS request from the forge's LFS server or its object storage.

    ``grant`` covers the access that the target shows to be needed; a batch states in its body that it wants to write.
    """

    request: LfsRequest
    session: Session
    driver: Driver
    path: str
    dot_git: bool
    grant: Grant

    @property
    def lfs(self) -> bool:
        """Whether the client is git-lfs: always."""
        return True


@frozen(slots=True)
class Refuse(VerdictBase):
    """Refuse the request. ``challenge`` asks for Basic credentials, ``retry_after`` is seconds (0: none).

    ``refs`` are a push's refused refs, each with its reason, and ``lines`` what else git prints. ``kind`` selects the
    form of the answer: without one it is an HTTP error with a text.
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
    early: bool = False
    """Whether the answer does not wait for the end of the body, and closes the connection."""


Verdict = Serve | Relay | LfsRelay | Refuse


@frozen(slots=True)
class Moved:
    """The forge knows the repository by another name, which the session may use too.

    git cannot be redirected: after a 401 it follows the redirect, but continues to push and fetch at the old address
    (measured), so the gateway uses the new name itself. ``dot_git`` says whether the forge wrote ``.git``: some
    redirect only from the one form to the other.
    """

    repo: RepoPath
    dot_git: bool


class SessionLookup(Protocol):
    """Finds sessions: the registry in the service, a dict in tests."""

    def authenticate(self, token: str, secret: str, address: str) -> Session | None:
        """Return the live session that token and secret name, if it is usable from ``address``; else None."""
        ...

    def usable(self, session_id: str, address: str) -> Session | None:
        """Return the live session of this public id, if it is usable from ``address``; else None."""
        ...


def without_credential(repo: RepoPath) -> Decision:
    """Refuse a push to a repository without a configured credential: its forge could not accept it."""
    text = f"no credential is configured for {repo}, so nothing can be pushed there"
    return refuse(Reason.NO_FORGE_CREDENTIAL, "forge", text)


_NO_CREDENTIAL = Refuse(
    refuse(
        Reason.NO_CREDENTIAL,
        "session",
        "a session credential is needed; is the credential helper installed in this sandbox?",
    ),
    401,
    challenge=True,
)
_BAD_CREDENTIAL = refuse(
    Reason.BAD_CREDENTIAL,
    "session",
    "this session credential is not accepted here: unknown, expired, revoked or bound to another address; "
    "ask the operator for a new session",
)
_HEALTH = Serve("health")


@frozen
class Authorizer:
    """The checks, with the objects that they consult."""

    drivers: Mapping[str, Driver]
    default_forge: str
    sessions: SessionLookup
    brake: LoginThrottle
    has_credential: Callable[[RepoPath], bool]
    """Whether a credential is configured for this repository."""
    policy: PushPolicy
    """The operator's own rules on pushes."""
    handles: Handles = field(repr=False)
    """The handles that were issued for LFS objects."""
    _route: Callable[[bytes, bytes], Local | GitRequest | LfsRequest | Refused] = field(init=False, repr=False)

    @_route.default
    def _cached_route(self) -> Callable[[bytes, bytes], Local | GitRequest | LfsRequest | Refused]:
        # A sandbox asks for the same few targets again and again. Only what a target names is kept, no decision.
        return lru_cache(maxsize=256)(lambda method, target: route(method, target, self.drivers, self.default_forge))

    def judge(self, head: RequestHead, address: str, now: float) -> Verdict:
        """Judge one request head from ``address`` at ``now`` (monotonic seconds)."""
        where = self._route(head.method, head.target)
        if isinstance(where, GitRequest):
            session = self._session(head.all(b"authorization"), address, now)
            return session if isinstance(session, Refuse) else self._git(head, where, session)
        # git-lfs reads JSON, and has a second way to prove its session.
        if isinstance(where, LfsRequest):
            session = self._lfs_session(head, where, address, now)
            return _for_git_lfs(session) if isinstance(session, Refuse) else self._lfs(head, where, session)
        if isinstance(where, Refused) and not where.sessions_only:
            return Refuse(where.decision, where.status, lfs=where.lfs)
        if isinstance(where, Local) and where.name == "health":
            return _HEALTH
        session = self._session(head.all(b"authorization"), address, now)
        if isinstance(where, Local):
            return session if isinstance(session, Refuse) else Serve(where.name, session)
        # Only clients with a session are shown which forges there are.
        return session if isinstance(session, Refuse) else Refuse(where.decision, where.status, session=session)

    # Sessions.

    def _session(self, authorization: Sequence[bytes], address: str, now: float) -> Session | Refuse:
        presented = tokens.parse_authorization(authorization)
        if presented is None:
            return _NO_CREDENTIAL
        if isinstance(presented, tokens.PresentedToken):
            session = self.sessions.authenticate(presented.token, presented.secret, address)
            if session is not None:
                return session
        return self._wrong(presented, address, now)

    def _lfs_session(self, head: RequestHead, where: LfsRequest, address: str, now: float) -> Session | Refuse:
        """Find the session; for an LFS object the secret of its handle proves it too, if the session is usable."""
        authorization = head.all(b"authorization")
        shown = head.all(HANDLE_FIELD) if where.handle else ()
        if not shown:
            return self._session(authorization, address, now)
        if len(shown) == 1 and HANDLE_SECRET.fullmatch(shown[0]):
            owner = self.handles.owner(where.handle, shown[0].decode("ascii"), where.repo, where.call, now)
            session = None if owner is None else self.sessions.usable(owner, address)
            if session is not None:
                return session
        if authorization:
            return self._session(authorization, address, now)
        # Not 401: git-lfs 3.3 answers it with the same request, for ever. Nor does it count as a wrong credential:
        # after a restart all handles are gone, and git-lfs still sends each that it has.
        error = no_handle()
        return Refuse(error.decision, error.status, lfs=True)

    def _wrong(
        self, presented: tokens.PresentedToken | tokens.MalformedAuthorization, address: str, now: float
    ) -> Refuse:
        wait = self.brake.blocked(address, now)
        if wait > 0:
            seconds = int(wait) + 1
            text = f"too many wrong session credentials from this address; wait {seconds} s"
            return Refuse(refuse(Reason.TOO_MANY_FAILURES, "brake", text), 429, retry_after=seconds)
        self.brake.failed(address, now)
        # On 401 git hides the text of a Bearer refusal behind a prompt; on 403 it shows it (measured, both ways). A
        # malformed field is answered as a wrong one of its scheme, so that the answer does not reveal which it was.
        if presented.scheme == "bearer":
            return Refuse(_BAD_CREDENTIAL, 403)
        return Refuse(_BAD_CREDENTIAL, 401, challenge=True)

    # Git.

    def _git(self, head: RequestHead, where: GitRequest, session: Session) -> Relay | Refuse:
        # git names type and coding exactly (gitprotocol-http).
        if head.method == b"POST" and head.get(b"content-type") != where.request_type:
            text = f"the body must be {where.request_type.decode()}"
            return Refuse(refuse(Reason.UNSUPPORTED_MEDIA_TYPE, "form", text), 415, session=session, request=where)
        # Also without a body: a field that names a coding must not reach the forge unchecked.
        if head.get(b"content-encoding") not in _CODINGS:
            text = "the body must be gzip or uncompressed"
            return Refuse(refuse(Reason.UNSUPPORTED_CODING, "form", text), 415, session=session, request=where)
        return self.admit(where, session)

    def admit(self, where: GitRequest, session: Session) -> Relay | Refuse:
        """Judge ``where`` by the session's grant of ``where.repo``."""
        match = scope.find(session.grants, where.repo, where.needed)
        if not match.decision.allow:
            return Refuse(match.decision, 403, where.kind, session, where)
        rules = None
        if where.needed is Access.WRITE:
            # Anonymous reads may work without a credential; a push cannot.
            if not self.has_credential(where.repo):
                return Refuse(without_credential(where.repo), 403, where.kind, session, where)
            assert match.grant is not None
            rules = rules_for(match.grant, self.policy, session.id, session.label)
            # A push that could not change any ref is refused before git packs it.
            refused = at_discovery(rules)
            if refused is not None:
                return Refuse(refused, 403, where.kind, session, where)
        return Relay(where, session, self.drivers[where.repo.forge], match.path, where.dot_git, rules)

    # LFS.

    def _lfs(self, head: RequestHead, where: LfsRequest, session: Session) -> LfsRelay | Refuse:
        """Judge an LFS request by its head; the body of a batch is judged when it was read."""
        refused = None
        if where.takes_json and not _LFS_JSON.fullmatch(head.get(b"content-type") or b""):
            text = "the body must be application/vnd.git-lfs+json"
            refused = refuse(Reason.UNSUPPORTED_MEDIA_TYPE, "form", text)
        elif head.get(b"content-encoding") not in {None, b"identity"}:
            refused = refuse(Reason.UNSUPPORTED_CODING, "form", "the body of an LFS request must be uncompressed")
        if refused is not None:
            return Refuse(refused, 415, session=session, request=where, lfs=True)
        return self.admit_lfs(where, session)

    def admit_lfs(self, where: LfsRequest, session: Session) -> LfsRelay | Refuse:
        """Judge ``where`` by the session's grant of ``where.repo``; a batch again when its body was read."""
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

    # Renamed repositories.

    def moved(self, verdict: Relay | LfsRelay, to: Moved) -> Relay | LfsRelay | Refuse:
        """Judge a request again under the repository's new name."""
        # Access, push rules, limits and credential are those of the new name's grant: the old name's grant was written
        # for another repository, and a new one may be created under that name at any time.
        asked = verdict.request.asked
        moved_from = None if to.repo == asked else asked
        again: Relay | LfsRelay | Refuse
        if isinstance(verdict, LfsRelay):
            again = self.admit_lfs(evolve(verdict.request, repo=to.repo, moved_from=moved_from), verdict.session)
        else:
            again = self.admit(evolve(verdict.request, repo=to.repo, moved_from=moved_from), verdict.session)
        return again if isinstance(again, Refuse) else evolve(again, dot_git=to.dot_git)


def _for_git_lfs(refused: Refuse) -> Refuse:
    """Adapt a refusal to git-lfs."""
    # On a 401 git-lfs asks its credential helper again, for ever if that has one answer only.
    if refused.decision.reason is Reason.BAD_CREDENTIAL:
        return evolve(refused, lfs=True, status=403, challenge=False)
    return evolve(refused, lfs=True)
