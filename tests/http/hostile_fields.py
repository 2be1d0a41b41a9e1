"""Hostile field lines: Host, names, and bytes that end or hide a line for some servers only."""

from __future__ import annotations

from tests.http.attack import AUTHORIZATION, GET, HOST, POST, head, table

HOSTS = (
    *table(
        "Host is missing or malformed",
        400,
        {
            "no field at all": GET + b"\r\n\r\n",
            "no Host": GET + b"\r\nAccept: */*\r\n\r\n",
            "no Host on 1.0": GET.replace(b"1.1", b"1.0") + b"\r\nAccept: */*\r\n\r\n",
            **{
                f"Host {value.decode()!r}": head(GET, host=b"Host: " + value)
                for value in (
                    b"", b"a, b", b"a,b", b"a b", b"user@gateway", b"user:pass@gateway", b"http://gateway", b"gateway/",
                    b"gateway/x", b"gateway?x", b"gateway#x", b"gateway:", b"gateway:x", b"gateway:80:80", b":80",
                    b"gateway:123456", b"gateway:-1", b"gateway:8080 ;x", b"[::1", b"::1", b"[fe80::1%25eth0]", b"[x]",
                    b"*", b"a;b", b"gate%77ay", b"gateway\\x", b"a\tb", b'"gateway"', b"a" * 254,
                )
            },
        },
    ),
    *table(
        "sent twice",
        400,
        {
            "two Hosts": head(GET, b"Host: other"),
            "the same Host twice": head(GET, HOST),
            "two Hosts of two cases": head(GET, b"hOST: other"),
        },
    ),
    *table("followed by whitespace", 400, {"a blank behind Host": head(GET, host=b"Host : gateway")}),
)  # fmt: skip

FIELD_NAMES = (
    *table(
        "followed by whitespace",
        400,
        {
            "blank before the colon": head(POST, b"Content-Length : 4"),
            "tab before the colon": head(POST, b"Transfer-Encoding\t: chunked"),
            "blank-only name": head(GET, b"X-A: b", b"X  : c"),
        },
    ),
    *table(
        "a field line is folded",
        400,
        {
            "a folded value": head(GET, b"X-A: b", b" c"),
            "a value folded by a tab": head(GET, b"X-A: b", b"\tc"),
            "a folded Transfer-Encoding": head(POST, b"Transfer-Encoding:", b" chunked"),
            "a folded Host": head(GET, host=b"Host:\r\n gateway"),
            "a blank before the first field": head(GET, host=b" Host: gateway"),
            "a blank line that is not empty": head(GET, b" "),
            "a folded Authorization": head(GET, b"X: y", b" " + AUTHORIZATION),
        },
    ),
    *table(
        "an underscore",
        400,
        {
            "Content_Length": head(POST, b"Content_Length: 4"),
            "Transfer_Encoding": head(POST, b"Transfer_Encoding: chunked"),
            "underscore only": head(GET, b"_: a"),
            "X_Forwarded_For": head(GET, b"X_Forwarded_For: 10.0.0.1"),
        },
    ),
    *table(
        "has no colon",
        400,
        {
            "a line without colon": head(GET, b"X-A"),
            "a second request line": head(GET, b"GET /x HTTP/1.1"),
            "a semicolon for the colon": head(POST, b"Content-Length; 4"),
        },
    ),
    *table(
        "a field name is malformed",
        400,
        {
            "an empty name": head(GET, b": a"),
            **{
                f"name with {chr(byte)}": head(GET, b"X" + bytes([byte]) + b"A: b")
                for byte in b"\"(),/;<=>?@[\\]{}!#$%&'*+.^`|~"
            },
            "name with a blank": head(GET, b"X A: b"),
            "name that begins with a hyphen": head(GET, b"-A: b"),
            "name that begins with a digit": head(GET, b"1A: b"),
        },
    ),
    *table(
        "not printable ASCII",
        400,
        {
            "name with NUL": head(GET, b"X\0A: b"),
            "name with 0x1f": head(GET, b"X\x1fA: b"),
            "name with Latin-1": head(GET, b"X\xe9A: b"),
            "name with a long s": head(POST, "Tran\u017ffer-Encoding: chunked".encode()),
        },
    ),
)

BYTES = (
    *table(
        "not printable ASCII",
        400,
        {
            f"value with 0x{byte:02x}": head(GET, b"X-A: b" + bytes([byte]) + b"c")
            for byte in (0, 1, 8, 0x0B, 0x0C, 0x0E, 0x1B, 0x1F, 0x7F, 0x80, 0x85, 0xA0, 0xFF)
        },
    ),
    *table(
        "not printable ASCII",
        400,
        {
            "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(40),
            "an SSL 2 hello": bytes.fromhex("802e0100020015000000100100"),
            "a byte order mark": b"\xef\xbb\xbf" + head(GET),
            "a DNS message": bytes.fromhex("001d1234010000010000000000000161"),
        },
    ),
    *table(
        "does not end with CR LF",
        400,
        {
            "LF only": head(GET).replace(b"\r\n", b"\n"),
            "LF behind the request line": head(GET).replace(b"\r\n", b"\n", 1),
            "LF in the middle": head(GET, b"X-A: b\nX-B: c"),
            "LF in a Host": head(GET, host=b"Host: gateway\nX: y"),
            "LF before the empty line": head(GET)[:-4] + b"\n\r\n",
            "LF for the empty line": head(GET)[:-2] + b"\n",
            "LF first": b"\n" + head(GET),
            "CR in a value": head(GET, b"X-A: b\rX-B: c"),
            "CR in a name": head(GET, b"X\r-A: b"),
            "CR CR LF": head(GET, b"X-A: b\r"),
            "CR in the request line": head(GET.replace(b" HTTP", b"\r HTTP")),
            "CR only": head(GET).replace(b"\r\n", b"\r") + b"x",
            "LF CR": head(GET).replace(b"\r\n", b"\n\r"),
            "CR CR": head(GET)[:-2] + b"\r\r\n",
        },
    ),
)
