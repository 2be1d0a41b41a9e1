"""The forge's report, read for the audit: every form of it, and no error that could hold a push up."""

from __future__ import annotations

import subprocess
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.git.pktline import FLUSH, encode
from credgate.git.refusal import report, status_report
from credgate.git.report import RefResult, ReportReader
from tests.fakes.reports import BARE, X, Y, banded

if TYPE_CHECKING:
    from pathlib import Path

RESULTS = {X: RefResult(ok=True), Y: RefResult(ok=False, text="hook declined")}


def read(wire: bytes, size: int = 1 << 20, *, sideband: bool, refs: tuple[bytes, ...] = (X, Y)) -> ReportReader:
    """Read an answer in pieces."""
    reader = ReportReader(refs, sideband=sideband)
    for at in range(0, len(wire), size):
        reader.receive(wire[at : at + size])
    return reader


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
@pytest.mark.parametrize("tail", [b"", b"0000", b"\xff\xff\xff\xff"])
def test_report_is_read_in_any_cut(size: int, tail: bytes) -> None:
    """Bare or in bands of any size; data after it is ignored."""
    for wire, sideband in ((BARE, False), (banded(BARE, 1), True), (banded(BARE, 7), True), (banded(BARE, 999), True)):
        reader = read(wire + tail, size, sideband=sideband)
        assert (reader.unpack, reader.results, reader.done, reader.broken) == ("ok", RESULTS, True, False)
        assert (reader.result(X), reader.result(b"refs/heads/z")) == (RefResult(ok=True), None)


def test_unpack_error_is_kept() -> None:
    """It explains why every ref is ``ng``."""
    reader = read(report([X, Y], "unpacker error", sideband=True, unpack="index-pack abnormal exit"), sideband=True)
    assert reader.unpack == "index-pack abnormal exit"
    assert reader.results == dict.fromkeys((X, Y), RefResult(ok=False, text="unpacker error"))


def test_fatal_band_is_kept() -> None:
    """There is no report then."""
    reader = read(encode(b"\x03fatal: out of\x1b memory\n") + encode(b"\x03more") + FLUSH, sideband=True)
    assert (reader.fatal, reader.done, reader.broken, reader.results) == ("fatal: out of? memory", False, True, {})


def test_only_pushed_refs_are_kept() -> None:
    """A forge cannot fill the memory; a text is one bounded line."""
    wire = status_report([(b"refs/heads/%d" % number, "x" * 300) for number in range(99)], sideband=False)
    reader = read(wire, sideband=False, refs=(b"refs/heads/7",))
    assert reader.results == {b"refs/heads/7": RefResult(ok=False, text="x" * 200)}


@pytest.mark.parametrize(
    ("wire", "sideband"),
    [
        (b"PACK", False),
        (FLUSH, False),
        (encode(b"ok refs/heads/x\n"), False),
        (encode(b"unpack ok\n") + b"0001", False),
        (encode(b"unpack ok\n") + encode(b"no refs/heads/x\n"), False),
        (encode(b"unpack ok\n") + encode(b"ok\n"), False),
        (BARE, True),
        (encode(b"ERR no\n"), True),
        (FLUSH, True),
        (encode(b"\x01" + encode(b"unpack ok\n")) + FLUSH, True),
        (encode(b"\x01zzzz"), True),
    ],
)
def test_malformed_report_is_marked_broken(wire: bytes, sideband: bool) -> None:  # noqa: FBT001 - a column of the table
    """A good report after it changes nothing."""
    for size in (1, 1 << 20):
        reader = read(wire + banded(BARE, 99) + BARE, size, sideband=sideband)
        assert (reader.broken, reader.done, reader.results) == (True, False, {})


def test_cut_report_is_not_done() -> None:
    """What was read is kept."""
    reader = read(BARE[:-4], sideband=False)
    assert (reader.done, reader.broken, reader.results) == (False, False, RESULTS)


@given(st.binary(max_size=80), st.booleans(), st.integers(1, 9))
def test_any_bytes_raise_nothing(data: bytes, sideband: bool, size: int) -> None:  # noqa: FBT001 - drawn
    """The audit must never stop a push."""
    read(data, size, sideband=sideband)


def test_reports_of_real_git_are_read(tmp_path: Path) -> None:
    """From ``git receive-pack``: one ref created, one refused for its old id; in every form."""
    person = ["-c", "user.name=x", "-c", "user.email=x@example"]
    for words in (["init", "-q", "work"], ["-C", "work", *person, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    subprocess.run(["git", "clone", "-q", "--bare", "work", "bare.git"], cwd=tmp_path, check=True)
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path / "work", check=True, capture_output=True)
    oid, zero = found.stdout.strip(), b"0" * 40
    pack = b"PACK\x00\x00\x00\x02\x00\x00\x00\x00"
    for number, caps in enumerate((b"report-status", b"report-status-v2", b"report-status side-band-64k")):
        made = b"refs/heads/%d" % number
        lines = [b"%s %s %s\x00 %s" % (zero, oid, made, caps), b"%s %s refs/heads/y" % (b"ab" * 20, oid)]
        body = b"".join(map(encode, lines)) + FLUSH + pack + sha1(pack).digest()
        command = ["git", "receive-pack", "--stateless-rpc", str(tmp_path / "bare.git")]
        answer = subprocess.run(command, input=body, capture_output=True, check=False).stdout
        reader = read(answer, 5, sideband=b"side" in caps, refs=(made, Y))
        assert (reader.done, reader.unpack, reader.results[made]) == (True, "ok", RefResult(ok=True))
        assert reader.results[Y] == RefResult(ok=False, text="failed to update ref")
