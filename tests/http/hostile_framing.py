"""Hostile framing: lengths, codings, chunks, trailers, connection options, expectations and sizes."""

from __future__ import annotations

from credgate.values import Reason
from tests.http.attack import AUTHORIZATION, CHUNKED, GET, POST, SMUGGLED, chunked, head, table

LENGTHS = (
    *table(
        "Content-Length is malformed",
        400,
        {
            f"Content-Length {value.decode()[:30]!r}": head(POST, b"Content-Length: " + value) + b"0000"
            for value in (
                b"", b"+4", b"-4", b"04", b"00", b"0x4", b"4,4", b"4, 4", b"4 4", b"4;x", b"4.0", b"1e1", b"four",
                b'"4"', b"4_0", b"0b1", b"4\t4", b"99999999999999999", b"18446744073709551620", b"9" * 5000, b"chunked",
            )
        },
    ),
    *table(
        "sent twice",
        400,
        {
            "two lengths": head(POST, b"Content-Length: 4", b"Content-Length: 5") + b"0000",
            "the same length twice": head(POST, b"Content-Length: 4", b"Content-Length: 4") + b"0000",
            "two lengths of two cases": head(POST, b"Content-Length: 4", b"content-length: 0") + b"0000",
            "two codings": head(POST, CHUNKED, CHUNKED) + b"0\r\n\r\n",
            "identity and chunked": head(POST, b"Transfer-Encoding: identity", CHUNKED) + b"0\r\n\r\n",
            "two Authorizations": head(GET, AUTHORIZATION),
            "two content types": head(POST, b"Content-Type: a/b", b"Content-Type: c/d"),
            "two content codings": head(POST, b"Content-Encoding: gzip", b"Content-Encoding: gzip"),
            "two Git-Protocols": head(GET, b"Git-Protocol: version=2", b"Git-Protocol: version=1"),
            "two Connections": head(GET, b"Connection: keep-alive", b"Connection: close"),
            "two Expects": head(POST, b"Expect: 100-continue", b"Expect: 100-continue"),
            "two user agents": head(GET, b"User-Agent: a", b"User-Agent: b"),
        },
    ),
    *table(
        "both sent",
        400,
        {
            "length, then coding": head(POST, b"Content-Length: 4", CHUNKED) + b"0\r\n\r\n" + SMUGGLED,
            "coding, then length": head(POST, CHUNKED, b"Content-Length: 5") + b"0\r\n\r\n" + SMUGGLED,
            "length 0 and coding": head(POST, b"Content-Length: 0", CHUNKED) + b"0\r\n\r\n",
            "length and an odd coding": head(POST, b"Content-Length: 4", b"Transfer-Encoding: xchunked") + b"0000",
            "length and identity": head(POST, b"Content-Length: 4", b"Transfer-Encoding: identity") + b"0000",
        },
    ),
    *table(
        "is not chunked",
        400,
        {
            f"Transfer-Encoding {value.decode()!r}": head(POST, b"Transfer-Encoding: " + value) + b"0\r\n\r\n"
            for value in (
                b"", b"Chunked", b"CHUNKED", b"chunked, chunked", b"gzip, chunked", b"chunked, gzip", b"chunked,",
                b",chunked", b"identity", b"xchunked", b"chunkedx", b"chunked;q=1", b'"chunked"', b"'chunked'",
                b"chunk", b"chunked chunked", b"x", b"gzip", b"deflate", b"chunked\t,",
            )
        },
    ),
    *table(
        "on HTTP/1.0",
        400,
        {"chunked on 1.0": head(POST.replace(b"1.1", b"1.0"), CHUNKED) + b"0\r\n\r\n"},
    ),
    *table(
        "takes no body",
        400,
        {
            "GET with a length": head(GET, b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED,
            "GET with a coding": head(GET, CHUNKED) + b"0\r\n\r\n",
            "HEAD with a length": head(b"HEAD /health HTTP/1.1", b"Content-Length: 1") + b"x",
            "DELETE with a length": head(b"DELETE /x HTTP/1.1", b"Content-Length: 1") + b"x",
            "OPTIONS with a coding": head(b"OPTIONS / HTTP/1.1", CHUNKED) + b"0\r\n\r\n",
        },
    ),
)  # fmt: skip

OPTIONS = (
    *table(
        "Connection names an end-to-end field",
        400,
        {
            f"Connection: {name.decode()}": head(POST, b"Connection: keep-alive, " + name)
            for name in (
                b"Authorization", b"host", b"content-length", b"Transfer-Encoding", b"content-type",
                b"content-encoding", b"git-protocol", b"user-agent", b"accept", b"cookie", b"upgrade", b"Expect",
            )
        },
    ),
    *table(
        "Connection is malformed",
        400,
        {
            f"Connection {value.decode()!r}": head(GET, b"Connection: " + value)
            for value in (
                b"", b",", b"close,", b",close", b"close;x", b"close keep-alive", b'"close"', b"a=b", b"close, ,x",
            )
        },
    ),
    *table(
        "Upgrade is not supported",
        400,
        {
            "h2c": head(GET, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"),
            "websocket": head(GET, b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x"),
            "Upgrade alone": head(GET, b"Upgrade: h2c"),
            "an empty Upgrade": head(GET, b"Upgrade:"),
            "TLS upgrade": head(b"OPTIONS / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: TLS/1.0"),
            "h2c on a POST": head(POST, b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 4") + b"0000",
        },
    ),
    *table(
        "Expect is not 100-continue",
        417,
        {
            f"Expect {value.decode()!r}": head(POST, b"Content-Length: 4", b"Expect: " + value)
            for value in (b"", b"200-ok", b"100-continue, x", b"100-continue;x", b"100", b"y 100-continue")
        },
    ),
)  # fmt: skip

SIZES = table(
    "the request's head is too large",
    431,
    {
        "a head of 16 KiB and one byte": head(GET, b"X: " + b"a" * (16385 - len(head(GET)) - 5)),
        "a head of 64 KiB": head(GET, b"X: " + b"a" * 65536),
        "an endless request line": b"GET /" + b"a" * 16384,
        "an endless value": head(GET)[:-2] + b"X: " + b"a" * 16384,
        "an endless name": head(GET)[:-2] + b"a" * 16384,
        "an endless head": head(GET)[:-2] + b"X: a\r\n" * 4096,
        "endless empty lines, nearly": b"\r\n" + b"a\r\n" * 8192,
    },
    Reason.HEAD_TOO_LARGE,
) + table(
    "too many fields",
    431,
    {
        "101 fields": head(GET, *[b"X-%d: a" % n for n in range(99)]),
        "2,000 fields": head(GET, *[b"X: a"] * 2000),
    },
    Reason.HEAD_TOO_LARGE,
)

CHUNKS = (
    *table(
        "malformed chunk size or chunk end",
        400,
        {
            f"chunk {name}": chunked(body)
            for name, body in {
                "without size": b"\r\nx",
                "of 0x": b"0x4\r\n0000\r\n0\r\n\r\n",
                "of +4": b"+4\r\n0000\r\n0\r\n\r\n",
                "of -4": b"-4\r\n0000\r\n0\r\n\r\n",
                "of -0": b"-0\r\n\r\n",
                "of 4_0": b"4_0\r\n0000",
                "of a blank and 4": b" 4\r\n0000\r\n0\r\n\r\n",
                "of 4 and a blank": b"4 \r\n0000\r\n0\r\n\r\n",
                "of 4 and a tab": b"4\t\r\n0000\r\n0\r\n\r\n",
                "of g": b"g\r\n0000",
                "of 4g": b"4g\r\n0000",
                "of 4h": b"4h\r\n0000",
                "of 4.0": b"4.0\r\n0000",
                "of nine digits": b"000000004\r\n0000\r\n0\r\n\r\n",
                "of 2^64 and 4": b"10000000000000004\r\n0000\r\n0\r\n\r\n",
                "of many zeros": b"0" * 4096 + b"\r\n\r\n",
                "of a full-width digit": "\uff14\r\n0000".encode(),
                "of NUL": b"4\0\r\n0000",
                "with an extension": b"4;a=b\r\n0000\r\n0\r\n\r\n",
                "with a bare semicolon": b"4;\r\n0000\r\n0\r\n\r\n",
                "with a quoted extension": b'4;a="b"\r\n0000\r\n0\r\n\r\n',
                "with an extension that hides LF": b"4;a\nx\r\n0000\r\n0\r\n\r\n",
                "with an extension on the last": b"4\r\n0000\r\n0;x\r\n\r\n",
                "whose size ends in LF": b"4\n0000\r\n0\r\n\r\n",
                "whose size ends in CR": b"4\r0000\r\n0\r\n\r\n",
                "whose size ends in CR CR LF": b"4\r\r\n0000\r\n0\r\n\r\n",
                "whose size ends in LF CR": b"4\n\r0000\r\n0\r\n\r\n",
                "whose data ends in LF": b"4\r\n0000\n0\r\n\r\n",
                "whose data ends in nothing": b"4\r\n00000\r\n\r\n",
                "whose data ends in blanks": b"4\r\n0000  \r\n0\r\n\r\n",
                "whose data ends in CR": b"4\r\n0000\r0\r\n\r\n",
                "longer than it says": b"3\r\n0000\r\n0\r\n\r\n",
                "shorter than it says": b"5\r\n0000\r\n0\r\n\r\n",
                "whose last ends in LF": b"4\r\n0000\r\n0\n\n",
                "whose last has a blank": b"4\r\n0000\r\n0 \r\n\r\n",
                "that is a request": SMUGGLED,
                "with two CR LF behind the data": b"4\r\n0000\r\n\r\n0\r\n\r\n",
                "with leading CR LF": b"\r\n4\r\n0000\r\n0\r\n\r\n",
                "of a quoted size": b'"4"\r\n0000\r\n0\r\n\r\n',
            }.items()
        },
    ),
    *table(
        "forbidden field in a trailer",
        400,
        {
            f"trailer {name.decode()}": chunked(b"0\r\n" + name + b": x\r\n\r\n")
            for name in (
                b"Authorization", b"Host", b"Content-Length", b"Transfer-Encoding", b"connection", b"Expect", b"TE",
            )
        },
    ),
    *table(
        "malformed trailer",
        400,
        {
            "trailer without colon": chunked(b"0\r\nX\r\n\r\n"),
            "trailer with a blank before the colon": chunked(b"0\r\nX : a\r\n\r\n"),
            "trailer with an underscore": chunked(b"0\r\nContent_Length: 4\r\n\r\n"),
            "folded trailer": chunked(b"0\r\nX: a\r\n b\r\n\r\n"),
            "trailer that is a request": chunked(b"0\r\n" + SMUGGLED),
            "trailer without name": chunked(b"0\r\n: a\r\n\r\n"),
        },
    ),
    *table(
        "invalid byte in a trailer",
        400,
        {
            "trailer with NUL": chunked(b"0\r\nX: \0\r\n\r\n"),
            "trailer that ends in LF": chunked(b"0\r\nX: a\n\r\n"),
            "last chunk, then LF": chunked(b"0\r\n\n"),
            "last chunk, then CR": chunked(b"0\r\n\rX"),
            "trailer with CR": chunked(b"0\r\nX: a\rb\r\n\r\n"),
            "trailer with Latin-1": chunked(b"0\r\nX: \xe9\r\n\r\n"),
        },
    ),
    *table(
        "trailers are too long",
        400,
        {
            "an endless trailer": chunked(b"0\r\nX: " + b"a" * 5000),
            "trailers of 5 KiB": chunked(b"0\r\n" + b"X: a\r\n" * 900 + b"\r\n"),
        },
    ),
    *table("too many trailers", 400, {"101 trailers": chunked(b"0\r\n" + b"X: a\r\n" * 101 + b"\r\n")}),
)  # fmt: skip
