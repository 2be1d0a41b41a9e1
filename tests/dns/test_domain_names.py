"""Names as label tuples: from the wire, to the wire, for people, from operators."""

from __future__ import annotations

import dns.exception
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.dns import domain_names
from credgate.dns.domain_names import WireError

LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=8).map(tuple)


@given(LABELS)
def test_encoded_name_is_read_back(name: domain_names.Name) -> None:
    """Any octet may stand in a label, dots and NUL included, and stays in its label."""
    if len(domain_names.encode(name)) <= 255:
        assert domain_names.read(domain_names.encode(name) + b"tail", 0) == (name, len(domain_names.encode(name)))


@given(st.binary(max_size=300))
def test_read_agrees_with_dnspython_or_refuses(wire: bytes) -> None:
    """An independent reader sees the same labels, or credgate is the stricter one."""
    try:
        name, end = domain_names.read(wire, 0)
    except WireError:
        return
    theirs, used = dns.name.from_wire(wire, 0)
    assert (theirs.labels[:-1], used) == (name, end)


@given(st.binary(max_size=80), st.integers(0, 80))
def test_decompress_agrees_with_dnspython_or_refuses(wire: bytes, offset: int) -> None:
    """The same with pointers: what both accept is the same name and the same end."""
    try:
        name, end = domain_names.decompress(wire, offset)
    except WireError:
        return
    theirs, used = dns.name.from_wire(wire, offset)
    assert (theirs.labels[:-1], offset + used) == (name, end)


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=3).map(tuple), st.binary(max_size=20))
def test_name_with_pointers_is_decompressed(name: domain_names.Name, lead: bytes) -> None:
    """Positive control of pointers: a label, then a pointer to what stands before."""
    wire = domain_names.encode(name)
    message = lead + wire + b"\x03www" + (0xC000 | len(lead)).to_bytes(2)
    assert domain_names.decompress(message, len(lead) + len(wire)) == ((b"www", *name), len(message))


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x03ww",
        b"\x03www",
        b"\x40" + b"a" * 64 + b"\0",
        b"\x80\x00",
        b"\xc0\x00",
        b"\x03www\xc0\x00",
        (b"\x3f" + b"a" * 63) * 4 + b"\0",
    ],
)
def test_question_accepts_only_complete_uncompressed_names(wire: bytes) -> None:
    """Cut names, reserved label types, pointers and 257 octets: each is a way to make two readers disagree."""
    with pytest.raises(WireError):
        domain_names.read(wire, 0)


def test_label_limit_is_63_octets_and_name_limit_255() -> None:
    """The limits themselves are legal (RFC 1035 section 2.3.4); one octet more is not."""
    longest = (b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 61)
    assert len(domain_names.encode(longest)) == 255
    assert domain_names.read(domain_names.encode(longest), 0) == (longest, 255)
    assert domain_names.decompress(b"x" + domain_names.encode(longest) + b"tail", 1) == (longest, 256)
    assert domain_names.parse(b".".join(longest).decode()) == longest
    longer = (*longest[:3], b"d" * 62)
    with pytest.raises(WireError, match="255"):
        domain_names.read(domain_names.encode(longer), 0)
    with pytest.raises(WireError, match="255"):
        domain_names.decompress(domain_names.encode(longer), 0)
    with pytest.raises(ValueError, match="255"):
        domain_names.parse(b".".join(longer).decode())


@pytest.mark.parametrize(
    ("message", "offset"),
    [
        (b"\xc0\x00", 0),
        (b"\x00\xc0\x05\x00\x00\x00", 1),
        (b"\xc0\x02\xc0\x00", 2),
        (b"\x01a\xc0\x00", 2),
        (b"\x00\x80\x00", 1),
        (b"\x00\x40\x00", 1),
        (b"\x00\xc0", 1),
        (b"\x01", 0),
    ],
)
def test_pointers_must_point_backwards(message: bytes, offset: int) -> None:
    """A pointer to itself, forwards, into its own name, or truncated, is refused."""
    if message == b"\x01a\xc0\x00":
        # The pointer is met at 2 and goes to 0: legal, and the name at 0 runs into the pointer again.
        with pytest.raises(WireError):
            domain_names.decompress(message, offset)
        return
    with pytest.raises(WireError):
        domain_names.decompress(message, offset)


def test_chain_of_pointers_is_limited() -> None:
    """A kilobyte of chained pointers costs 64 steps a name, not a thousand: 65 KB of them froze a server once."""
    chain = b"\0\0" + b"".join((0xC000 | at).to_bytes(2) for at in range(0, 400, 2))
    assert domain_names.decompress(chain, 2 + 2 * 10) == ((), 2 + 2 * 10 + 2)
    with pytest.raises(WireError):
        domain_names.decompress(chain, 2 + 2 * 100)


def test_decompressed_name_is_limited_to_255_octets() -> None:
    """Pointers do not bypass the limit."""
    message = (b"\x3f" + b"a" * 63) * 3 + b"\0"
    start = len(message)
    message += b"\x3f" + b"b" * 63 + b"\xc0\x00"
    with pytest.raises(WireError, match="255"):
        domain_names.decompress(message, start)


def test_fold_changes_only_ascii_letters() -> None:
    """RFC 4343: A to Z only; an octet above 127 is itself."""
    assert domain_names.fold((b"GitHub", b"\xc0M")) == (b"github", b"\xc0m")


@given(LABELS)
def test_presentation_is_printable_ascii(name: domain_names.Name) -> None:
    """A log line must not carry control octets or bidi tricks from a name, nor confuse labels."""
    shown = domain_names.presentation(name)
    assert shown.isascii()
    assert shown.isprintable()


@given(LABELS.filter(lambda name: 0 < len(domain_names.encode(name)) <= 255))
def test_presentation_is_read_back_by_dnspython(name: domain_names.Name) -> None:
    """The escapes are RFC 1035's: an independent reader gets the same labels from them."""
    assert dns.name.from_text(domain_names.presentation(name) + ("." if name else "")).labels[:-1] == name


def test_dot_in_label_is_escaped() -> None:
    """The one label ``git.example.com`` must not look like three."""
    assert domain_names.presentation((b"git.example.com",)) == r"git\.example\.com"
    assert domain_names.presentation((b"git", b"example", b"com")) == "git.example.com"
    assert domain_names.presentation((b"a\0\n\x1b\\",)) == r"a\000\010\027\\"
    assert domain_names.presentation((b" !~\x7f",)) == r"\032!~\127"
    assert domain_names.presentation(domain_names.ROOT) == "."


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GitHub.com", (b"github", b"com")),
        ("github.com.", (b"github", b"com")),
        ("gateway", (b"gateway",)),
        ("_dmarc.example.com", (b"_dmarc", b"example", b"com")),
        ("bücher.example", (b"xn--bcher-kva", b"example")),
        ("BÜCHER.example", (b"xn--bcher-kva", b"example")),
        ("xn--bcher-kva.example", (b"xn--bcher-kva", b"example")),
        ("例え。テスト", (b"xn--r8jz45g", b"xn--zckzah")),
        ("a" * 63 + ".x", (b"a" * 63, b"x")),
    ],
)
def test_host_name_is_parsed_to_labels(text: str, name: domain_names.Name) -> None:
    """IDNA names are compared as A-labels."""
    assert domain_names.parse(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a b.c",
        "a\0b.c",
        "a\\.b",
        "*",
        "*.a",
        "a.*.b",
        "-a.b",
        "a-.b",
        "a/b",
        "a:1",
        "10.0.0.1",
        "1",
        "a" * 64 + ".x",
        ".".join(["a" * 60] * 5),
        "\u202ea.b",
        "a\u0300\u200d.b\u2066",
        "ü" * 63 + ".x",
    ],
)
def test_invalid_host_name_is_not_an_entry(text: str) -> None:
    """An invalid name in an entry stops the start."""
    with pytest.raises(ValueError, match=r".+"):
        domain_names.parse(text)
