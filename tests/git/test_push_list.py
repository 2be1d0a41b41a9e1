"""The push reader: every legal list is read in any cut, every other is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import RequestError
from credgate.git import push_list
from credgate.git.pktline import encode
from credgate.git.push_list import FLAGS, VALUED, Command, PushReader
from credgate.values import Reason

A, B, ZERO = b"a1" * 20, b"b2" * 20, b"0" * 40
LONG_A, LONG_B = b"a1" * 32, b"b2" * 32
CAPS = b" report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5"
MAIN = b"%s %s refs/heads/main" % (A, B)
PACK = b"PACK\x00\x00\x00\x02\x00\x00\x00\x00"


def body(*lines: bytes, end: bytes = b"0000") -> bytes:
    """Frame ``lines`` as a command list."""
    return b"".join(map(encode, lines)) + end


def read(data: bytes, size: int = 1 << 30) -> PushReader:
    """Read a whole body that comes in pieces of ``size``; stops where the list ends."""
    reader = PushReader()
    for at in range(0, len(data), size):
        taken = reader.receive(data[at : at + size])
        if reader.done:
            assert taken <= len(data[at : at + size])
            break
    reader.end()
    return reader


def test_push_as_git_sends_it_is_read() -> None:
    """Old, new, ref, capabilities, flush, pack."""
    wire = body(MAIN + b"\x00" + CAPS)
    reader = PushReader()
    assert reader.receive(wire + PACK) == len(wire)
    assert reader.commands == [Command(A, B, b"refs/heads/main")]
    assert reader.capabilities == tuple(CAPS.split())
    assert (reader.done, reader.probe, reader.report, reader.sideband, reader.options) == (
        True,
        False,
        True,
        True,
        False,
    )
    assert reader.pack
    assert reader.refs == [b"refs/heads/main"]
    assert reader.receive(PACK) == 0


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 64])
@pytest.mark.parametrize("tail", [b"", b"0", PACK, b"0000", b"\xff" * 9])
def test_list_is_read_in_any_cut_and_stops_at_its_end(size: int, tail: bytes) -> None:
    """Data after the list is never read."""
    wire = body(b"shallow " + A, MAIN + b"\x00" + CAPS, b"%s %s refs/tags/v1\n" % (ZERO, A))
    reader, taken = PushReader(), 0
    whole = wire + tail
    for at in range(0, len(whole), size):
        taken += reader.receive(whole[at : at + size])
    assert taken == len(wire)
    assert [(one.old, one.new, one.ref) for one in reader.commands] == [
        (A, B, b"refs/heads/main"),
        (ZERO, A, b"refs/tags/v1"),
    ]
    assert reader.shallows == [A]


@pytest.mark.parametrize(
    ("lines", "refs"),
    [
        ([MAIN + b"\n"], [b"refs/heads/main"]),
        ([MAIN + b"\x00\n"], [b"refs/heads/main"]),
        ([MAIN + b"\x00"], [b"refs/heads/main"]),
        ([MAIN + b"\x00report-status"], [b"refs/heads/main"]),
        ([MAIN + b"\x00 report-status \n"], [b"refs/heads/main"]),
        ([b"shallow " + A + b"\n", b"shallow " + B, MAIN], [b"refs/heads/main"]),
        ([MAIN, b"shallow " + A], [b"refs/heads/main"]),
        ([b"%s %s refs/heads/x\x00 object-format=sha256" % (LONG_A, LONG_B)], [b"refs/heads/x"]),
        ([b"shallow " + LONG_A, b"%s %s refs/heads/x\x00object-format=sha256" % (LONG_A, LONG_B)], [b"refs/heads/x"]),
        ([b"%s %s refs/heads/PACK" % (A, B)], [b"refs/heads/PACK"]),
        ([b"%s %s refs/heads/shallow" % (A, B)], [b"refs/heads/shallow"]),
        ([b"%s %s refs/heads/\xc3\xa9" % (A, B)], [b"refs/heads/\xc3\xa9"]),
        ([b"%s %s refs/for/main" % (A, B)], [b"refs/for/main"]),
    ],
)
def test_every_legal_form_is_read(lines: list[bytes], refs: list[bytes]) -> None:
    """With and without line feeds, leading space, shallow lines, long ids: clients differ."""
    for size in (1, 1 << 30):
        assert read(body(*lines) + PACK, size).refs == refs


def test_commands_create_update_and_delete() -> None:
    """Zeros stand for "no such ref"; a pack follows unless all commands delete."""
    create, update, delete = (
        body(b"%s %s refs/heads/x" % (ZERO, A)),
        body(MAIN),
        body(b"%s %s refs/heads/x" % (A, ZERO)),
    )
    kinds = [
        (read(wire).commands[0].creates, read(wire).commands[0].deletes, read(wire).pack)
        for wire in (create, update, delete)
    ]
    assert kinds == [(True, False, True), (False, False, True), (False, True, False)]
    assert read(body(MAIN, b"%s %s refs/heads/x" % (A, ZERO))).pack


def test_probe_is_an_empty_list() -> None:
    """Git's four bytes before a large push."""
    for size in (1, 4):
        reader = read(b"0000", size)
        assert (reader.done, reader.probe, reader.pack, reader.commands) == (True, True, False, [])
    assert not read(body(MAIN)).probe


@pytest.mark.parametrize(
    ("caps", "report", "sideband", "options"),
    [
        (b"", False, False, False),
        (b" report-status", True, False, False),
        (b" report-status-v2 side-band-64k", True, True, False),
        (b" side-band-64k push-options", False, True, True),
        (b" report-statusx xside-band-64k push-optionsx", False, False, False),
        (b" agent=push-options session-id=report-status", False, False, False),
    ],
)
def test_capabilities_select_the_form_of_the_report(caps: bytes, report: bool, sideband: bool, options: bool) -> None:  # noqa: FBT001 - a table's columns
    """Only whole words count."""
    reader = read(body(MAIN + b"\x00" + caps))
    assert (reader.report, reader.sideband, reader.options) == (report, sideband, options)


BROKEN = [
    (body(MAIN, end=b"0001"), "special packet"),
    (body(MAIN, end=b"0002"), "special packet"),
    (b"0001", "special packet"),
    (body(MAIN, end=b"0003"), "length"),
    (body(MAIN, end=b"0004"), "length"),
    (body(MAIN, end=b"fff1"), "length"),
    (body(MAIN, end=b"+005x"), "invalid packet length"),
    (body(MAIN, end=b"\x00" * 4), "invalid packet length"),
    (PACK, "invalid packet length"),
    (b"\x1f\x8b\x08\x00", "invalid packet length"),
    (b"HTTP", "invalid packet length"),
    (body(b"hello"), "malformed command"),
    (body(MAIN + b"\n\n"), "malformed command"),
    (body(b" " + MAIN), "malformed command"),
    (body(MAIN.upper()), "malformed command"),
    (body(b"%s %s refs/heads/main" % (A.upper(), B)), "malformed command"),
    (body(b"%s %s refs/heads/main" % (A, B[:-1])), "malformed command"),
    (body(b"%s %s refs/heads/main" % (A, B + b"0")), "malformed command"),
    (body(b"%s  %s refs/heads/main" % (A, B)), "malformed command"),
    (body(b"%s\t%s refs/heads/main" % (A, B)), "malformed command"),
    (body(b"%s %s " % (A, B)), "malformed command"),
    (body(b"%s %s" % (A, B)), "malformed command"),
    (body(b"%s %s refs/heads/a b" % (A, B)), "malformed command"),
    (body(b"%s %s refs/heads/a\nb" % (A, B)), "malformed command"),
    (body(b"%s %s refs/heads/a\rb" % (A, B)), "malformed command"),
    (body(b"%s %s refs/heads/a\x7f" % (A, B)), "malformed command"),
    (body(b"%s %s refs/heads/a\x1b[31m" % (A, B)), "malformed command"),
    (body(MAIN + b"\x00a\x00b"), "malformed command"),
    (body(MAIN + b"\x00a\nb"), "malformed command"),
    (body(MAIN, b"%s %s refs/heads/x\x00 report-status" % (A, B)), "capabilities on a line after the first"),
    (body(MAIN + b"\x00  report-status"), "malformed capabilities"),
    (body(MAIN + b"\x00\treport-status"), "malformed capabilities"),
    (body(MAIN + b"\x00 a\x0bb"), "malformed capabilities"),
    (body(MAIN + b"\x00 caf\xc3\xa9"), "malformed capabilities"),
    (body(MAIN + b"\x00 atomic atomic"), "same capability twice"),
    (body(MAIN + b"\x00 object-format=sha1 object-format=sha256"), "same capability twice"),
    *[
        (body(MAIN + b"\x00 quiet " + flag + value), "a value for a capability that takes none")
        for flag in (*sorted(FLAGS - {b"quiet"}), b"push-cert", b"frobnicate")
        for value in (b"=1", b"=", b"=a=b")
    ],
    *[(body(MAIN + b"\x00 " + key + end), "without a value") for key in sorted(VALUED) for end in (b"", b"=")],
    (body(b"shallow " + A), "shallow lines without"),
    (body(b"shallow " + A + b" x", MAIN), "malformed shallow line"),
    (body(b"shallow " + A[:-1], MAIN), "malformed shallow line"),
    (body(b"shallow " + A + b"\x00 report-status", MAIN), "malformed shallow line"),
    (body(b"shallow ", MAIN), "malformed shallow line"),
    (body(b"shallow " + LONG_A, MAIN), "two lengths"),
    (body(b"%s %s refs/heads/x" % (A, LONG_B)), "two lengths"),
    (body(MAIN, b"%s %s refs/heads/x" % (LONG_A, LONG_B)), "two lengths"),
    (body(b"%s %s refs/heads/x" % (LONG_A, LONG_B)), "do not fit"),
    (body(b"%s %s refs/heads/x\x00object-format=sha1" % (LONG_A, LONG_B)), "do not fit"),
    (body(MAIN + b"\x00object-format=sha256"), "do not fit"),
    (body(MAIN + b"\x00object-format=md5"), "do not fit"),
    (body(b"push-cert\x00" + CAPS, b"certificate version 0.1\n", b"push-cert-end\n"), "signed pushes are not served"),
    (
        body(MAIN + b"\x00" + CAPS, b"push-cert\x00\n", b"%s %s refs/heads/evil\n" % (ZERO, B), b"push-cert-end\n"),
        "signed pushes",
    ),
]


@pytest.mark.parametrize(("wire", "text"), BROKEN)
@pytest.mark.parametrize("size", [1, 1 << 30])
def test_malformed_list_is_refused_at_once(wire: bytes, text: str, size: int) -> None:
    """Two servers could read it differently; nothing of it may be forwarded."""
    reader = PushReader()
    with pytest.raises(RequestError, match=text) as caught:
        [reader.receive(wire[at : at + size]) for at in range(0, len(wire), size)]
    assert (caught.value.reason, caught.value.status) == (Reason.MALFORMED_PUSH, 400)
    assert not reader.done


IMPOSSIBLE = [
    ([b"%s %s HEAD" % (A, B)], "refs/heads/<branch>"),
    ([b"%s %s main" % (A, B)], "refs/heads/<branch>"),
    ([b"%s %s refs/x" % (A, B)], "refs/heads/<branch>"),
    ([b"%s %s refs/heads/../x" % (A, B)], "check-ref-format"),
    ([b"%s %s refs/heads/x.lock" % (A, B)], "check-ref-format"),
    ([b"%s %s refs/heads/x//y" % (A, B)], "check-ref-format"),
    ([b"%s %s refs/heads/*" % (A, B)], "check-ref-format"),
    ([b"%s %s refs/heads/\xff" % (A, B)], "UTF-8"),
    ([b"%s %s refs/heads/%s" % (A, B, b"a" * 1100)], "at most 1024 bytes"),
    ([MAIN, MAIN], "same ref twice"),
    ([MAIN, b"%s %s refs/heads/main" % (A, ZERO)], "same ref twice"),
    ([b"%s %s refs/heads/x" % (ZERO, ZERO)], "both zero"),
]


@pytest.mark.parametrize(("lines", "text"), IMPOSSIBLE)
@pytest.mark.parametrize("size", [1, 1 << 30])
def test_impossible_list_is_refused_at_its_end(lines: list[bytes], text: str, size: int) -> None:
    """So that git can be sent "ng" for each ref: after an HTTP error it prints "Everything up-to-date"."""
    good = b"%s %s refs/heads/good" % (ZERO, A)
    wire = body(good + b"\x00" + CAPS, *lines)
    reader = PushReader()
    with pytest.raises(RequestError, match=text) as caught:
        [reader.receive(wire[at : at + size]) for at in range(0, len(wire), size)]
    assert caught.value.reason is Reason.MALFORMED_PUSH
    assert reader.done
    assert reader.report
    assert reader.refs == [b"refs/heads/good", *(line.split(b" ")[2] for line in lines)]


def test_refused_list_stays_refused() -> None:
    """On every later call."""
    reader = PushReader()
    for more in (body(MAIN, MAIN), b"", PACK):
        with pytest.raises(RequestError, match="same ref twice"):
            reader.receive(more)


def test_cut_list_is_refused() -> None:
    """At every byte but the last."""
    wire = body(MAIN + b"\x00" + CAPS)
    for at in range(len(wire)):
        reader = PushReader()
        reader.receive(wire[:at])
        with pytest.raises(RequestError, match="ended inside the list"):
            reader.end()
    read(wire)


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("names_only", [False, True])
def test_list_is_read_up_to_the_limit_of_refs(size: int, *, names_only: bool) -> None:
    """Later data is not read, even if it is malformed; the names before it can be reported."""
    lines = [b"%s %s refs/tags/%d%s" % (ZERO, A, at, b"" if at else b"\x00" + CAPS) for at in range(201)]
    for most, excess in ((200, True), (201, False)):
        wire, reader = body(*lines) + (b"zzzz" if excess else b""), PushReader(most, names_only=names_only)
        taken = sum(reader.receive(wire[at : at + size]) for at in range(0, len(wire), size))
        reader.end()
        assert (taken, reader.excess, reader.done) == (len(wire), excess, not excess)
        assert reader.refs == [b"refs/tags/%d" % at for at in range(most)]
        assert (reader.report, reader.sideband, reader.probe) == (True, True, False)
        assert len(reader.commands) == (0 if names_only else most)


@pytest.mark.parametrize("names_only", [False, True])
def test_shallow_lines_are_bounded(monkeypatch: pytest.MonkeyPatch, *, names_only: bool) -> None:
    """They are as cheap to send as refs."""
    monkeypatch.setattr(push_list, "MAX_SHALLOWS", 3)
    for count, good in ((3, True), (4, False)):
        reader = PushReader(names_only=names_only)
        wire = body(*[b"shallow " + A] * count, MAIN)
        if not good:
            with pytest.raises(RequestError, match="more than 3 shallow lines") as caught:
                reader.receive(wire)
            assert caught.value.status == 413
            continue
        reader.receive(wire)
        assert (reader.refs, len(reader.shallows)) == ([b"refs/heads/main"], 0 if names_only else 3)


def test_names_of_a_refused_push_are_bounded_in_bytes() -> None:
    """A name may be as long as a packet."""
    lines = [b"%s %s refs/tags/%d/%s" % (ZERO, A, at, b"x" * 60_000) for at in range(20)]
    reader = PushReader(names_only=True)
    reader.receive(body(*lines))
    assert (reader.excess, len(reader.refs)) == (True, 9)
    short = PushReader(names_only=True)
    short.receive(body(*lines[:9]))
    assert (short.excess, len(short.refs), short.done) == (False, 9, True)


@pytest.mark.parametrize("size", [1, 1 << 30])
def test_list_is_bounded_in_bytes(size: int) -> None:
    """Shallow lines count too."""
    wire = body(b"shallow " + A, MAIN)
    exact = PushReader(max_bytes=len(wire))
    [exact.receive(wire[at : at + size]) for at in range(0, len(wire), size)]
    assert exact.done
    reader = PushReader(max_bytes=len(wire) - 1)
    with pytest.raises(RequestError, match="too long") as caught:
        [reader.receive(wire[at : at + size]) for at in range(0, len(wire), size)]
    assert caught.value.status == 413


@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_a_list_or_refused(data: bytes, size: int) -> None:
    """RequestError or a list, the same in any cut; nothing else."""
    outcomes = []
    for step in (size, 1 << 30):
        try:
            reader = read(body(MAIN, end=b"") + data, step)
        except RequestError as error:
            outcomes.append(str(error))
        else:
            outcomes.append(repr((reader.commands, reader.shallows)))
    assert outcomes[0] == outcomes[1]
