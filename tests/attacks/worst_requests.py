"""The worst inputs of what is not git's own: HTTP, Git LFS, the control API, and answers of a forge's API."""

from __future__ import annotations

import itertools
import json
import socket
from typing import TYPE_CHECKING

from credgate.git.pktline import FLUSH, encode
from credgate.strict_json import MAX_VALUES
from tests.attacks.conftest import good
from tests.attacks.rawclient import login
from tests.attacks.scripted import Asked, Said
from tests.attacks.siege import MIB
from tests.attacks.worst_inputs import MINTED, OTHER, Case
from tests.fakes import packs
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.attacks.worst_inputs import Stage

JSON_TYPE = b"application/vnd.git-lfs+json"
numbers = itertools.count()
"""Makes names that were not used before."""
DEEP = b"[" * MIB
HEAD_LIMIT = 16 * 1024
"""``limits.max_head`` by default."""


def sent(data: bytes) -> Callable[[Stage], str]:
    """Send bytes as they are."""
    return lambda stage: stage.ask(data)


def chunked(body: bytes) -> Callable[[Stage], str]:
    """Post a fetch whose body comes in these chunks."""

    def run(stage: Stage) -> str:
        request = stage.field.post("git-upload-pack", body, b"Transfer-Encoding: chunked", framed=False)
        return stage.ask(request)

    return run


def fields(stage: Stage) -> str:
    """Send as many fields as a head may have, up to its largest size."""
    request = stage.field.discovery()[:-2]
    each = (HEAD_LIMIT - len(request) - 512) // 94
    line = b"X-%02d: %b\r\n"
    head = request + b"".join(line % (at, b"a" * (each - 9)) for at in range(94))
    return stage.ask(head + b"\r\n")


def dribbled_head(stage: Stage) -> str:
    """Send the largest head byte by byte: what is searched again from the start costs the square."""
    request = stage.field.discovery()[:-2]
    head = request + b"X: " + b"a" * (HEAD_LIMIT + 1 - len(request))
    stage.gateway.forget_audit()
    with socket.create_connection(("127.0.0.1", stage.gateway.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(head)):
            client.sendall(head[at : at + 1])
        status = client.recv(12)[9:12].decode()
    wait_until(stage.reasons, "the audit line")
    return status


def answered_chunks(stage: Stage) -> str:
    """Have the forge answer a megabyte in chunks of one byte."""
    kind, body = b"application/x-git-upload-pack-result", b"1\r\nx\r\n" * (MIB // 6) + b"0\r\n\r\n"

    def script(asked: Asked) -> Said:
        if b"other" not in asked.target:
            return good(asked)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % kind
        return Said([head + body])

    stage.field.forge.script = script
    return stage.ask(stage.post("git-upload-pack", b"0000"))


def answered_head(line: bytes) -> Callable[[Stage], str]:
    """Have the forge answer with a megabyte of head."""

    def run(stage: Stage) -> str:
        data = b"HTTP/1.1 200 OK\r\n" + line * (MIB // len(line))
        stage.field.forge.script = lambda asked: good(asked) if b"other" not in asked.target else Said([data])
        return stage.ask(stage.post("git-upload-pack", b"0000"))

    return run


def whoami(repos: list[object]) -> Callable[[Stage], str]:
    """Ask for the page of a session with these grants; making it is a case of its own."""

    def run(stage: Stage) -> str:
        lease = stage.gateway.grant(repos)
        stage.field.control()
        stage.gateway.lag.reset()
        return stage.ask(b"GET /whoami HTTP/1.1\r\nHost: x\r\n" + login(lease.line) + b"\r\n\r\n")

    return run


def ruled(at: int) -> list[dict[str, object]]:
    """Write two rules that no other grant has."""
    return [{"refs": f"refs/heads/{at:02x}{way}/*", "allow": []} for way in "ab"]


RULED_REPOS: list[object] = [{"repo": f"a/{at:x}", "push": ruled(at)} for at in range(500)]
NAMED_REPOS: list[object] = [f"owner-{at:04x}/a-name-of-some-length-{at:04x}" for at in range(1000)]


# Git LFS.


def lfs(tail: bytes, body: bytes) -> Callable[[Stage], str]:
    """Post to the LFS API."""
    return lambda stage: stage.ask(lfs_request(stage, tail, body))


def lfs_request(stage: Stage, tail: bytes, body: bytes) -> bytes:
    """Write such a request."""
    head = [
        b"POST /git/%b.git/info/lfs/%b HTTP/1.1" % (OTHER.encode(), tail),
        b"Host: gateway",
        login(stage.ruled.line),
        b"Accept: " + JSON_TYPE,
        b"Content-Type: " + JSON_TYPE,
        b"Content-Length: %d" % len(body),
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def lfs_answer(tail: bytes, asked: bytes, answer: bytes) -> Callable[[Stage], str]:
    """Have the forge's LFS server answer these bytes."""

    def run(stage: Stage) -> str:
        stage.answers(answer, JSON_TYPE, b"/info/lfs/")
        return stage.ask(lfs_request(stage, tail, asked))

    return run


def oids(count: int) -> list[dict[str, object]]:
    """Name objects."""
    return [{"oid": f"{at:064x}", "size": at + 1} for at in range(count)]


def batch(count: int) -> bytes:
    """Write a batch of so many objects."""
    return json.dumps({"operation": "download", "transfers": ["basic"], "objects": oids(count)}).encode()


def batch_answer(count: int, fields: int) -> bytes:
    """Write an answer with an action for each, each with so many header fields."""
    head = {f"X-Amz-{at:02d}": "v" * 40 for at in range(fields)}
    url = "http://127.0.0.1:1/storage/"
    objects = [
        one | {"actions": {"download": {"href": url + str(one["oid"]), "header": head, "expires_in": 900}}}
        for one in oids(count)
    ]
    return json.dumps({"transfer": "basic", "objects": objects}).encode()


def filled(start: bytes, piece: bytes, end: bytes, size: int = MIB) -> bytes:
    """Fill up to ``size`` bytes with ``piece``."""
    return start + piece * ((size - len(start) - len(end)) // len(piece)) + end


EMPTY_OBJECTS = filled(b'{"objects":[', b"{},", b"{}]}")
MANY_KEYS = b'{"a":{' + b",".join(b'"%x":0' % at for at in range(MIB // 10)) + b"}}"
NESTED = b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}"
NUMBERS = filled(b'{"a":[', b"0,", b"0]}")
LOCKS = json.dumps(
    {
        "ours": [
            {"id": f"{at:x}", "path": f"p/{at:x}", "locked_at": "2026-01-01T00:00:00Z", "owner": {"name": "o"}}
            for at in range(4900)
        ]
    }
).encode()
SMALL_BATCH = batch(1)
JSONS = {
    "as many objects as may be": filled(b'{"a":[', b"{},", b"{}]}", 3 * (MAX_VALUES // 2 - 9)),
    "as many keys as may be": b'{"a":{' + b",".join(b'"%x":0' % at for at in range(MAX_VALUES // 2 - 9)) + b"}}",
    "as many numbers as may be": filled(b'{"objects":[', b"0,", b"0]}", 2 * (MAX_VALUES - 9)),
    "350,000 empty objects": EMPTY_OBJECTS,
    "100,000 keys": MANY_KEYS,
    "500,000 levels": NESTED,
    "500,000 numbers": NUMBERS,
}
LFS = (
    *(Case("LFS request", text, lfs(b"objects/batch", body), r"4\d\d lfs") for text, body in JSONS.items()),
    Case("LFS request", "a batch of 1,000 objects", lfs(b"objects/batch", batch(1000)), r"\d+"),
    Case("LFS request", "a batch of 9,000 objects", lfs(b"objects/batch", batch(9000)), r"4\d\d lfs"),
    *(
        Case("LFS answer", text, lfs_answer(b"objects/batch", SMALL_BATCH, body), r"502 forge-malformed|200 allowed")
        for text, body in JSONS.items()
    ),
    Case("LFS answer", "8 MiB of empty objects", lfs_answer(b"objects/batch", SMALL_BATCH, EMPTY_OBJECTS * 8), r"502"),
    Case(
        "LFS answer",
        "1,000 objects with 16 fields each",
        lfs_answer(b"objects/batch", batch(1000), batch_answer(1000, 16)),
        r"\d+",
    ),
    Case("LFS answer", "4,900 locks", lfs_answer(b"locks/verify", b"{}", LOCKS), r"\d+"),
)


# The control API.


def controlled(path: str, body: bytes) -> Callable[[Stage], str]:
    """Post to the control API."""
    return lambda stage: stage.control("POST", path, body)


SIZE = 64 * 1024
"""What a control body may hold."""


def sessions_listed(stage: Stage) -> str:
    """Ask for the list of a thousand sessions; making them is not measured."""
    have = len(stage.gateway.control("GET", "/v1/sessions").json["sessions"])
    for _ in range(max(0, 1000 - have)):
        stage.gateway.grant(["octo/hello"], label="x" * 60)
    stage.field.control()
    stage.gateway.lag.reset()
    return stage.control("GET", "/v1/sessions")


MARKS = "\u0315\u0300" * 3000
NAMES = json.dumps({"repos": [f"a/{at:04x}" for at in range(5000)]}).encode()
MOST_NAMES = json.dumps({"repos": NAMED_REPOS}).encode()
MOST_RULES = json.dumps({"repos": RULED_REPOS}, separators=(",", ":")).encode()
WIDE = {
    "repo": OTHER,
    "push": [{"refs": "refs/heads/" + "*a" * 10 + f"/{at:02x}", "allow": ["create", "update"]} for at in range(60)],
    "protected_paths": ["a/*b*c*d/" * 3 + f"{at:02x}" for at in range(64)],
}
"""As many patterns as a grant may have, as long as they may be in all: 4,028 characters."""


def widely_ruled(stage: Stage) -> str:
    """Push under as many and as long patterns as a grant may have: they are compiled for the first push."""
    lease = stage.gateway.grant([WIDE])
    stage.field.control()
    stage.gateway.lag.reset()
    line = b"%b %b %b\0report-status" % (b"0" * 40, b"1" * 40, b"refs/heads/" + b"a" * 20 + b"/3a")
    push = encode(line) + FLUSH + packs.pack([])
    return stage.ask(stage.post("git-receive-pack", push).replace(login(stage.ruled.line), login(lease.line)))


CONTROL_CASES = (
    Case("control JSON", "1 MiB", controlled("/v1/sessions", EMPTY_OBJECTS), "413"),
    Case("control JSON", "64,000 levels", controlled("/v1/sessions", DEEP[: SIZE - 1]), "400"),
    Case("control JSON", "21,000 empty objects", controlled("/v1/sessions", filled(b"[", b"{},", b"{}]", SIZE)), "400"),
    Case("control JSON", "32,000 numbers", controlled("/v1/sessions", filled(b"[", b"0,", b"0]", SIZE)), "400"),
    Case("control JSON", "64,000 digits", controlled("/v1/sessions", b'{"ttl":' + b"9" * 65000 + b"}"), "400"),
    Case("control JSON", "a string without an end", controlled("/v1/sessions", b'"' + b"\\a" * 32000), "400"),
    Case("control JSON", "5,000 repositories", controlled("/v1/sessions", NAMES), r"400"),
    Case("control JSON", "1,000 repositories", controlled("/v1/sessions", MOST_NAMES), r"201"),
    Case("control JSON", "500 repositories with 2 rules each", controlled("/v1/sessions", MOST_RULES), r"201"),
    Case(
        "control JSON",
        "a label of combining marks",
        controlled("/v1/sessions", json.dumps({"repos": ["a/b"], "label": MARKS}).encode()),
        "400",
    ),
    Case("rules", "the first push under 60 patterns and 64 globs", widely_ruled, r"\d+ "),
    Case("control JSON", "a list of 1,000 sessions", sessions_listed, "200"),
)


HTTP = (
    Case("HTTP head", "one field of 1 MiB", sent(b"GET / HTTP/1.1\r\nX: " + b"a" * MIB), "(431|reset)"),
    Case("HTTP head", "200,000 fields", sent(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MIB // 6)), "(431|reset)"),
    Case("HTTP head", "500,000 empty lines", sent(b"\r\n" * (MIB // 2)), "(400|431|reset)"),
    Case("HTTP head", "a target of 1 MiB", sent(b"GET /" + b"a" * MIB + b" HTTP/1.1\r\n\r\n"), "(414|431|reset)"),
    Case("HTTP head", "100 fields up to the largest size", fields, "200"),
    Case("HTTP head", "the largest, byte by byte", dribbled_head, r"\d+"),
    Case("HTTP body", "one-byte chunks", chunked(b"1\r\nx\r\n" * (MIB // 6) + b"0\r\n\r\n"), "200"),
    Case("HTTP body", "chunk extensions", chunked(b"1;a=b\r\nx\r\n" * (MIB // 10) + b"0\r\n\r\n"), "(400|reset)"),
    Case("HTTP body", "a trailer of 1 MiB", chunked(b"0\r\n" + b"a: b\r\n" * (MIB // 6) + b"\r\n"), r"(\d+|reset)"),
    Case("HTTP answer", "one-byte chunks", answered_chunks, "200"),
    Case("HTTP answer", "one field of 1 MiB", answered_head(b"X" * 1024), "200 forge-malformed"),
    Case("HTTP answer", "200,000 fields", answered_head(b"a: b\r\n"), "200 forge-malformed"),
    Case("HTTP answer", "interim answers", answered_head(b"\r\nHTTP/1.1 100 C\r\n"), "200 forge-malformed"),
    Case("whoami", "1,000 repositories", whoami(NAMED_REPOS), "200"),
    Case("whoami", "500 repositories with 2 rules each", whoami(RULED_REPOS), "200"),
)


# The forge's API: comparing commits, minting.


def compared(body: bytes) -> Callable[[Stage], str]:
    """Push what only the forge's API can tell to be a fast-forward, and have that answer these bytes."""
    top = packs.commit(b"\x11" * 20, [b"\x22" * 20])
    line = b"%b %b refs/heads/main\0report-status" % (b"3" * 40, packs.oid(packs.COMMIT, top).hex().encode())
    push = encode(line) + FLUSH + packs.pack([packs.entry(packs.COMMIT, top)])

    def run(stage: Stage) -> str:
        stage.answers(body, b"application/json", b"/api/")
        return stage.ask(stage.post("git-receive-pack", push))

    return run


def minted(body: bytes) -> Callable[[Stage], str]:
    """Fetch from a repository whose credential has to be minted, and have the API answer these bytes."""

    def run(stage: Stage) -> str:
        stage.answers(body, b"application/json", b"/minting/")
        path = f"o{next(numbers)}/minted"  # of an owner that was not asked about before: failures are remembered
        lease = stage.gateway.grant([{"repo": path, "forge": MINTED}])
        line = f"GET /forge/{MINTED}/{path}.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\n"
        return stage.ask(line.encode() + login(lease.line) + b"\r\n\r\n")

    return run


API = (
    *(Case("compare API", text, compared(body), r"\d+ ") for text, body in JSONS.items()),
    *(Case("minting API", text, minted(body), r"\d+ ") for text, body in JSONS.items()),
)
