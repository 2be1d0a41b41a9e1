"""The routes of the control API (``docs/control-api.md``), on Klein.

A route reads its own parameters only: ``http_server`` has checked the peer, the size of the body and the form of the
target, ``sessions.body`` checks the content of a create, and errors are mapped to answers at the end of the class.
Klein's own redirects and HTML pages never appear: slashes are not merged, and every HTTPException of its router is
answered as JSON. Created and extended sessions are written to the audit log before they are answered.

No log line contains a token, a secret, a traceback, or the text of an exception of another library.
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
from credgate.audit.event import Event, Happening
from credgate.errors import CapacityError, ConfigError, InvalidValueError, StoreError
from credgate.forges.acceptance import parse_check
from credgate.git.explain import explain, parse_question
from credgate.service.control.json_reply import encode, error, send, send_bytes
from credgate.service.control.views import lifetimes, session_view
from credgate.service.metrics.scrape import send_page
from credgate.service.turns import by_turns
from credgate.sessions.body import parse_create
from credgate.sessions.extension import parse_extend
from credgate.values import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.iweb import IRequest

    from credgate.service.control.http_server import ControlRequest
    from credgate.service.control.peer import Peer
    from credgate.service.gateway import Gateway
    from credgate.sessions.model import Session, SessionRequest
    from credgate.sessions.tokens import NewToken

READY_TIMEOUT = 5.0
"""Seconds that the checks of ``/v1/ready`` may take; then the answer is "not ready"."""
SLICE = 100
"""Sessions that a listing writes in one turn of the reactor; takes some milliseconds."""

MAX_DEPTH = 8
"""Nesting of arrays and objects in a request body; a create needs four levels."""

_JSON_TYPE = re.compile(rb"[ \t]*application/json[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_SESSION_ID = re.compile(r"s-[0-9a-f]{16}")
_REVOKED = "revoked"

T = TypeVar("T")


class AuditSink(Protocol):
    """The part of ``service.audit.log.AuditLog`` that is used here."""

    def write(self, event: Event) -> None:
        """Write an event; never fails."""
        ...


@define(slots=False, eq=False)  # Klein binds itself to an instance by an attribute and a weak reference
class ControlAPI:
    """The routes of one gateway."""

    gateway: Gateway
    audit: AuditSink
    reactor: IReactorTime
    _log: Logger = field(factory=Logger, init=False, repr=False)

    app = Klein()
    app.url_map.merge_slashes = False

    @app.route("/", methods=["GET"])
    def index(self, request: ControlRequest) -> bytes:
        """Return the name and version of the service, as the ancestor did."""
        return send(request, 200, {"service": "credgate", "version": __version__})

    @app.route("/health", methods=["GET"])
    def health(self, request: ControlRequest) -> bytes:
        """Answer 200 while the process runs; ``/v1/ready`` checks its parts."""
        return send(request, 200, {"status": "healthy"})

    @app.route("/v1/ready", methods=["GET"])
    async def ready(self, request: ControlRequest) -> bytes:
        """Run the checks; 503 unless all pass. The answer always names what failed."""
        try:
            asked = ensureDeferred(self._ready())
            checks = dict(await asked.addTimeout(READY_TIMEOUT, self.reactor))
        except CancelledError:  # the client has left
            raise
        except Exception as failed:  # noqa: BLE001 - the answer is "not ready" whatever failed
            self._log.error("the readiness checks failed: {type}", type=type(failed).__name__)
            checks = {}
        checks = checks or {"readiness": False}
        is_ready = all(state is True for state in checks.values())
        unready = "draining" if checks.get("serving") is False else "not ready"
        answer = {"status": "ready" if is_ready else unready, "checks": checks}
        return send(request, 200 if is_ready else 503, answer)

    @app.route("/v1/status", methods=["GET"])
    async def status(self, request: ControlRequest) -> bytes:
        """Return version, listeners and counts, for people and ``credgate status``."""
        if self.gateway.status is None:
            return send(request, 404, error("Not found"))
        return send(request, 200, dict(self.gateway.status()))

    @app.route("/v1/transfers", methods=["GET"])
    def list_transfers(self, request: ControlRequest) -> bytes:
        """List the requests in progress."""
        return send(request, 200, {"transfers": self.gateway.transfers()})

    @app.route("/v1/forges", methods=["GET"])
    def list_forges(self, request: ControlRequest) -> bytes:
        """List the forges with the id, kind, expiry and errors of each credential, never a value."""
        return send(request, 200, {"forges": self.gateway.forges()})

    @app.route("/v1/forges/<name>/check", methods=["POST"])
    async def check_forge(self, request: ControlRequest, name: str) -> bytes:
        """Ask a forge whether it accepts its credentials; the answer contains no value."""
        repo = parse_check(_payload(request))
        if self.gateway.check is None or name not in self.gateway.drivers:
            return send(request, 404, error("No such forge"))
        return send(request, 200, {"forge": name, "checks": await self.gateway.check(name, repo)})

    @app.route("/v1/metrics", methods=["GET"])
    async def metrics(self, request: ControlRequest) -> bytes:
        """Return the metrics page for Prometheus."""
        if self.gateway.scrape is None:
            return send(request, 404, error("Not found"))
        return send_page(request, await self.gateway.scrape())

    @app.route("/v1/reload", methods=["POST"])
    async def reload(self, request: ControlRequest) -> bytes:
        """Read the configuration again; 422 if it is invalid: then the old one stays in force."""
        if self.gateway.reload is None:
            return send(request, 404, error("Not found"))
        try:
            return send(request, 200, dict(await self.gateway.reload()))
        except ConfigError as failed:
            return send(request, 422, error(str(failed)))

    @app.route("/v1/explain", methods=["POST"])
    def explain(self, request: ControlRequest) -> bytes:
        """Return what would be decided about a request of git, and by which rule."""
        question = parse_question(_payload(request), self.gateway.drivers, self.gateway.config.default_forge)
        policy, has_credential = self.gateway.policy(), self.gateway.has_credential
        if not question.session:
            return send(request, 200, explain(question, policy, has_credential=has_credential).view())
        session = self.gateway.registry.get(question.session)
        if session is None:
            return send(request, 404, error("Session not found"))
        who = {"session": session.id, "label": session.label}
        verdict = explain(question, policy, grants=session.grants, has_credential=has_credential, **who)
        return send(request, 200, verdict.view())

    @app.route("/session/create", methods=["POST"])
    async def create_legacy(self, request: ControlRequest) -> bytes:
        """Create a session with the ancestor's keys."""
        session, minted = await self._create(request, legacy=True)
        secrets = {"token": minted.token, "secret": minted.secret}
        return send(request, 201, {**secrets, **lifetimes(session)})

    @app.route("/session/<token>", methods=["DELETE"])
    async def delete_legacy(self, request: ControlRequest, token: str) -> bytes:
        """End the session with this token."""
        known = _TOKEN.fullmatch(token) is not None and await _shielded(self.gateway.registry.revoke_token(token))
        return _deleted(request, known=known)

    @app.route("/v1/sessions", methods=["GET"])
    async def list_sessions(self, request: ControlRequest) -> bytes:
        """List the live sessions, the oldest first."""
        # Written in several turns of the reactor: 100,000 sessions are 40 MB of JSON and take a second.
        # A session that ends in between is missing: each is looked up when its turn comes.
        now = self.gateway.clock()
        found = map(self.gateway.registry.get, self.gateway.registry.ids())
        views = (encode(session_view(session, now)).rstrip() for session in found if session is not None)
        written = await by_turns(self.reactor, views)
        return send_bytes(request, 200, b'{"sessions": [%b]}\n' % b", ".join(written))

    @app.route("/v1/sessions", methods=["POST"])
    async def create(self, request: ControlRequest) -> bytes:
        """Create a session. No other answer contains its secrets."""
        session, minted = await self._create(request, legacy=False)
        secrets = {"token": minted.token, "secret": minted.secret}
        return send(request, 201, {**secrets, **lifetimes(session), **session_view(session, self.gateway.clock())})

    @app.route("/v1/sessions/<session_id>", methods=["GET"])
    def get_session(self, request: ControlRequest, session_id: str) -> bytes:
        """Return one session without its secrets."""
        session = self.gateway.registry.get(session_id)
        if session is None:
            return send(request, 404, error("Session not found"))
        return send(request, 200, session_view(session, self.gateway.clock()))

    @app.route("/v1/sessions/<session_id>/extend", methods=["POST"])
    async def extend(self, request: ControlRequest, session_id: str) -> bytes:
        """Extend the lifetime of a session."""
        seconds, peer = parse_extend(_payload(request)), request.channel.peer
        known = _SESSION_ID.fullmatch(session_id) is not None
        session = await _shielded(self.gateway.registry.extend(session_id, seconds)) if known else None
        if session is None:
            return send(request, 404, error("Session not found"))
        self._granted(Happening.SESSION_EXTENDED, session, peer)
        return send(request, 200, session_view(session, self.gateway.clock()))

    @app.route("/v1/sessions/<session_id>", methods=["DELETE"])
    async def delete(self, request: ControlRequest, session_id: str) -> bytes:
        """End one session by its public id."""
        # A token in the URL by mistake is not an id; it is not passed on, so it cannot reach a log.
        known = _SESSION_ID.fullmatch(session_id) is not None
        return _deleted(request, known=known and await _shielded(self.gateway.registry.revoke(session_id, _REVOKED)))

    async def _ready(self) -> Mapping[str, bool]:
        return await self.gateway.readiness()

    def _granted(self, happening: Happening, session: Session, peer: Peer | None) -> None:
        self.audit.write(
            Event(
                wall=self.gateway.clock().wall,
                event=happening,
                session=session.id,
                peer=str(peer),
                allow=True,
                reason=Reason.ALLOWED,
                text=session.label,
            )
        )

    async def _create(self, request: ControlRequest, *, legacy: bool) -> tuple[Session, NewToken]:
        asked = parse_create(
            _payload(request),
            forges=self.gateway.drivers,
            default_forge=self.gateway.config.default_forge,
            sessions=self.gateway.config.sessions,
            legacy=legacy,
        )
        return await _shielded(ensureDeferred(self._make(asked, request)))

    async def _make(self, asked: SessionRequest, request: ControlRequest) -> tuple[Session, NewToken]:
        """Create a session, and end it again if its client has disconnected."""
        peer = request.channel.peer  # a request loses its channel when the client disconnects
        session, minted = await self.gateway.registry.create(asked)
        self._granted(Happening.SESSION_CREATED, session, peer)
        if request.client_left:  # no other answer contains its secrets, so nobody could use it
            await self.gateway.registry.revoke(session.id, _REVOKED)
        return session, minted

    @app.handle_errors(HTTPException)
    def not_routed(self, request: IRequest, failure: Failure) -> bytes:
        """Answer a request without a route."""
        if isinstance(failure.value, MethodNotAllowed):
            allow = ", ".join(sorted(failure.value.valid_methods or ()))
            return send(request, 405, error("Method not allowed"), {b"Allow": allow.encode()})
        return send(request, 404, error("Not found"))

    @app.handle_errors(InvalidValueError)
    def malformed(self, request: IRequest, failure: Failure) -> bytes:
        """Answer an invalid request with the reason."""
        return send(request, 415 if isinstance(failure.value, _MediaTypeError) else 400, error(str(failure.value)))

    @app.handle_errors(CapacityError)
    def at_capacity(self, request: IRequest, failure: Failure) -> bytes:
        """Answer a create beyond ``max_sessions``."""
        limit = self.gateway.config.sessions.max_sessions
        return send(request, 503, error(f"Maximum session limit ({limit}) exceeded"))

    @app.handle_errors(StoreError)
    def not_stored(self, request: IRequest, failure: Failure) -> bytes:
        """Answer a change that could not be stored."""
        self._log.error("a change to the sessions was not stored: {text}", text=str(failure.value))
        return send(request, 503, error("The session store cannot be written"))

    @app.handle_errors(Exception)
    def broken(self, request: IRequest, failure: Failure) -> bytes:
        """Answer an internal error."""
        # The text of the exception may quote the request, so only its type and place are logged.
        place = failure.frames[-1] if failure.frames else ("?", "?", 0)
        kind = failure.type.__name__ if failure.type else "?"
        where = f"{place[0]} ({place[1]}:{place[2]})"
        self._log.error("control API: {kind} in {where}", kind=kind, where=where)
        return send(request, 500, error("Internal server error"))


class _MediaTypeError(InvalidValueError):
    """The Content-Type is not JSON: 415."""


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


def _deleted(request: ControlRequest, *, known: bool) -> bytes:
    if known:
        return send(request, 200, {"status": "destroyed"})
    return send(request, 404, error("Session not found"))


def _shielded(work: Deferred[T]) -> Deferred[T]:
    """Return a Deferred with the result of ``work``; cancelling it does not cancel ``work``."""
    # Klein cancels a route when its client disconnects, but a write to the store must complete once it has started.
    waiting: Deferred[T] = Deferred()
    work.addCallbacks(waiting.callback, waiting.errback)
    return waiting
