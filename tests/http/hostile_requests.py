"""Hostile requests: bytes that a sandbox may send and that must never reach a forge.

Plain values, for the reader's own tests and for attacks on a running gateway (which replace ``AUTHORIZATION`` by a live
session's line). ``CONTROLS`` are the same requests without the fault, and must be accepted.
"""

from __future__ import annotations

from tests.http.attack import GET, POST, SMUGGLED, Hostile, chunked, head, target
from tests.http.hostile_fields import BYTES, FIELD_NAMES, HOSTS
from tests.http.hostile_framing import CHUNKS, LENGTHS, OPTIONS, SIZES
from tests.http.hostile_lines import REQUEST_LINE, TARGETS

HOSTILE_REQUESTS: tuple[Hostile, ...] = (
    *REQUEST_LINE,
    *TARGETS,
    *HOSTS,
    *FIELD_NAMES,
    *BYTES,
    *LENGTHS,
    *OPTIONS,
    *SIZES,
    *CHUNKS,
)
"""All of them: none may reach a forge, each is answered by its status and the end of the connection."""

CONTROLS: dict[str, bytes] = {
    "get": head(GET),
    "get on 1.0": head(GET.replace(b"1.1", b"1.0")),
    "head": head(b"HEAD /health HTTP/1.1"),
    "options": head(b"OPTIONS / HTTP/1.1"),
    "delete": head(b"DELETE /x HTTP/1.1"),
    "get with length 0": head(GET, b"Content-Length: 0"),
    "post with length": head(POST, b"Content-Length: 4") + b"0000",
    "post without body": head(POST),
    "put": head(b"PUT /x HTTP/1.1", b"Content-Length: 1") + b"x",
    "patch": head(b"PATCH /x HTTP/1.1", b"Content-Length: 1") + b"x",
    "post on 1.0": head(POST.replace(b"1.1", b"1.0"), b"Content-Length: 4") + b"0000",
    "chunked": chunked(b"4\r\n0000\r\n0\r\n\r\n"),
    "chunked, upper-case and padded sizes": chunked(b"0000000A\r\n0123456789\r\n00\r\n\r\n"),
    "chunked with a trailer": chunked(b"1\r\nx\r\n0\r\nX-Checksum: 1\r\n\r\n"),
    "empty chunked": chunked(b"0\r\n\r\n"),
    "a body that looks like a request": head(POST, b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED,
    "a chunk that looks like a request": chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
    "a body of every byte": head(POST, b"Content-Length: 256") + bytes(range(256)),
    "expect": head(POST, b"Content-Length: 4", b"Expect: 100-Continue") + b"0000",
    "connection close": head(GET, b"Connection: close"),
    "connection keep-alive": head(GET, b"Connection: Keep-Alive"),
    "connection of two": head(GET, b"Connection: TE, close", b"TE: trailers"),
    "no blank before a value": head(GET, b"X-A:b"),
    "blanks around a value": head(GET, b"X-A: \t b \t"),
    "an empty value": head(GET, b"X-A:"),
    "two lines of a list": head(GET, b"Accept: a/b", b"Accept: c/d"),
    "any case of a name": head(GET, b"ACCEPT: */*"),
    "host without port": head(GET, host=b"Host: gateway"),
    "host of a container": head(GET, host=b"Host: cred_gate-1.internal:80"),
    "host of IPv4": head(GET, host=b"Host: 172.17.0.1:8080"),
    "host of IPv6": head(GET, host=b"host:[fd00::1]:8080"),
    "a name with dots": target(b"/git/octo/.github.git/info/refs?service=git-upload-pack"),
    "a name that ends in dots": target(b"/git/octo/a..git/info/refs"),
    "root": target(b"/"),
    "the longest target": target(b"/" + b"a" * 1023),
    "a hundred fields": head(GET, *[b"X-%d: a" % n for n in range(98)]),
}

PIPELINED: dict[str, bytes] = {
    "a second request": head(GET) + SMUGGLED,
    "a second request behind a body": head(POST, b"Content-Length: 4") + b"0000" + SMUGGLED,
    "a second request behind chunks": chunked(b"4\r\n0000\r\n0\r\n\r\n") + SMUGGLED,
    "a second request behind trailers": chunked(b"0\r\nX: y\r\n\r\n") + SMUGGLED,
    "a body without length": head(POST) + b"0000",
    "a byte too many": head(POST, b"Content-Length: 3") + b"0000",
    "an empty line behind": head(POST, b"Content-Length: 4") + b"0000\r\n",
    "a body of a bodiless method": head(b"DELETE /x HTTP/1.1") + b"x",
    "chunks behind a length of 0": head(POST, b"Content-Length: 0") + b"0\r\n\r\n",
    "bytes after the last chunk": chunked(b"0\r\n\r\n") + b"0\r\n\r\n",
}
"""One complete request each, and data after it that must never be read as another: answer the first, then close."""
