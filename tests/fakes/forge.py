"""A git forge of Python's standard library: ``git http-backend`` behind a threading HTTP server.

Stands in for nginx + fcgiwrap where these are not installed, and is the demo's forge, since a bare machine has Python
and git only. It demands ``Basic USER:SECRET`` for everything (or, as ``public``, for pushes only), USER being one of
``USERS``, streams bodies both ways without keeping them, and answers 301 for the renamed repositories of ``moved_to``.
Any request that it does not support is answered 4xx, and the connection closed.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import shutil
import subprocess
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, TYPE_CHECKING, Any, ClassVar

from tests.fakes.api import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.fakes.api import Reply

PIECE = 64 * 1024
REALM = 'Basic realm="forge"'
GIT_CONFIG = """[http]
\treceivepack = true
[uploadpack]
\tallowFilter = true
\tallowAnySHA1InWant = true
[safe]
\tdirectory = *
[gc]
\tauto = 0
[receive]
\tautogc = false
"""


USERS = ("x-access-token", "oauth2", "x-token-auth")
"""The user names that GitHub, GitLab and Bitbucket expect with a token."""


def write_git_config(folder: Path) -> Path:
    """Write the forge's own git configuration."""
    path = folder / "forge.gitconfig"
    path.write_text(GIT_CONFIG)
    return path


def moved_to(path: str, base: str) -> str | None:
    """Return the new address of a renamed repository, by the same rules as the nginx configuration.

    ``/moved-in/X`` became ``/octo/X``, ``/moved-out/X`` became ``/elsewhere/X``, both on this forge (``base``);
    ``/moved-away/X`` went to another host.
    """
    for prefix, target in (
        ("/moved-in/", f"{base}/octo/"),
        ("/moved-out/", f"{base}/elsewhere/"),
        ("/moved-away/", "http://127.0.0.2:9/octo/"),
    ):
        if path.startswith(prefix):
            return target + path.removeprefix(prefix)
    return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, forge: PythonForge, *, public: bool) -> None:
        self.forge, self.public = forge, public
        super().__init__(("127.0.0.1", 0), _Exchange)

    def handle_error(self, request: object, client_address: object) -> None:
        """Do not log clients that disconnect."""


class PythonForge:
    """Serves the bare repositories under ``root``; ``secret`` may be changed at any time."""

    kind = "Python's http.server + git http-backend"

    def __init__(self, root: Path, secret: str, scratch: Path, path: str = "") -> None:
        """``path`` is the search path for git; by default the machine's."""
        self.root, self.secret, self.path = root, secret, path or os.environ["PATH"]
        self.pages: dict[str, Callable[[Asked], Reply]] = {}
        self.git_config = write_git_config(scratch)
        self._servers = [_Server(self, public=public) for public in (False, True)]
        self.port, self.public_port = (int(server.server_address[1]) for server in self._servers)
        self._threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in self._servers]
        for thread in self._threads:
            thread.start()

    def admits(self, login: str, target: str) -> bool:
        """Whether ``user:password`` may use ``target``; called in the connection's thread."""
        return any(hmac.compare_digest(f"{user}:{self.secret}".encode(), login.encode()) for user in USERS)

    def rotate(self, secret: str) -> None:
        """Replace the accepted secret."""
        self.secret = secret

    def close(self) -> None:
        """Stop serving."""
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join(10)
            server.server_close()


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 120
    passed_on: ClassVar[Mapping[str, str]] = {
        "CONTENT_TYPE": "Content-Type",
        "CONTENT_LENGTH": "Content-Length",
        "HTTP_CONTENT_ENCODING": "Content-Encoding",
        "GIT_PROTOCOL": "Git-Protocol",
    }

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's own name
        """Log nothing: the recorder has every request."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        if page := self.server.forge.pages.get(path):
            self._page(path, page)
        elif not self._admitted():
            self._short(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", REALM))
        elif target := moved_to(path, f"http://{self.headers['Host']}"):
            self._short(HTTPStatus.MOVED_PERMANENTLY, ("Location", target + (f"?{query}" if query else "")))
        else:
            self._run_backend(path, query)

    def _admitted(self) -> bool:
        if self.server.public and "git-receive-pack" not in self.path:
            return True
        scheme, _, coded = self.headers.get("Authorization", "").partition(" ")
        try:
            login = base64.b64decode(coded, validate=True).decode()
        except ValueError:
            return False
        return scheme == "Basic" and self.server.forge.admits(login, self.path)

    def _page(self, path: str, page: Callable[[Asked], Reply]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = page(Asked(self.command, path, headers, b"".join(self._body())))
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _short(self, status: HTTPStatus, *fields: tuple[str, str]) -> None:
        body = f"the forge says {status.value}\n".encode()
        self.close_connection = self.command == "POST"
        self.send_response(status)
        for name, value in (*fields, ("Content-Type", "text/plain"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _run_backend(self, path: str, query: str) -> None:
        forge = self.server.forge
        environ = {
            "PATH": forge.path,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(forge.git_config),
            "GIT_PROJECT_ROOT": str(forge.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_USER": "x-access-token",
            "REMOTE_ADDR": str(self.client_address[0]),
        }
        environ |= {name: self.headers[field] for name, field in self.passed_on.items() if field in self.headers}
        arguments = [shutil.which("git", path=forge.path) or "git", "http-backend"]
        pipe = subprocess.PIPE
        with subprocess.Popen(arguments, env=environ, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as backend:
            assert backend.stdin is not None
            assert backend.stdout is not None
            feeder = threading.Thread(target=self._feed, args=(backend, backend.stdin))
            feeder.start()
            try:
                self._relay(backend.stdout)
            finally:
                backend.kill()
                feeder.join()

    def _feed(self, backend: subprocess.Popen[bytes], stdin: IO[bytes]) -> None:
        """Pass the body on; an incomplete body must not look complete."""
        try:
            for piece in self._body():
                stdin.write(piece)
            stdin.close()
        except BrokenPipeError:
            self.close_connection = True
        except (OSError, ValueError):
            self.close_connection = True
            backend.kill()
        with contextlib.suppress(OSError):
            stdin.close()

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            yield from self._chunks()
        else:
            yield from self._exactly(int(self.headers.get("Content-Length", "0")))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(64).strip() or b"x", 16):
            yield from self._exactly(size)
            self.rfile.readline(4)
        while self.rfile.readline(1024).strip():
            pass

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self.rfile.read1(min(length, PIECE))
            if not piece:
                raise ConnectionResetError
            length -= len(piece)
            yield piece

    def _relay(self, stdout: IO[bytes]) -> None:
        """Turn the CGI answer into a chunked HTTP answer, as it comes."""
        status, fields = HTTPStatus.OK.value, []
        while line := stdout.readline().strip().decode():
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            elif name != "Content-Length":
                fields.append((name, value))
        self.send_response(status if fields else HTTPStatus.BAD_GATEWAY)
        for name, value in (*fields, ("Transfer-Encoding", "chunked")):
            self.send_header(name, value)
        self.end_headers()
        while piece := stdout.read1(PIECE):  # type: ignore[attr-defined]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")
