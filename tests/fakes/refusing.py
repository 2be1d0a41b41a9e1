"""A forge that says no: it answers as each kind of forge does, with the status that the repository's name asks for.

``.../s403`` answers everything with 403; ``.../p403`` offers an empty repository and answers the push with 403;
``.../s200`` offers one branch. Each kind lives below a path of its own, ``/gitlab/...``, and its refusals have the
headers and the kind of page that the forge's documents and users show. Every request is remembered with its login.

What it does not prove: that a forge answers these statuses on these occasions, today; that its redirects to a sign-in
page look like this one; that a token is judged at all. It never looks at a login, and it has no repository.
"""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = "PAGE-OF-THE-FORGE"
"""Stands in every body and in every header that no sandbox may see."""
OID = "1" * 40
_TARGET = re.compile(
    r"/(?P<kind>[a-z-]+)(?P<path>/.*)/(?P<when>[sp])(?P<status>[0-9]{3})(?:\.git)?"
    r"/(?P<tail>info/refs\?service=(?P<service>git-[a-z]+-pack)|git-[a-z]+-pack)"
)
_HEADERS: Mapping[tuple[str, int] | int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": f'Basic realm="{PAGE}"'},
    429: {"Retry-After": "7"},
    ("azure", 302): {"Location": f"https://spsprodweu1.vssps.visualstudio.com/_signin?realm={PAGE}"},
    ("azure", 401): {
        "WWW-Authenticate": f'Bearer authorization_uri=https://login.example/{PAGE}, Basic realm="{PAGE}"'
    },
    ("bitbucket-datacenter", 403): {
        "X-Authentication-Denied-Reason": f"CAPTCHA_CHALLENGE; login-url=https://git.example/{PAGE}"
    },
    ("github", 403): {"X-GitHub-SSO": f"required; url=https://github.com/orgs/octo/sso?authorization_request={PAGE}"},
}
_PAGES: Mapping[str, tuple[str, str]] = {
    "github": ("text/plain; charset=utf-8", "The `octo' organization has enabled or enforced SAML SSO. {page}\n"),
    "gitlab": ("text/plain; charset=utf-8", "You are not allowed to push code to this project. {page}\n"),
    "gitea": ("text/plain; charset=utf-8", "User permission denied for writing. {page}\n"),
    "bitbucket": ("text/plain", "To access this repository, an admin must whitelist your IP. {page}\n"),
}


@frozen
class Asked:
    """One request: the kind's folder, the service's part of the target, and the login."""

    kind: str
    path: str
    tail: str
    login: str


def packet(text: str) -> bytes:
    """Write one pkt-line."""
    return f"{len(text) + 4:04x}{text}".encode()


def offer(service: str, *, empty: bool) -> bytes:
    """Write what a repository without a branch, or with one, offers (gitprotocol-http, version 0)."""
    able = "report-status side-band-64k agent=fake" if service == "git-receive-pack" else "side-band-64k agent=fake"
    ref = f"{'0' * 40} capabilities^{{}}" if empty else f"{OID} refs/heads/main"
    return packet(f"# service={service}\n") + b"0000" + packet(f"{ref}\0{able}\n") + b"0000"


class RefusingForge:
    """The server, until ``close``."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Exchange)
        self._server.daemon_threads = True
        self._server.forge = self  # type: ignore[attr-defined]  # the handler finds it there
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the kinds' folders are."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's own name
        """Say nothing: what was asked is remembered."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer()

    def _answer(self) -> None:
        found = _TARGET.fullmatch(self.path)
        if found is None:
            return self._send(599, {}, "text/plain", b"not asked for by any test")
        kind, status = found["kind"], int(found["status"])
        asked = Asked(kind, found["path"], found["tail"], self.headers.get("Authorization", ""))
        self.server.forge.asked.append(asked)  # type: ignore[attr-defined]  # see RefusingForge
        if found["service"] and (found["when"] == "p" or status == 200):
            body = offer(found["service"], empty=found["when"] == "p")
            return self._send(200, {}, f"application/x-{found['service']}-advertisement", body)
        form, page = _PAGES.get(kind, ("text/html", "<html><title>{page}</title></html>"))
        headers = _HEADERS.get((kind, status)) or _HEADERS.get(status) or {}
        return self._send(status, headers, form, page.format(page=PAGE).encode())

    def _send(self, status: int, headers: Mapping[str, str], form: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": form, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
