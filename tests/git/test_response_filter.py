"""Response filters: which response gets which, and the report on a push with the refused refs inserted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import PushPolicy
from credgate.errors import ResponseError
from credgate.git.advertisement import AdvertisementRewriter
from credgate.git.pktline import FLUSH, encode
from credgate.git.push_rules import PushRules, rules_for
from credgate.git.push_stream import PushStream
from credgate.git.report import RefResult, ReportReader
from credgate.git.response_filter import ReportFilter, Splicer, response_filter
from credgate.git.route import Kind
from credgate.sessions.model import Grant, PushRule
from credgate.values import Reason
from tests.fakes.relay import ONE, commands
from tests.fakes.reports import BARE, LINES, X, Y, banded

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


REFUSED = [(b"refs/heads/main", "credgate: no"), (b"refs/tags/v1", "credgate: caf\xe9\nx")]
NG = encode(b"ng refs/heads/main credgate: no\n") + encode("ng refs/tags/v1 credgate: caf\xe9?x\n".encode())


def spliced(wire: bytes, size: int = 1 << 20, *, sideband: bool) -> bytes:
    """Pass a whole answer through, in pieces."""
    splicer, out = Splicer(REFUSED, sideband=sideband), b""
    for at in range(0, len(wire), size):
        out += b"".join(splicer.receive(wire[at : at + size]))
    splicer.end()
    return out


def outer(wire: bytes) -> list[bytes]:
    """Cut an answer into its packets."""
    packets = []
    while wire:
        length = int(wire[:4], 16) or 4
        packets.append(wire[4:length])
        wire = wire[length:]
    return packets


@pytest.mark.parametrize("size", [1, 2, 5, 1 << 20])
def test_refused_refs_are_inserted_into_a_bare_report(size: int) -> None:
    """After the forge's own lines."""
    assert spliced(BARE, size, sideband=False) == b"".join(map(encode, LINES)) + NG + FLUSH


@pytest.mark.parametrize("band", [1, 2, 3, 7, 999])
@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_refused_refs_are_inserted_into_the_band_of_the_report(band: int, size: int) -> None:
    """In any cut: the inner report is complete, everything else unchanged and in order."""
    came = banded(BARE, band)
    packets = outer(spliced(came, size, sideband=True))
    assert b"".join(one[1:] for one in packets if one[:1] == b"\x01") == b"".join(map(encode, LINES)) + NG + FLUSH
    assert [one for one in packets if one[:1] != b"\x01"] == [one for one in outer(came) if one[:1] != b"\x01"]
    assert packets[-1] == b""


def test_text_and_keepalives_pass_at_once() -> None:
    """A forge may take minutes: its progress is not held back."""
    splicer = Splicer(REFUSED, sideband=True)
    for packet in (encode(b"\x02progress\n"), encode(b"\x01"), encode(b"\x02.")):
        assert splicer.receive(packet) == [packet]
    assert splicer.receive(encode(b"\x01" + BARE[:6])) == []
    assert splicer.receive(encode(b"\x01" + BARE[6:20])) == [encode(b"\x01" + encode(LINES[0]))]


def test_many_refused_refs_are_cut_into_bands() -> None:
    """The size of a side-band packet is bounded."""
    refused = [(b"refs/heads/%05d" % number, "x" * 190) for number in range(1000)]
    splicer = Splicer(refused, sideband=True)
    answer = b"".join(splicer.receive(banded(BARE, 99)))
    reader = ReportReader([X, Y, *(ref for ref, _ in refused)], sideband=True)
    reader.receive(answer)
    assert (reader.done, len(reader.results)) == (True, 1002)
    assert reader.results[refused[999][0]] == RefResult(ok=False, text="x" * 190)
    assert max(len(packet) for packet in outer(answer)) == 65516


def test_fatal_band_ends_without_a_report() -> None:
    """There is no report to insert refs into."""
    wire = encode(b"\x03fatal: disk full\n")
    assert spliced(wire, 3, sideband=True) == wire


@pytest.mark.parametrize(
    ("wire", "sideband", "reason"),
    [
        (BARE[:-4], False, Reason.FORGE_CUT),
        (banded(BARE, 99)[:-4], True, Reason.FORGE_CUT),
        (b"", True, Reason.FORGE_CUT),
        (BARE + FLUSH, False, Reason.FORGE_MALFORMED),
        (banded(BARE, 99) + FLUSH, True, Reason.FORGE_MALFORMED),
        (banded(BARE + FLUSH, 999), True, Reason.FORGE_MALFORMED),
        (banded(BARE + b"x", 4), True, Reason.FORGE_MALFORMED),
        (FLUSH, True, Reason.FORGE_MALFORMED),
        (BARE, True, Reason.FORGE_MALFORMED),
        (b"zzzz", True, Reason.FORGE_MALFORMED),
        (encode(b"\x01zzzz"), True, Reason.FORGE_MALFORMED),
        (b"0001", False, Reason.FORGE_MALFORMED),
        (b"0002", True, Reason.FORGE_MALFORMED),
        (encode(b"ERR no\n"), True, Reason.FORGE_MALFORMED),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_malformed_report_is_refused(wire: bytes, sideband: bool, reason: Reason, size: int) -> None:  # noqa: FBT001 - a column of the table
    """A cut one must not pass, and nothing may follow one."""
    with pytest.raises(ResponseError) as caught:
        spliced(wire, size, sideband=sideband)
    assert caught.value.reason is reason


@given(st.lists(st.sampled_from([X, Y]), unique=True), st.integers(1, 99), st.integers(1, 40))
def test_client_reads_the_results_of_forge_and_gateway(accepted: list[bytes], band: int, size: int) -> None:
    """Every ref of the push has its line."""
    inner = encode(b"unpack ok\n") + b"".join(encode(b"ok " + ref + b"\n") for ref in accepted) + FLUSH
    reader = ReportReader([X, Y, *(ref for ref, _ in REFUSED)], sideband=True)
    reader.receive(spliced(banded(inner, band), size, sideband=True))
    assert reader.done
    assert {ref for ref, result in reader.results.items() if result.ok} == set(accepted)
    assert reader.results[REFUSED[0][0]] == RefResult(ok=False, text="credgate: no")
