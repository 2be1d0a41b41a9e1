"""Hostile responses: bytes that a forge, or an impostor, may send and that must never be relayed.

Plain values, for the reader's own tests and for a hostile forge of a running gateway. Each entry is everything that the
forge sends before it closes; with ``cut`` only the close makes it wrong. ``SECRET`` is what a forge echoes: a test
replaces it by the credential that the gateway sent. ``CONTROLS`` are responses that must be relayed, with their bodies.
``EXCESS`` are complete responses with data after them: relayed, but their connection is never used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = b"FORGE-CREDENTIAL"
KIND = b"Content-Type: application/x-git-upload-pack-result"
CHUNKED = b"Transfer-Encoding: chunked"
OK = b"HTTP/1.1 200 OK"
SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
"""An answer of its own, that must never be taken for the answer to anything."""


@frozen
class HostileAnswer:
    """One hostile response and a part of the text of its error."""

    name: str
    data: bytes
    text: str
    cut: bool = False


def answer(*fields: bytes, line: bytes = OK) -> bytes:
    """Return a head of ``line`` and ``fields``."""
    return b"\r\n".join((line, *fields)) + b"\r\n\r\n"


def sized(*fields: bytes, body: bytes = b"0000") -> bytes:
    """Return a complete response with ``fields`` and its length."""
    return answer(*fields, b"Content-Length: %d" % len(body)) + body


def chunked(body: bytes) -> bytes:
    """Return a response with the chunked body ``body``, unchanged."""
    return answer(KIND, CHUNKED) + body


def _table(text: str, cases: Mapping[str, bytes], *, cut: bool = False) -> tuple[HostileAnswer, ...]:
    return tuple(HostileAnswer(name, data, text, cut) for name, data in cases.items())


CONTROLS: dict[str, tuple[bytes, bytes]] = {
    "with a length": (sized(KIND), b"0000"),
    "with length 0": (sized(KIND, body=b""), b""),
    "chunked": (chunked(b"4\r\n0000\r\n2\r\nab\r\n0\r\n\r\n"), b"0000ab"),
    "chunked in capitals": (answer(b"TRANSFER-ENCODING: Chunked") + b"1\r\nx\r\n0\r\n\r\n", b"x"),
    "chunk extensions": (chunked(b'4;a;b=c;d="e f"\r\n0000\r\n0;x=%b\r\n\r\n' % SECRET), b"0000"),
    "trailers": (chunked(b"4\r\n0000\r\n0\r\nX-Sum: %b\r\n\r\n" % SECRET), b"0000"),
    "on 1.0 with a length": (answer(b"Content-Length: 2", line=b"HTTP/1.0 200 OK") + b"ab", b"ab"),
    "no reason phrase": (answer(b"Content-Length: 0", line=b"HTTP/1.1 200 "), b""),
    "no blank before no reason phrase": (answer(b"Content-Length: 0", line=b"HTTP/1.1 200"), b""),
    "a reason phrase with the credential": (answer(b"Content-Length: 0", line=b"HTTP/1.1 200 " + SECRET), b""),
    "a reason phrase in Latin-1": (answer(b"Content-Length: 0", line=b"HTTP/1.1 200 \xe9"), b""),
    "the credential in fields": (sized(b"Set-Cookie: a=" + SECRET, b"Location: /" + SECRET), b"0000"),
    "the credential in a name": (sized(SECRET + b": x"), b"0000"),
    "Latin-1 in a value": (sized(b"Server: \xe9"), b"0000"),
    "odd names": (sized(b"X_A!#$%&'*+.^`|~: a"), b"0000"),
    "two cookies": (sized(b"Set-Cookie: a", b"Set-Cookie: b"), b"0000"),
    "an offer to upgrade": (sized(b"Connection: Upgrade", b"Upgrade: h2,h2c"), b"0000"),
    "204": (answer(line=b"HTTP/1.1 204 No Content"), b""),
    "204 with length 0": (answer(b"Content-Length: 0", line=b"HTTP/1.1 204 No Content"), b""),
    "304": (answer(line=b"HTTP/1.1 304 Not Modified"), b""),
    "304 with the length of what it is not": (answer(b"Content-Length: 9", line=b"HTTP/1.1 304 Not Modified"), b""),
    "404": (answer(b"Content-Length: 2", line=b"HTTP/1.1 404 Not Found") + b"no", b"no"),
    "100 first": (answer(line=b"HTTP/1.1 100 Continue") + sized(KIND), b"0000"),
    "five interim answers": (answer(b"Link: </x>", line=b"HTTP/1.1 103 Early Hints") * 5 + sized(KIND), b"0000"),
    "a body that is an answer": (sized(KIND, body=SECOND), SECOND),
    "a hundred fields": (sized(*[b"X-%d: a" % n for n in range(99)]), b"0000"),
}  # fmt: skip

STATUS_LINES = _table(
    "status line is malformed",
    {
        "HTTP/2": answer(b"Content-Length: 0", line=b"HTTP/2 200"),
        "HTTP/2.0": answer(b"Content-Length: 0", line=b"HTTP/2.0 200 OK"),
        "HTTP/1.2": answer(b"Content-Length: 0", line=b"HTTP/1.2 200 OK"),
        "HTTP/0.9 spelled out": answer(b"Content-Length: 0", line=b"HTTP/0.9 200 OK"),
        "HTTP/1.10": answer(b"Content-Length: 0", line=b"HTTP/1.10 200 OK"),
        "lower-case http": answer(b"Content-Length: 0", line=b"http/1.1 200 OK"),
        "ICY": answer(b"Content-Length: 0", line=b"ICY 200 OK"),
        "a blank first": b" " + sized(KIND),
        "an empty line first": b"\r\n" + sized(KIND),
        "no status": answer(b"Content-Length: 0", line=b"HTTP/1.1"),
        "status of two digits": answer(b"Content-Length: 0", line=b"HTTP/1.1 20 OK"),
        "status of four digits": answer(b"Content-Length: 0", line=b"HTTP/1.1 2000 OK"),
        "status 000": answer(b"Content-Length: 0", line=b"HTTP/1.1 000 OK"),
        "status 600": answer(b"Content-Length: 0", line=b"HTTP/1.1 600 OK"),
        "status 099": answer(b"Content-Length: 0", line=b"HTTP/1.1 099 OK"),
        "signed status": answer(b"Content-Length: 0", line=b"HTTP/1.1 +20 OK"),
        "status of letters": answer(b"Content-Length: 0", line=b"HTTP/1.1 abc OK"),
        "status glued to its phrase": answer(b"Content-Length: 0", line=b"HTTP/1.1 200OK"),
        "two blanks before the status": answer(b"Content-Length: 0", line=b"HTTP/1.1  200 OK"),
        "a tab before the status": answer(b"Content-Length: 0", line=b"HTTP/1.1\t200 OK"),
        "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "HTML": b"<html>\r\n\r\n" + SECRET,
        "an SSH banner": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "a second answer for a first interim one": answer(line=b"HTTP/1.1 100 Continue") + b"HTTP/1.1 xx\r\n\r\n",
    },
)

BYTES = _table(
    "a control byte or a line that does not end with CR LF",
    {
        "LF only": sized(KIND).replace(b"\r\n", b"\n"),
        "LF behind the status line": sized(KIND).replace(b"\r\n", b"\n", 1),
        "LF in a value": sized(b"X: a\nContent-Length: 9"),
        "LF for the empty line": answer(KIND, b"Content-Length: 4")[:-2] + b"\n0000",
        "LF first": b"\n" + sized(KIND),
        "CR in a value": sized(b"X: a\rb"),
        "CR CR LF": sized(b"X: a\r"),
        "CR in the phrase": answer(b"Content-Length: 0", line=b"HTTP/1.1 200 O\rK"),
        "NUL in a value": sized(b"X: a\0b"),
        "NUL in a name": sized(b"X\0: a"),
        "NUL in the phrase": answer(b"Content-Length: 0", line=b"HTTP/1.1 200 O\0K"),
        "NUL in a length": answer(b"Content-Length: 4\0") + b"0000",
        "ESC in a value": sized(b"X: \x1b[31m"),
        "DEL in a value": sized(b"X: \x7f"),
        "a vertical tab": sized(b"X: a\x0bb"),
        "a TLS alert": bytes.fromhex("15030300020246"),
        "an HTTP/2 SETTINGS frame": bytes.fromhex("000006040000000000000500004000"),
    },
)

FIELDS = (
    *_table(
        "a field line is folded",
        {
            "a folded value": sized(b"X: a", b" b"),
            "a folded Transfer-Encoding": answer(b"Transfer-Encoding:", b" chunked") + b"0\r\n\r\n",
            "a folded length": answer(b"Content-Length:", b"\t4") + b"0000",
            "a blank before the first field": answer(b" Content-Length: 4") + b"0000",
        },
    ),
    *_table("has no colon", {"a line without colon": sized(b"X"), "an answer in the head": sized(OK)}),
    *_table(
        "followed by whitespace",
        {
            "a blank before the colon": answer(b"Content-Length : 4") + b"0000",
            "a tab before the colon": answer(b"Transfer-Encoding\t: chunked") + b"0\r\n\r\n",
        },
    ),
    *_table(
        "a field name is malformed",
        {
            "an empty name": sized(b": a"),
            "a name with a blank": sized(b"X A: a"),
            "a name in brackets": sized(b"[X]: a"),
            "a name in Latin-1": sized(b"X\xe9: a"),
        },
    ),
    *_table(
        "sent a field twice",
        {
            "two lengths": answer(b"Content-Length: 4", b"Content-Length: 5") + b"0000",
            "the same length twice": answer(b"Content-Length: 4", b"Content-Length: 4") + b"0000",
            "two codings": answer(CHUNKED, CHUNKED) + b"0\r\n\r\n",
            "two content types": sized(KIND, b"Content-Type: text/html"),
            "two content codings": sized(b"Content-Encoding: gzip", b"Content-Encoding: gzip"),
            "two locations": sized(b"Location: /a", b"Location: /b"),
        },
    ),
    *_table("too many fields", {"101 fields": sized(*[b"X: a"] * 100), "3,000 fields": sized(*[b"X: a"] * 3000)}),
    *_table(
        "the forge's head is too large",
        {
            "a head of 33 KiB": sized(b"X: " + b"a" * 33000),
            "an endless head": OK + b"\r\n" + b"X: a\r\n" * 8192,
            "an endless phrase": OK + b"a" * 40000,
        },
    ),
)

FRAMING = (
    *_table(
        "malformed Content-Length",
        {
            f"Content-Length {value.decode()[:18]!r}": answer(b"Content-Length: " + value) + b"0000"
            for value in (
                b"", b"+4", b"-4", b"04", b"0x4", b"4,4", b"4, 4", b"4 4", b"4.0", b"four", b"9" * 17, b"9" * 5000,
            )
        },
    ),
    *_table(
        "both Content-Length and Transfer-Encoding",
        {
            "length, then coding": answer(b"Content-Length: 4", CHUNKED) + b"0\r\n\r\n",
            "coding, then length": answer(CHUNKED, b"Content-Length: 5") + b"0\r\n\r\n" + SECOND,
        },
    ),
    *_table(
        "not chunked",
        {
            f"Transfer-Encoding {value.decode()!r}": answer(b"Transfer-Encoding: " + value) + b"0\r\n\r\n"
            for value in (b"", b"identity", b"gzip", b"gzip, chunked", b"chunked, chunked", b"xchunked", b"chunked;a=b")
        },
    ),
    *_table("on HTTP/1.0", {"chunked on 1.0": answer(CHUNKED, line=b"HTTP/1.0 200 OK") + b"0\r\n\r\n"}),
    *_table(
        "a response without a body",
        {"chunked 204": answer(CHUNKED, line=b"HTTP/1.1 204 No Content") + b"0\r\n\r\n"},
    ),
    *_table(
        "a body without a length",
        {
            "neither length nor coding": answer(KIND) + b"0000",
            "1.0 that ends with the connection": answer(KIND, line=b"HTTP/1.0 200 OK") + b"0000",
            "a close that ends the body": answer(KIND, b"Connection: close") + b"0000",
        },
    ),
    *_table("switches protocols", {"101": answer(b"Upgrade: h2c", b"Connection: Upgrade", line=b"HTTP/1.1 101 OK")}),
    *_table("too many interim", {"six interim answers": answer(line=b"HTTP/1.1 100 Continue") * 6 + sized(KIND)}),
)  # fmt: skip

CHUNKS = (
    *_table(
        "malformed chunk size or chunk end",
        {
            f"chunk {name}": chunked(body)
            for name, body in {
                "of 0x4": b"0x4\r\n0000\r\n0\r\n\r\n",
                "of +4": b"+4\r\n0000\r\n0\r\n\r\n",
                "of -4": b"-4\r\n0000\r\n0\r\n\r\n",
                "of a blank and 4": b" 4\r\n0000\r\n0\r\n\r\n",
                "of 4 and a blank": b"4 \r\n0000\r\n0\r\n\r\n",
                "of nine digits": b"000000004\r\n0000\r\n0\r\n\r\n",
                "without size": b"\r\n0000",
                "longer than it says": b"3\r\n0000\r\n0\r\n\r\n",
                "shorter than it says": b"5\r\n0000\r\n0\r\n\r\n",
                "whose size ends in LF": b"4\n0000\r\n0\r\n\r\n",
                "whose data ends in LF": b"4\r\n0000\n0\r\n\r\n",
                "with an extension that hides LF": b"4;a\n0000\r\n0\r\n\r\n",
                "with an extension that hides CR": b"4;a\rb\r\n0000\r\n0\r\n\r\n",
                "with NUL in an extension": b"4;a=\0\r\n0000\r\n0\r\n\r\n",
                "with a nameless extension": b"4;=b\r\n0000\r\n0\r\n\r\n",
                "with an open quote": b'4;a="b\r\n0000\r\n0\r\n\r\n',
                "with blanks in its extension": b"4 ; a\r\n0000\r\n0\r\n\r\n",
                "that is an answer": SECOND,
            }.items()
        },
    ),
    *_table(
        "chunk extensions are too long",
        {
            "an extension of 300 bytes": chunked(b"1;" + b"a" * 300 + b"\r\nx\r\n0\r\n\r\n"),
            "an endless extension": chunked(b"4;" + b"a" * 5000),
            "a flood of extensions": chunked((b"1;" + b"a" * 200 + b"\r\nx\r\n") * 100 + b"0\r\n\r\n"),
        },
    ),
    *_table(
        "forbidden field in a trailer",
        {"trailer Content-Length": chunked(b"0\r\nContent-Length: 4\r\n\r\n")},
    ),
    *_table("malformed trailer", {"folded trailer": chunked(b"0\r\nX: a\r\n b\r\n\r\n")}),
    *_table("invalid byte in a trailer", {"trailer with NUL": chunked(b"0\r\nX: \0\r\n\r\n")}),
    *_table("trailers are too long", {"endless trailers": chunked(b"0\r\n" + b"X: a\r\n" * 1000)}),
)

CUTS = _table(
    "before its response was complete",
    {
        "nothing at all": b"",
        "half a status line": b"HTTP/1.1 2",
        "half a head": OK + b"\r\nContent-Le",
        "a head without its empty line": OK + b"\r\nContent-Length: 0\r\n",
        "a head without its last LF": answer(b"Content-Length: 0")[:-1],
        "a body one byte short": answer(b"Content-Length: 5") + b"0000",
        "no body": answer(b"Content-Length: 5"),
        "an interim answer only": answer(line=b"HTTP/1.1 100 Continue"),
        "no last chunk": chunked(b"4\r\n0000\r\n"),
        "half a chunk": chunked(b"8\r\n0000"),
        "half a size": chunked(b"4"),
        "a chunk without its CR LF": chunked(b"4\r\n0000"),
        "a last chunk without its CR LF": chunked(b"4\r\n0000\r\n0\r\n"),
        "half a trailer": chunked(b"0\r\nX: a\r\n"),
    },
    cut=True,
)

HOSTILE_RESPONSES: tuple[HostileAnswer, ...] = (*STATUS_LINES, *BYTES, *FIELDS, *FRAMING, *CHUNKS, *CUTS)
"""All of them: none may look whole to a sandbox, and no connection that carried one is used again."""

EXCESS: dict[str, bytes] = {
    "a second answer": sized(KIND) + SECOND,
    "a second answer behind chunks": chunked(b"4\r\n0000\r\n0\r\n\r\n") + SECOND,
    "a byte too many": answer(b"Content-Length: 3") + b"0000",
    "an empty line behind": sized(KIND) + b"\r\n",
    "a body behind 204": answer(line=b"HTTP/1.1 204 No Content") + b"0000",
    "a body behind 304": answer(line=b"HTTP/1.1 304 Not Modified") + SECOND,
    "chunks behind a length of 0": answer(b"Content-Length: 0") + b"0\r\n\r\n",
}
