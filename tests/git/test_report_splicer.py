"""Refused refs in the forge's own report: inserted once, at its end, in its own form, in any cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import ResponseError
from credgate.git.pktline import FLUSH, encode
from credgate.git.report import RefResult, ReportReader
from credgate.git.response_filter import Splicer
from credgate.values import Reason
from tests.fakes.reports import BARE, LINES, X, Y, banded

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
