"""The routes of the control API (``docs/control-api.md``), on Klein.

Each route checks nothing but its own words: the peer, the size of the body and the shape of the target were judged
before (``channel``), the meaning of a create is judged by ``sessions.body``, and errors become answers in one place at
the end. Klein's own redirects and HTML pages never appear: slashes are not merged, and every HTTPException of its
router is answered as JSON.

Never here: a token or secret in a log, a traceback, the text of an exception that is not ours.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, TypeVar

from attrs import define, field
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from credgate import __version__, strict_json
from credgate.config.schema import Config, PushPolicy
from credgate.errors import CapacityError, ConfigError, InvalidValueError, StoreError
from credgate.forges.acceptance import parse_check
from credgate.git.explain import explain, parse_question
from credgate.service.control.json_reply import encode, error, send, send_bytes
from credgate.service.control.views import lifetimes, session_view
from credgate.service.metrics.scrape import send_page
from credgate.service.turns import by_turns
from credgate.sessions.body import parse_create
from credgate.sessions.extension import parse_extend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest

    from credgate.forges.driver import Driver
    from credgate.service.control.http_server import ControlRequest
    from credgate.service.control.peer import Peer
    from credgate.service.metrics.scrape import MetricsExposition
    from credgate.sessions.lease_clock import LeaseReading
    from credgate.sessions.model import Session, SessionRequest
    from credgate.sessions.tokens import NewToken
    from credgate.values import RepoPath

    Readiness = Callable[[], Awaitable[Mapping[str, bool]]]
    Reload = Callable[[], Awaitable[Mapping[str, object]]]
    Status = Callable[[], Mapping[str, object]]
    Transfers = Callable[[], list[dict[str, object]]]
    Forges = Callable[[], list[dict[str, object]]]
    Check = Callable[[str, str], Awaitable[list[dict[str, object]]]]

READY_TIMEOUT = 5.0
"""Seconds that the checks of ``/v1/ready`` may take; then the answer is that they did not."""
SLICE = 100
"""Sessions that a listing writes in one turn of the reactor: some milliseconds."""

MAX_DEPTH = 8
"""Nesting of arrays and objects in a request body; a create needs four levels."""

_JSON_TYPE = re.compile(rb"[ \t]*application/json[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_SESSION_ID = re.compile(r"s-[0-9a-f]{16}")
_REVOKED = "revoked"

T = TypeVar("T")


class Registry(Protocol):
    """What the routes use of ``service.registry.SessionRegistry``."""

    def create(self, request: SessionRequest) -> Deferred[tuple[Session, NewToken]]:
        """Make a session; it is on disk when this fires."""
        ...

    def revoke(self, session_id: str, reason: str) -> Deferred[bool]:
        """End a session; ``False``: there is none."""
        ...

    def extend(self, session_id: str, seconds: float) -> Deferred[Session | None]:
        """Let a session live longer; it is on disk when this fires. ``None``: there is none."""
        ...

    def revoke_token(self, token: str) -> Deferred[bool]:
        """End a session that is named by its token."""
        ...

    def get(self, session_id: str) -> Session | None:
        """Return a live session."""
        ...

    def ids(self) -> list[str]:
        """Return the ids of the sessions, the oldest first."""
        ...


@define(slots=False, eq=False)  # Klein binds itself to an instance by an attribute and a weak reference
class ControlAPI:
    """The routes, bound to what they act on.

    ``created`` is told of each session that was made, and by whom, before its secrets are answered.
    """

    config: Config
    registry: Registry
    readiness: Readiness
    drivers: Mapping[str, Driver]
    clock: Callable[[], LeaseReading]
    reactor: IReactorTime
    created: Callable[[Session, Peer | None], None] = lambda _session, _peer: None
    reload: Reload | None = None
    policy: Callable[[], PushPolicy] = PushPolicy
    """Returns the operator's rules on pushes as they are in force."""
    has_credential: Callable[[RepoPath], bool] = lambda _repo: True
    status: Status | None = None
    transfers: Transfers = list
    extended: Callable[[Session, Peer | None], None] = lambda _session, _peer: None
    """Is told of each session that was extended, and by whom, before that is answered."""
    forges: Forges = list
    scrape: MetricsExposition | None = None
    """Makes the page of ``/v1/metrics``."""
    check: Check | None = None
    """Asks a forge, by its name, whether it accepts its credentials, or that of a repository."""
    _log: Logger = field(factory=Logger, init=False, repr=False)

    app = Klein()
    app.url_map.merge_slashes = False

    @app.route("/", methods=["GET"])
    def index(self, request: ControlRequest) -> bytes:
        """Name the service, as the ancestor did."""
        return send(request, 200, {"service": "credgate", "version": __version__})

    @app.route("/health", methods=["GET"])
    def health(self, request: ControlRequest) -> bytes:
        """Say that the process answers, and no more: ``/v1/ready`` says what works."""
        return send(request, 200, {"status": "healthy"})

    @app.route("/v1/ready", methods=["GET"])
    async def ready(self, request: ControlRequest) -> bytes:
        """Say of each part whether it works; 503 unless all do. A failure always has a name."""
        try:
            asked = ensureDeferred(_awaited(self.readiness()))
            checks = dict(await asked.addTimeout(READY_TIMEOUT, self.reactor))
        except CancelledError:  # the client has left
            raise
        except Exception as failed:  # noqa: BLE001  # whatever it is, the answer is that we could not tell
            self._log.error("readiness could not be told: {type}", type=type(failed).__name__)
            checks = {}
        checks = checks or {"readiness": False}  # nothing checked is nothing known
        is_ready = all(state is True for state in checks.values())
        unready = "draining" if checks.get("serving") is False else "not ready"
        answer = {"status": "ready" if is_ready else unready, "checks": checks}
        return send(request, 200 if is_ready else 503, answer)

    @app.route("/v1/status", methods=["GET"])
    async def overview(self, request: ControlRequest) -> bytes:
        """Say what the gateway is and does, in one look: for people and for ``credgate status``."""
        if self.status is None:
            return send(request, 404, error("Not found"))
        return send(request, 200, dict(self.status()))

    @app.route("/v1/transfers", methods=["GET"])
    def running(self, request: ControlRequest) -> bytes:
        """List the requests that run for sessions now."""
        return send(request, 200, {"transfers": self.transfers()})

    @app.route("/v1/forges", methods=["GET"])
    def places(self, request: ControlRequest) -> bytes:
        """List the forges with their credentials: ids, kinds, ends and troubles, never a value."""
        return send(request, 200, {"forges": self.forges()})

    @app.route("/v1/forges/<name>/check", methods=["POST"])
    async def accepted(self, request: ControlRequest, name: str) -> bytes:
        """Ask a forge whether it accepts its credentials; the answer says so in words, never with a value."""
        repo = parse_check(_payload(request))
        if self.check is None or name not in self.drivers:
            return send(request, 404, error("No such forge"))
        return send(request, 200, {"forge": name, "checks": await self.check(name, repo)})

    @app.route("/v1/metrics", methods=["GET"])
    async def metrics(self, request: ControlRequest) -> bytes:
        """Answer the page that Prometheus reads."""
        if self.scrape is None:
            return send(request, 404, error("Not found"))
        return send_page(request, await self.scrape())

    @app.route("/v1/reload", methods=["POST"])
    async def take_up(self, request: ControlRequest) -> bytes:
        """Read the configuration again; 422 when it cannot be used: then the old one stays."""
        if self.reload is None:
            return send(request, 404, error("Not found"))
        try:
            return send(request, 200, dict(await self.reload()))
        except ConfigError as failed:
            return send(request, 422, error(str(failed)))

    @app.route("/v1/explain", methods=["POST"])
    def explain(self, request: ControlRequest) -> bytes:
        """Say what would be decided, and by which rule, if git asked."""
        question = parse_question(_payload(request), self.drivers, self.config.default_forge)
        policy, able = self.policy(), self.has_credential
        if not question.session:
            return send(request, 200, explain(question, policy, has_credential=able).view())
        session = self.registry.get(question.session)
        if session is None:
            return send(request, 404, error("Session not found"))
        who = {"session": session.id, "label": session.label}
        told = explain(question, policy, grants=session.grants, has_credential=able, **who)
        return send(request, 200, told.view())

    @app.route("/session/create", methods=["POST"])
    async def create_legacy(self, request: ControlRequest) -> bytes:
        """Create a session in the ancestor's words."""
        session, minted = await self._create(request, legacy=True)
        secrets = {"token": minted.token, "secret": minted.secret}
        return send(request, 201, {**secrets, **lifetimes(session)})

    @app.route("/session/<token>", methods=["DELETE"])
    async def destroy_legacy(self, request: ControlRequest, token: str) -> bytes:
        """End a session by its token."""
        known = _TOKEN.fullmatch(token) is not None and await _unharmed(self.registry.revoke_token(token))
        return _destroyed(request, known=known)

    @app.route("/v1/sessions", methods=["GET"])
    async def sessions(self, request: ControlRequest) -> bytes:
        """List the live sessions, oldest first; written in turns of the reactor, for there may be tens of thousands.

        A session that ends meanwhile may be missing. 100,000 sessions are 40 MB of JSON, which takes a second to write.
        """
        now = self.clock()
        found = map(self.registry.get, self.registry.ids())
        views = (encode(session_view(session, now)).rstrip() for session in found if session is not None)
        written = await by_turns(self.reactor, views)
        return send_bytes(request, 200, b'{"sessions": [%b]}\n' % b", ".join(written))

    @app.route("/v1/sessions", methods=["POST"])
    async def create(self, request: ControlRequest) -> bytes:
        """Create a session; the only answer that ever shows its secrets."""
        session, minted = await self._create(request, legacy=False)
        secrets = {"token": minted.token, "secret": minted.secret}
        return send(request, 201, {**secrets, **lifetimes(session), **session_view(session, self.clock())})

    @app.route("/v1/sessions/<session_id>", methods=["GET"])
    def show(self, request: ControlRequest, session_id: str) -> bytes:
        """Show one session."""
        session = self.registry.get(session_id)
        if session is None:
            return send(request, 404, error("Session not found"))
        return send(request, 200, session_view(session, self.clock()))

    @app.route("/v1/sessions/<session_id>/extend", methods=["POST"])
    async def extend(self, request: ControlRequest, session_id: str) -> bytes:
        """Let a session live longer."""
        seconds, peer = parse_extend(_payload(request)), request.channel.peer
        known = _SESSION_ID.fullmatch(session_id) is not None
        session = await _unharmed(self.registry.extend(session_id, seconds)) if known else None
        if session is None:
            return send(request, 404, error("Session not found"))
        self.extended(session, peer)
        return send(request, 200, session_view(session, self.clock()))

    @app.route("/v1/sessions/<session_id>", methods=["DELETE"])
    async def destroy(self, request: ControlRequest, session_id: str) -> bytes:
        """End one session by its public id."""
        # A token put here by mistake is no id: it goes no further than this line.
        known = _SESSION_ID.fullmatch(session_id) is not None
        return _destroyed(request, known=known and await _unharmed(self.registry.revoke(session_id, _REVOKED)))

    async def _create(self, request: ControlRequest, *, legacy: bool) -> tuple[Session, NewToken]:
        asked = parse_create(
            _payload(request),
            forges=self.drivers,
            default_forge=self.config.default_forge,
            sessions=self.config.sessions,
            legacy=legacy,
        )
        return await _unharmed(ensureDeferred(self._make(asked, request)))

    async def _make(self, asked: SessionRequest, request: ControlRequest) -> tuple[Session, NewToken]:
        """Make a session; end it if its client has left meanwhile, for nobody can ever know its secrets."""
        peer = request.channel.peer
        session, minted = await self.registry.create(asked)
        self.created(session, peer)
        if request.client_left:
            await self.registry.revoke(session.id, _REVOKED)
        return session, minted

    @app.handle_errors(HTTPException)
    def not_routed(self, request: IRequest, failure: Failure) -> bytes:
        """Answer what the router has no route for."""
        if isinstance(failure.value, MethodNotAllowed):
            allow = ", ".join(sorted(failure.value.valid_methods or ()))
            return send(request, 405, error("Method not allowed"), {b"Allow": allow.encode()})
        return send(request, 404, error("Not found"))

    @app.handle_errors(InvalidValueError)
    def malformed(self, request: IRequest, failure: Failure) -> bytes:
        """Say what is wrong with what was sent."""
        return send(request, 415 if isinstance(failure.value, _MediaTypeError) else 400, error(str(failure.value)))

    @app.handle_errors(CapacityError)
    def at_capacity(self, request: IRequest, failure: Failure) -> bytes:
        """Answer a create beyond ``max_sessions``."""
        limit = self.config.sessions.max_sessions
        return send(request, 503, error(f"Maximum session limit ({limit}) exceeded"))

    @app.handle_errors(StoreError)
    def not_stored(self, request: IRequest, failure: Failure) -> bytes:
        """Answer a change that did not reach the disk."""
        self._log.error("a change of sessions was not stored: {text}", text=str(failure.value))
        return send(request, 503, error("The session store cannot be written"))

    @app.handle_errors(Exception)
    def broken(self, request: IRequest, failure: Failure) -> bytes:
        """Answer our own mistake. Its text may quote a request: only its kind and place are logged."""
        place = failure.frames[-1] if failure.frames else ("?", "?", 0)
        kind = failure.type.__name__ if failure.type else "?"
        where = f"{place[0]} ({place[1]}:{place[2]})"
        self._log.error("control API: {kind} in {where}", kind=kind, where=where)
        return send(request, 500, error("Internal server error"))


class _MediaTypeError(InvalidValueError):
    """The body is declared as something else than JSON: 415."""


def _payload(request: ControlRequest) -> object:
    """Return the decoded body. Raises InvalidValueError."""
    # A form or a text that happens to parse as JSON was not meant as such. No Content-Type is accepted.
    media_type = request.getHeader(b"Content-Type")
    if media_type is not None and _JSON_TYPE.fullmatch(media_type) is None:
        raise _MediaTypeError("send the body with Content-Type: application/json")
    body = request.content.read()
    if not body.strip():
        raise InvalidValueError("the request needs a JSON object as its body")
    try:
        return strict_json.read_value(body, depth=MAX_DEPTH)
    except strict_json.JsonError as failed:
        raise InvalidValueError(str(failed)) from None


def _destroyed(request: ControlRequest, *, known: bool) -> bytes:
    if known:
        return send(request, 200, {"status": "destroyed"})
    return send(request, 404, error("Session not found"))


async def _awaited(awaitable: Awaitable[Mapping[str, bool]]) -> Mapping[str, bool]:
    return await awaitable


def _unharmed(work: Deferred[T]) -> Deferred[T]:
    """Return a Deferred with ``work``'s result, whose cancellation does not reach ``work``.

    Klein cancels a route when its client leaves; a write of the store that has begun is to end as it would have.
    """
    waiting: Deferred[T] = Deferred()
    work.addCallbacks(waiting.callback, waiting.errback)
    return waiting
