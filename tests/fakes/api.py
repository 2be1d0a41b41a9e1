"""An HTTPS server for a fake of a forge's API: one thread a connection, answers of JSON, and faults on demand.

The common part of the fakes of GitHub's, GitLab's and Gitea's APIs. Each request uses up one of ``faults`` before the
API handles it: a status with headers and a body, a silence, or bytes of the test's own. Every request is recorded.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from attrs import define, field, frozen

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


@frozen
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    query: str = ""

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        """The body, read as a form."""
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


@frozen
class Reply:
    """An answer; ``content`` becomes JSON unless it is bytes."""

    status: int
    content: Any = None
    headers: Mapping[str, str] = field(factory=dict)

    @property
    def body(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        return b"" if self.content is None else json.dumps(self.content).encode()


@define
class Silence:
    """A request that gets no answer until ``over`` is set."""

    over: threading.Event = field(factory=threading.Event)


class FakeApi:
    """Listens on a loopback port; ``ahead`` is how many seconds its clock is ahead of the machine's."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.faults: list[Reply | Silence] = []
        self.ahead = 0.0
        self.lock = threading.Lock()
        self._tls = tls
        self._server = _Server(self)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"

    def now(self) -> float:
        return time.time() + self.ahead

    def wrap(self, connection: Any) -> Any:
        """Speak TLS, if this one does."""
        return connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True)

    def answer(self, asked: Asked) -> Reply:
        """Say what the API itself says; the fakes know."""
        raise NotImplementedError

    def serve(self, asked: Asked) -> Reply:
        """Answer what came to another server."""
        with self.lock:
            self.asked.append(asked)
            return self.answer(asked)

    def paths(self, method: str) -> list[str]:
        """List the paths that were asked for by this method."""
        return [one.path for one in self.asked if one.method == method]

    def close(self) -> None:
        """Stop serving; who waits in silence is let go."""
        for fault in self.faults:
            if isinstance(fault, Silence):
                fault.over.set()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Exchange)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that left is no news."""

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread."""
        with self.api.wrap(request) as connection:
            super().finish_request(connection, client_address)


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 30

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's own name
        """Say nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Tell the time of the fake's own clock."""
        return super().date_time_string(self.server.api.now() if timestamp is None else timestamp)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        api = self.server.api
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, urlsplit(self.path).path, headers, body, urlsplit(self.path).query)
        with api.lock:
            api.asked.append(asked)
            fault = api.faults.pop(0) if api.faults else None
        if isinstance(fault, Silence):
            fault.over.wait(30)
            self.close_connection = True
            return
        if fault is None:
            with api.lock:
                fault = api.answer(asked)
        self._send(fault)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        length = {"Content-Length": str(len(reply.body)), "Content-Type": "application/json; charset=utf-8"}
        for name, value in (length | dict(reply.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)
