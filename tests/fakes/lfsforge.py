"""A forge's LFS server and its storage, for cases that giftless does not cover.

These are hrefs on another host with a signature, ``header`` values, locks with paging, uploads in chunks, interrupted
downloads, and objects of a gigabyte that take no space (zeros).

Two servers of Python's own ``http.server``: the API asks for the forge's credential; the storage, which is known by
another name, asks for its signature and its own header, ranges included, and records what it was shown. It does not
prove that any forge signs or pages like this: S3 checks far more, and real locks belong to users.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterator

TYPE = "application/vnd.git-lfs+json"
PIECE = 1024 * 1024
LARGE = 256 * PIECE
"""Uploads of at least so many bytes are hashed and not stored."""


@define(eq=False)
class State:
    """The state of both servers."""

    secret: str
    storage: str = ""
    """The storage's URL in hrefs."""
    signature: str = field(factory=lambda: secrets.token_hex(24))
    header: str = field(factory=lambda: secrets.token_hex(24))
    objects: dict[str, bytes] = field(factory=dict)
    zeros: dict[str, int] = field(factory=dict)
    """Objects of this many zeros."""
    locks: list[dict[str, Any]] = field(factory=list)
    chunked: bool = False
    """Whether uploads are requested in chunks."""
    uploads: list[str] = field(factory=list)
    """The framing of each upload: ``chunked`` or its length."""
    ranges: list[str] = field(factory=list)
    shown: list[str] = field(factory=list)
    """Every Authorization that the storage received."""
    break_after: int = 0
    """Bytes after which the next download is cut, once."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: ClassVar[State]

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def content(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def tell(self, status: int, body: bytes, **fields: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **fields}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, status: int, members: object) -> None:
        self.tell(status, json.dumps(members).encode(), Content_Type=TYPE)


class _Api(_Handler):
    def do_GET(self) -> None:
        if self._known():
            query = parse_qs(urlsplit(self.path).query)
            self._page("locks", query.get("cursor", ["0"])[0], query.get("path", [""])[0])

    def do_POST(self) -> None:
        body = self.content()
        if not self._known():
            return
        asked, tail = json.loads(body or b"{}"), self.path.partition("/info/lfs")[2]
        if tail == "/objects/batch":
            self._batch(asked)
        elif tail == "/locks":
            self._lock(asked["path"])
        elif tail == "/locks/verify":
            self._page("ours", asked.get("cursor", "0"), "")
        elif tail.endswith("/unlock"):
            found = [one for one in self.state.locks if one["id"] == tail.split("/")[2]]
            self.state.locks = [one for one in self.state.locks if one not in found]
            self.json(200, {"lock": found[0]})
        else:
            self.json(404, {"message": "nothing here"})

    def _known(self) -> bool:
        login = base64.b64encode(f"x-access-token:{self.state.secret}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {login}":
            return True
        self.json(401, {"message": "who are you?"})
        return False

    def _batch(self, asked: Any) -> None:
        state, objects = self.state, []
        assert asked["transfers"] == ["basic"]
        for one in asked["objects"]:
            href = f"{state.storage}/bucket/{one['oid']}?X-Amz-Signature={state.signature}&X-Amz-Date=1"
            header = {"X-Amz-Meta-Key": state.header}
            there = one["oid"] in state.objects
            if asked["operation"] == "download":
                objects.append(one | {"actions": {"download": {"href": href, "header": header, "expires_in": 600}}})
            elif there:
                objects.append(one)
            else:
                more = {"Transfer-Encoding": "chunked"} if state.chunked else {}
                actions = {
                    "upload": {"href": href, "header": header | more, "expires_in": 600},
                    "verify": {"href": f"{href}&verify=1", "header": header},
                }
                objects.append(one | {"actions": actions})
        self.json(200, {"transfer": "basic", "objects": objects})

    def _lock(self, path: str) -> None:
        held = [one for one in self.state.locks if one["path"] == path]
        if held:
            self.json(409, {"lock": held[0], "message": "locked"})
            return
        number = str(len(self.state.locks) + 1)
        lock = {"id": number, "path": path, "locked_at": "2026-01-01T00:00:00Z", "owner": {"name": "Robot"}}
        self.state.locks.append(lock)
        self.json(201, {"lock": lock})

    def _page(self, name: str, cursor: str, path: str) -> None:
        """List two locks a page."""
        found = [one for one in self.state.locks if path in ("", one["path"])]
        start = int(cursor)
        more = {"next_cursor": str(start + 2)} if len(found) > start + 2 else {}
        self.json(200, {name: found[start : start + 2], **({"theirs": []} if name == "ours" else {}), **more})


class _Storage(_Handler):
    def do_GET(self) -> None:
        if self._signed() and self._oid() in self.state.zeros:
            self._send_zeros(self.state.zeros[self._oid()])
            return
        content = self.state.objects.get(self._oid()) if self._signed() else None
        if content is None:
            self.tell(403, b"<Error>SignatureDoesNotMatch</Error>")
            return
        asked = self.headers.get("Range", "")
        self.state.ranges.append(asked)
        first = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        fields = {"Content_Range": f"bytes {first}-{len(content) - 1}/{len(content)}"} if first else {}
        whole = content[first:]
        stop, self.state.break_after = self.state.break_after, 0
        self.send_response(206 if first else 200)
        for name, value in {"Content_Length": str(len(whole)), "Server": "AmazonS3", **fields}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(whole[:stop] if stop else whole)
        self.close_connection = bool(stop)

    def _send_zeros(self, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        piece = bytes(PIECE)
        for _ in range(size // PIECE):
            self.wfile.write(piece)

    def _take_zeros(self, size: int) -> None:
        digest = hashlib.sha256()
        for _ in range(size // PIECE):
            digest.update(self.rfile.read(PIECE))
        right = self._signed() and digest.hexdigest() == self._oid()
        if right:
            self.state.zeros[self._oid()] = size
        self.tell(200 if right else 403, b"")

    def do_PUT(self) -> None:
        if int(self.headers.get("Content-Length") or 0) >= LARGE:
            self._take_zeros(int(self.headers["Content-Length"]))
            return
        self.state.uploads.append(self.headers.get("Transfer-Encoding") or self.headers["Content-Length"])
        content = self.content()
        if self._signed() and hashlib.sha256(content).hexdigest() == self._oid():
            self.state.objects[self._oid()] = content
            self.tell(200, b"", ETag='"secret-etag"')
        else:
            self.tell(403, b"")

    def do_POST(self) -> None:
        asked = json.loads(self.content())
        right = self._signed() and len(self.state.objects.get(asked["oid"], b"")) == asked["size"]
        self.json(200 if right else 404, {"message": "x"})

    def _oid(self) -> str:
        return urlsplit(self.path).path.rpartition("/")[2]

    def _signed(self) -> bool:
        if shown := self.headers.get("Authorization"):
            self.state.shown.append(shown)
        query = parse_qs(urlsplit(self.path).query)
        signed = query.get("X-Amz-Signature") == [self.state.signature]
        return signed and self.headers.get("X-Amz-Meta-Key") == self.state.header


class LfsForge:
    """Both servers, each in a thread of its own; hrefs name the storage as ``localhost``."""

    def __init__(self, secret: str) -> None:
        self.state = State(secret)
        self._servers = [self._start(kind) for kind in (_Api, _Storage)]
        self.port, storage = (server.server_address[1] for server in self._servers)
        self.state.storage = f"http://localhost:{storage}"
        self.url = f"http://127.0.0.1:{self.port}"

    def _start(self, kind: type[_Handler]) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type(kind.__name__, (kind,), {"state": self.state}))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name=kind.__name__, daemon=True).start()
        return server

    def close(self) -> None:
        """Stop both servers."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
