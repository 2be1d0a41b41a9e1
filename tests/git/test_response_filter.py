"""Response filters: which kind of response gets which, and what becomes of the report on a push."""

from __future__ import annotations

from typing import Any

import pytest

from credgate.config.schema import PushPolicy
from credgate.errors import ResponseError
from credgate.git.advertisement import AdvertisementRewriter
from credgate.git.pktline import FLUSH, encode
from credgate.git.push_rules import PushRules, rules_for
from credgate.git.push_stream import PushStream
from credgate.git.report import RefResult
from credgate.git.response_filter import ReportFilter, response_filter
from credgate.git.route import Kind
from credgate.sessions.model import Grant, PushRule
from tests.fakes.relay import ONE, commands

LINE = ONE + b" HEAD\x00push-options ofs-delta\n"
HEAD = b"refs/heads/main"


def rules(**more: Any) -> PushRules:
    """Make a grant's rules."""
    return rules_for(Grant("octo/*", "github.com", **more), PushPolicy(), "s-1", "x")


def passage(body: bytes, **more: Any) -> PushStream:
    """Read a push."""
    one = PushStream(None, rules(**more))
    for _ in one.receive(body):
        pass
    return one


def advertised(service: str, of: PushRules | None) -> bytes:
    """Rewrite an advertisement."""
    through = response_filter(Kind.ADVERTISEMENT, service, of, None)
    assert isinstance(through, AdvertisementRewriter)
    given = through.receive(encode(b"# service=" + service.encode() + b"\n") + FLUSH + encode(LINE) + FLUSH)
    through.end()
    return b"".join(given)


def test_advertisement_is_rewritten_by_the_rules() -> None:
    """Options only if granted, no-thin only if packs are inspected; neither for a fetch."""
    assert b"\x00ofs-delta no-thin\n" in advertised("git-receive-pack", rules())
    forced = rules(push=(PushRule("refs/heads/*", frozenset({"create", "force"})),), push_options=("ci.skip",))
    assert b"\x00push-options ofs-delta\n" in advertised("git-receive-pack", forced)
    assert b"\x00ofs-delta\n" in advertised("git-upload-pack", None)


def test_pack_of_a_fetch_passes_unchanged() -> None:
    """So do responses to a push without a report, to a probe, and to a push that was never judged."""
    assert response_filter(Kind.UPLOAD_PACK, "git-upload-pack", None, None) is None
    silent = commands().replace(b" report-status", b" ofs-delta-xyz")
    for one in (passage(silent), passage(FLUSH), PushStream(None, rules())):
        assert response_filter(Kind.RECEIVE_PACK, "git-receive-pack", rules(), one) is None


REPORT = encode(b"unpack ok\n") + encode(b"ok " + HEAD + b"\n")
BANDED = encode(b"\x01" + REPORT + FLUSH) + FLUSH


def test_report_passes_and_is_read() -> None:
    """Byte for byte, even if it cannot be read."""
    through = response_filter(Kind.RECEIVE_PACK, "git-receive-pack", rules(), passage(commands()))
    assert isinstance(through, ReportFilter)
    assert b"".join(piece for byte in BANDED for piece in through.receive(bytes([byte]))) == BANDED
    through.end()
    assert through.reader.results == {HEAD: RefResult(ok=True)}
    broken = ReportFilter(passage(commands()))
    assert broken.receive(b"zzzz") == [b"zzzz"]
    broken.end()
    assert broken.reader.broken


def test_refused_refs_are_inserted_into_the_report() -> None:
    """The forge never got them; its results for the others are read."""
    one = passage(commands(HEAD, b"refs/notes/x"), partial=True)
    through = response_filter(Kind.RECEIVE_PACK, "git-receive-pack", one.rules, one)
    assert isinstance(through, ReportFilter)
    given = b"".join(through.receive(BANDED))
    through.end()
    assert b"ok refs/heads/main\n" in given
    assert b"ng refs/notes/x credgate: " in given
    assert set(through.reader.results) == {HEAD}


def test_cut_report_is_refused_if_refs_are_inserted() -> None:
    """Else refs would be missing."""
    through = ReportFilter(passage(commands(HEAD, b"refs/notes/x"), partial=True))
    through.receive(BANDED[:-4])
    with pytest.raises(ResponseError):
        through.end()


def test_nothing_is_inserted_for_a_push_refused_as_a_whole() -> None:
    """The forge may answer before the verdict."""
    one = passage(commands(b"refs/notes/x", HEAD))
    assert one.refused
    assert ReportFilter(one).receive(BANDED) == [BANDED]
