"""Bodies of fetches: the three commands pass, what leads elsewhere is refused, in any cut."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import RequestError
from credgate.git import fetch
from credgate.git.fetch import MAX_KEYS, MAX_OPTIONS, FetchReader
from credgate.git.pktline import DELIMITER, FLUSH, encode
from credgate.values import Decision, Reason

if TYPE_CHECKING:
    from pathlib import Path

OID = b"a1" * 20


def body(command: bytes, *arguments: bytes) -> bytes:
    """Write a v2 request as git does."""
    keys = encode(b"command=" + command + b"\n") + encode(b"agent=git/2.39.5") + encode(b"object-format=sha1")
    return keys + DELIMITER + b"".join(map(encode, arguments)) + FLUSH


FETCH = body(b"fetch", b"thin-pack", b"want %s\n" % OID, b"have %s\n" % OID, b"packfile-uri\n", b"done\n")
LS_REFS = body(b"ls-refs", b"peel\n", b"ref-prefix refs/heads/\n")


def read(data: bytes, size: int = 1 << 20, *, v2: bool = True) -> tuple[FetchReader, Decision | None]:
    """Read a whole body in pieces, up to a refusal."""
    reader = FetchReader(v2=v2)
    for at in range(0, len(data), size):
        refused = reader.receive(data[at : at + size])
        if refused is not None:
            return reader, refused
    reader.end()
    return reader, None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    ("wire", "command"),
    [
        (FETCH, "fetch"),
        (LS_REFS, "ls-refs"),
        (body(b"object-info", b"size\n", b"oid " + OID), "object-info"),
        (encode(b"agent=x") + encode(b"command=ls-refs") + FLUSH, "ls-refs"),
    ],
)
def test_served_commands_pass(size: int, wire: bytes, command: str) -> None:
    """With keys before or after, with arguments or without; arguments with similar names pass too."""
    reader, refused = read(wire, size)
    assert (reader.command, refused, reader.decided, reader.probe) == (command, None, True, False)


def test_single_flush_is_a_probe() -> None:
    """Git tests its credential with it before a large negotiation."""
    reader, refused = read(FLUSH)
    assert (refused, reader.probe, reader.decided, reader.command) == (None, True, True, "")


def test_request_is_undecided_until_the_command_is_read() -> None:
    """The forge need not be asked before."""
    reader = FetchReader(v2=True)
    assert (reader.decided, reader.probe) == (False, False)
    assert reader.receive(b"00") is None
    assert (reader.decided, reader.probe) == (False, False)
    assert reader.receive(encode(b"agent=x")[2:] + b"0012command=fet") is None
    assert not reader.decided
    reader.receive(b"ch\n")
    assert reader.decided


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize("name", [b"bundle-uri", b"fetch2", b"", b"Fetch", b"\xff", b"ls-refs "])
def test_other_commands_are_refused(size: int, name: bytes) -> None:
    """The effect of an unknown command is unknown; bundle-uri downloads from elsewhere."""
    reader, refused = read(body(name), size)
    assert refused is not None
    assert (refused.allow, refused.reason, reader.decided) == (False, Reason.FETCH_COMMAND, False)
    assert "ls-refs, fetch and object-info" in refused.text


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("key", [b"promisor-remote=origin\n", b"promisor-remote"])
@pytest.mark.parametrize("command", [b"fetch", b"ls-refs"])
def test_promisor_remotes_are_refused(size: int, key: bytes, command: bytes) -> None:
    """Before the command or after it: the key agrees to downloads from elsewhere."""
    named, rest = encode(b"command=" + command), DELIMITER + encode(b"done") + FLUSH
    for keys in (encode(key) + named, named + encode(key)):
        _, refused = read(keys + rest, size)
        assert refused is not None
        assert (refused.allow, refused.reason) == (False, Reason.FETCH_ARGUMENT)
        assert "promisor.acceptFromServer" in refused.text
    assert read(named + encode(b"agent=" + key) + rest, size)[1] is None


@pytest.mark.parametrize("argument", [b"packfile-uris https\n", b"packfile-uris https,http", b"packfile-uris"])
def test_packfile_uris_are_refused(argument: bytes) -> None:
    """The advertisement does not offer them."""
    for size in (1, 1 << 20):
        _, refused = read(body(b"fetch", b"want " + OID, argument), size)
        assert refused is not None
        assert refused.reason is Reason.FETCH_ARGUMENT
    assert read(body(b"ls-refs", b"ref-prefix x", argument))[1] is None


@pytest.mark.parametrize(
    "wire",
    [
        FETCH + FLUSH,
        FLUSH + FLUSH,
        FETCH[:-1],
        b"",
        b"zzzz",
        encode(b"agent=x") + FLUSH,
        encode(b"agent=x") + DELIMITER + FLUSH,
        DELIMITER + FLUSH,
        b"0002",
        encode(b"command=fetch") + DELIMITER + DELIMITER + FLUSH,
        encode(b"command=fetch") + b"0002",
        encode(b"command=fetch") + b"0002" + FLUSH,
        encode(b"command=fetch") + encode(b"command=ls-refs") + FLUSH,
        encode(b"agent=x") * (MAX_KEYS + 1) + encode(b"command=fetch") + FLUSH,
        encode(b"0032want " + OID + b"\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_malformed_requests_are_refused(wire: bytes, size: int) -> None:
    """Two readers could understand them differently."""
    with pytest.raises(RequestError) as caught:
        read(wire, size)
    assert (caught.value.reason, caught.value.status) == (Reason.MALFORMED_REQUEST, 400)


def test_as_many_keys_as_allowed_pass() -> None:
    """The positive control of the limit."""
    reader, refused = read(encode(b"agent=x") * (MAX_KEYS - 1) + encode(b"command=fetch") + FLUSH)
    assert (refused, reader.command) == (None, "fetch")


def test_older_versions_are_not_read() -> None:
    """They cannot lead elsewhere; any bytes pass."""
    reader, refused = read(b"0032want " + OID + b"\n" + body(b"bundle-uri"), v2=False)
    assert (refused, reader.decided, reader.command) == (None, True, "")


@given(st.binary(max_size=80), st.integers(1, 9))
def test_any_bytes_are_read_refused_or_malformed(data: bytes, size: int) -> None:
    """Never another error, and never a command that is not served."""
    with contextlib.suppress(RequestError):
        reader, _ = read(data, size)
        assert reader.command in ("", "ls-refs", "fetch", "object-info")


def test_requests_of_real_git_are_read(tmp_path: Path) -> None:
    """Every request of a clone is read to its end, and answered by git."""
    for words in (["init", "-q", "work"], ["-C", "work", "commit", "-q", "--allow-empty", "-m", "x"]):
        person = ["-c", "user.name=x", "-c", "user.email=x@example"]
        subprocess.run(["git", *person, *words], cwd=tmp_path, check=True)
    script, taken = tmp_path / "recorder", tmp_path / "taken"
    script.write_text(f'#!/bin/sh\ntee -a {taken} | git upload-pack "$@"\n')
    script.chmod(0o755)
    command = [
        "git",
        "-c",
        "protocol.version=2",
        "clone",
        "-q",
        f"--upload-pack={script}",
        "file://" + str(tmp_path / "work"),
        "copy",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    requests, commands = taken.read_bytes(), []
    while requests and requests != FLUSH:
        end = requests.index(FLUSH, requests.index(DELIMITER)) + len(FLUSH)
        reader, refused = read(requests[:end], 3)
        assert refused is None
        commands.append(reader.command)
        requests = requests[end:]
    assert commands == ["ls-refs", "fetch"]


WANT, PREFIX, DONE = b"want %s\n" % OID, b"ref-prefix refs/heads/\n", b"done\n"


@pytest.mark.parametrize(
    ("bound", "lines"),
    [
        ("MAX_OBJECTS", [WANT]),
        ("MAX_OBJECTS", [b"have " + OID, b"shallow %s\n" % OID, b"oid " + b"b2" * 32]),
        ("MAX_NAMES", [PREFIX, b"want-ref refs/heads/x", b"deepen-not refs/tags/v1\n"]),
        ("MAX_OPTIONS", [DONE, b"x", b"want " + OID[:-1], b"have " + OID.upper(), b"ref-prefix", b"deepen 1"]),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_arguments_are_bounded(monkeypatch: pytest.MonkeyPatch, bound: str, lines: list[bytes], size: int) -> None:
    """Each kind of line has its own limit; as many as allowed pass."""
    monkeypatch.setattr(fetch, bound, 6)
    arguments = (lines * 7)[:7]
    assert read(body(b"fetch", *arguments[:6]), size)[1] is None
    with pytest.raises(RequestError, match="too many arguments") as caught:
        read(body(b"fetch", *arguments), size)
    assert caught.value.status == 413


def test_short_packets_are_bounded_as_other_arguments() -> None:
    """A kilobyte of gzip holds 200,000 of them."""
    reader = FetchReader(v2=True)
    with pytest.raises(RequestError, match="too many arguments"):
        reader.receive(body(b"fetch", *[b"x"] * (MAX_OPTIONS + 1)))
    assert read(body(b"fetch", *[WANT] * 5000))[1] is None


@pytest.mark.parametrize("v2", [True, False])
def test_size_of_a_fetch_is_bounded(monkeypatch: pytest.MonkeyPatch, *, v2: bool) -> None:
    """Decoded, in every version."""
    wire = body(b"fetch", *[WANT] * 10)
    monkeypatch.setattr(fetch, "MAX_BYTES", len(wire))
    assert read(wire, 7, v2=v2)[1] is None
    monkeypatch.setattr(fetch, "MAX_BYTES", len(wire) - 1)
    with pytest.raises(RequestError, match="larger than") as caught:
        read(wire, 7, v2=v2)
    assert caught.value.status == 413
