"""A proxy before a forge that delays each response to a POST by ``seconds``.

Ref discoveries are not delayed. Nothing of a delayed response is sent before its time, not even its head. Real forges
behave like this while they count objects, run hooks or wait for a lock.
"""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

ASKED = "Authorization", "Content-Type", "Content-Encoding", "Git-Protocol"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, behind: int, seconds: float) -> None:
        self.behind, self.seconds, self.closing = behind, seconds, threading.Event()
        super().__init__(("127.0.0.1", 0), _Exchange)


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's own name
        """Say nothing."""

    def do_GET(self) -> None:
        self._pass_on(None, 0)

    def do_POST(self) -> None:
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        body = self._chunks() if chunked else self.rfile.read(int(self.headers["Content-Length"]))
        self._pass_on(body, self.server.seconds)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _pass_on(self, body: bytes | None, seconds: float) -> None:
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        fields = {name: self.headers[name] for name in ASKED if name in self.headers}
        behind.request(self.command, self.path, body, fields)
        answer = behind.getresponse()
        said = answer.read()
        behind.close()
        self.server.closing.wait(seconds)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)


class ThinkingForge:
    """Stands before the forge at the loopback port ``behind``."""

    def __init__(self, behind: int, seconds: float) -> None:
        self._server = _Server(behind, seconds)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, what: object, where: TracebackType | None) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()
