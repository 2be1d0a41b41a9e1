"""LFS requests of a sandbox and answers of a forge, for the gateway without sockets (``tests.fakes.relay``)."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from tests.fakes.relay import House, ask, chunks, only

if TYPE_CHECKING:
    from tests.fakes.relay import Message
    from tests.fakes.wire import Wire

LFS_TYPE = b"Content-Type: application/vnd.git-lfs+json"
CONTENT = b"content of an object" * 100
OID = hashlib.sha256(CONTENT).hexdigest()
STORED = "https://github-cloud.s3.amazonaws.com/oid?X-Amz-Signature=signature-of-the-storage"
OWN = "https://github.com/octo/hello.git/info/lfs/objects/oid"


def call(tail: str, members: object = None, *, method: str = "POST", repo: str = "octo/hello") -> bytes:
    """Make a request with a body of JSON."""
    body = b"" if members is None else json.dumps(members).encode()
    line = f"{method} /git/{repo}.git/info/lfs{tail}".encode()
    framing = [b"Content-Length: %d" % len(body), LFS_TYPE] if method == "POST" else []
    return ask(line, *framing, body=body)


def batch(operation: str = "download", **more: object) -> bytes:
    """Ask for the one object."""
    objects = [{"oid": OID, "size": len(CONTENT)}]
    return call("/objects/batch", {"operation": operation, "transfers": ["basic"], "objects": objects} | more)


def answered(members: object, status: str = "200 OK", *fields: bytes) -> bytes:
    """Answer JSON as a forge does."""
    body = json.dumps(members).encode()
    lines = [f"HTTP/1.1 {status}".encode(), LFS_TYPE, b"Content-Length: %d" % len(body), *fields, b"", body]
    return b"\r\n".join(lines)


def offered(*names: str, href: str = STORED, header: object = None, **more: object) -> bytes:
    """Offer actions for the one object."""
    action = {"href": href, "header": header or {}}
    whole = {"oid": OID, "size": len(CONTENT), "actions": dict.fromkeys(names, action)} | more
    return answered({"objects": [whole]})


def sent(body: bytes = CONTENT, status: str = "200 OK", *fields: bytes, length: int | None = None) -> bytes:
    """Answer bytes as a storage does; ``length`` -1 is chunked."""
    size = len(body) if length is None else length
    framing = b"Transfer-Encoding: chunked" if size < 0 else b"Content-Length: %d" % size
    head = b"\r\n".join([f"HTTP/1.1 {status}".encode(), b"Content-Type: a/b", framing, *fields, b"", b""])
    return head + (chunks(body) if size < 0 else body)


def say(house: House, request: bytes, *answers: bytes) -> Wire:
    """Ask, and let whoever is asked answer."""
    client = house.say(request)
    for one in answers:
        asked = next(wire for wire in house.forge.wires if wire.protocol.asker is not None)
        asked.deliver(one)
        house.settle()
    return client


def target(house: House, name: str, **offer: Any) -> str:
    """Ask for a batch with one action; the target of its handle."""
    operation = "download" if name == "download" else "upload"
    heard = said(say(house, batch(operation), offered(name, **offer)), b"POST")
    href: str = heard["objects"][0]["actions"][name]["href"]
    assert href.startswith("http://gate/git/octo/hello.git/info/lfs/_x/")
    return href.removeprefix("http://gate")


def said(client: Wire, method: bytes = b"GET") -> Any:
    """Read the JSON that a sandbox received."""
    return json.loads(only(client, method).body)


def get(house: House, place: str, *fields: bytes) -> Wire:
    """Ask for an object."""
    return house.say(ask(b"GET " + place.encode(), *fields))


def put(place: str, body: bytes = CONTENT, *, chunked: bool = False) -> bytes:
    """Make an upload."""
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    return ask(b"PUT " + place.encode(), framing, body=chunks(body) if chunked else body)


def refused(client: Wire, method: bytes = b"GET") -> tuple[int, str]:
    """Read a refusal: its status and message."""
    one: Message = only(client, method)
    assert one.field(b"content-type") == b"application/vnd.git-lfs+json"
    return one.status, json.loads(one.body)["message"]
