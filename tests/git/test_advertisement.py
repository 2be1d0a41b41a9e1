"""Ref advertisements: capabilities that lead around the gateway are removed, everything else passes unchanged."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tracemalloc
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from dulwich.client import read_pkt_refs_v1
from dulwich.protocol import Protocol
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import ResponseError
from credgate.git.advertisement import CACHED, MAX_CACHED_BYTES, MAX_V2_LINES, AdvertisementRewriter, cached_v2
from credgate.git.pktline import FLUSH, MAX_PAYLOAD, encode
from credgate.values import Reason

if TYPE_CHECKING:
    from pathlib import Path

OID = b"a1" * 20
RECEIVE, UPLOAD = "git-receive-pack", "git-upload-pack"
SERVICE = {name: encode(f"# service={name}\n".encode()) + FLUSH for name in (RECEIVE, UPLOAD)}
PUSH_CAPS = (
    b"report-status report-status-v2 delete-refs side-band-64k quiet atomic ofs-delta object-format=sha1 agent=git/2"
)
REFS = encode(OID + b" refs/heads/x\n") + encode(OID + b" refs/tags/v1^{}\n") + encode(b"shallow " + OID) + FLUSH


def first(caps: bytes, ref: bytes = b"refs/heads/main", end: bytes = b"\n") -> bytes:
    """Write the line with the capabilities."""
    return encode(OID + b" " + ref + b"\x00" + caps + end)


def rewritten(wire: bytes, size: int = 1 << 20, service: str = RECEIVE, **asked: bool) -> bytes:
    """Pass a whole advertisement through, in pieces."""
    rewriter, out = AdvertisementRewriter(service, **asked), b""
    for at in range(0, len(wire), size):
        out += b"".join(rewriter.receive(wire[at : at + size]))
    rewriter.end()
    return out


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1 << 20])
@pytest.mark.parametrize(
    ("caps", "kept"),
    [
        (PUSH_CAPS, PUSH_CAPS),
        (b" " + PUSH_CAPS, b" " + PUSH_CAPS),
        (PUSH_CAPS + b" push-cert=1234-nonce", PUSH_CAPS),
        (b"push-options " + PUSH_CAPS, PUSH_CAPS),
        (b" push-cert=x push-options report-status", b" report-status"),
        (b"report-status push-cert delete-refs push-options bundle-uri packfile-uris promisor-remote=x atomic",
         b"report-status delete-refs atomic"),
        (b"push-cert-free push-optionsx", b"push-cert-free push-optionsx"),
        (b"", b""),
    ],
)  # fmt: skip
def test_removed_capabilities_are_not_offered(size: int, caps: bytes, kept: bytes) -> None:
    """In any cut, smart or bare, with and without a version; every other byte unchanged."""
    for head in (SERVICE[RECEIVE], b"", SERVICE[RECEIVE] + encode(b"version 1\n"), encode(b"version 1")):
        assert rewritten(head + first(caps) + REFS, size) == head + first(kept) + REFS


def test_needed_capabilities_are_never_removed() -> None:
    """Without them git takes a refusal for success, or shows none."""
    for options in (False, True):
        for thin in (False, True):
            out = rewritten(first(PUSH_CAPS) + FLUSH, push_options=options, no_thin=thin)
            for word in (b"report-status", b"report-status-v2", b"delete-refs", b"side-band-64k"):
                assert word in out.replace(b"\n", b" ").split(b"\x00")[1].split(b" ")


def test_push_options_are_offered_only_if_granted() -> None:
    """And only if the forge has them."""
    caps = PUSH_CAPS + b" push-options"
    assert rewritten(first(caps) + FLUSH, push_options=True) == first(caps) + FLUSH
    assert rewritten(first(PUSH_CAPS) + FLUSH, push_options=True) == first(PUSH_CAPS) + FLUSH


def test_no_thin_is_added_once_and_to_pushes_only() -> None:
    """A pack that is inspected must hold its own bases."""
    assert rewritten(first(b"atomic") + FLUSH, no_thin=True) == first(b"atomic no-thin") + FLUSH
    assert rewritten(first(b"no-thin atomic") + FLUSH, no_thin=True) == first(b"no-thin atomic") + FLUSH
    assert rewritten(first(b"") + FLUSH, no_thin=True) == first(b"no-thin") + FLUSH
    assert rewritten(first(b"atomic") + FLUSH, service=UPLOAD, no_thin=True) == first(b"atomic") + FLUSH


@pytest.mark.parametrize(
    "name", [b"capabilities^{}", b".have", b"HEAD", b"refs/heads/caf\xc3\xa9"]
)  # fmt: skip
def test_every_form_of_the_first_line_is_read(name: bytes) -> None:
    """An empty repository, alternates, a branch name of any bytes."""
    assert rewritten(first(b"push-cert=x quiet", name, b"") + FLUSH) == first(b"quiet", name, b"") + FLUSH


V2 = [
    b"version 2\n", b"agent=git/2.49\n", b"ls-refs=unborn\n", b"fetch=shallow wait-for-done filter\n",
    b"server-option\n", b"object-format=sha1\n", b"object-info\n", b"session-id=x",
]  # fmt: skip


@pytest.mark.parametrize("size", [1, 3, 17, 1 << 20])
@pytest.mark.parametrize("head", [b"", SERVICE[UPLOAD]])
def test_unknown_keys_of_v2_are_removed(size: int, head: bytes) -> None:
    """An unknown key may be a command; fetch keeps its features."""
    more = [b"bundle-uri\n", b"promisor-remote=name=x,url=https://x\n", b"frobnicate=1\n", b"packfile-uris\n"]
    wire = head + b"".join(map(encode, (*V2[:3], *more, *V2[3:]))) + FLUSH
    assert rewritten(wire, size, UPLOAD) == head + b"".join(map(encode, V2)) + FLUSH


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"fetch=shallow packfile-uris filter\n", b"fetch=shallow filter\n"),
        (b"fetch=packfile-uris\n", b"fetch\n"),
        (b"fetch=packfile-uris", b"fetch"),
        (b"fetch=shallow\tpackfile-uris\rfilter", b"fetch=shallow filter"),
        (b"fetch=packfile-uris=1 filter", b"fetch=filter"),
        (b"fetch=shallow sideband-all packfile-uris", b"fetch=shallow sideband-all"),
        (b"fetch\n", b"fetch\n"),
        (b"fetch=\n", b"fetch\n"),
    ],
)
def test_packfile_uris_are_removed_from_fetch(line: bytes, kept: bytes) -> None:
    """Clients would download packs from elsewhere."""
    wire = encode(b"version 2\n") + encode(line) + FLUSH
    assert rewritten(wire, service=UPLOAD) == encode(b"version 2\n") + encode(kept) + FLUSH


def test_capabilities_of_the_forge_are_kept() -> None:
    """Later requests to the forge depend on them."""
    rewriter = AdvertisementRewriter(RECEIVE)
    rewriter.receive(encode(b"version 1\n") + first(b"quiet push-cert=x") + REFS)
    assert (rewriter.version, rewriter.capabilities, rewriter.done) == (1, (b"quiet", b"push-cert=x"), True)
    rewriter = AdvertisementRewriter(UPLOAD)
    rewriter.receive(encode(b"version 2\n") + encode(b"fetch=filter\n") + encode(b"bundle-uri") + FLUSH)
    assert (rewriter.version, rewriter.capabilities) == (2, (b"fetch=filter", b"bundle-uri"))


v2_lines = st.lists(
    st.sampled_from(
        [*V2[1:], b"bundle-uri\n", b"fetch=push-options filter\n", b"fetch=packfile-uris x", b"frobnicate"]
    ),
    max_size=8,
)


grants = st.fixed_dictionaries({"push_options": st.booleans(), "no_thin": st.booleans()})


@given(v2_lines, st.sampled_from([RECEIVE, UPLOAD]), st.lists(grants, min_size=2, max_size=4), st.integers(1, 2))
def test_cached_result_equals_the_read_one(
    lines: list[bytes], service: str, asked: list[dict[str, bool]], ends: int
) -> None:
    """The first and the second time, and for a client that was granted more; a malformed one fails each time."""
    wire = SERVICE[service] + b"".join(map(encode, (V2[0], *lines))) + FLUSH * ends
    for grant in asked + asked:
        if ends > 1:
            with pytest.raises(ResponseError):
                rewritten(wire, service=service, **grant)
        else:
            assert rewritten(wire, service=service, **grant) == rewritten(wire, 1, service, **grant)


def test_cached_result_has_version_capabilities_and_end() -> None:
    """And data after it is refused."""
    wire = encode(b"version 2\n") + encode(b"fetch=filter\n") + encode(b"bundle-uri") + FLUSH
    for _ in range(2):
        rewriter = AdvertisementRewriter(UPLOAD)
        rewriter.receive(wire)
        assert (rewriter.version, rewriter.capabilities, rewriter.done) == (2, (b"fetch=filter", b"bundle-uri"), True)
        with pytest.raises(ResponseError):
            rewriter.receive(FLUSH)


def test_cache_is_bounded_and_holds_no_ref() -> None:
    """A forge that answers differently each time takes no memory; refs of a private repository are not cached."""
    cached_v2.cache_clear()
    for wire in (GOOD, SERVICE[RECEIVE] + encode(b"version 1\n") + first(b"agent=version 2") + FLUSH, GOOD[:9]):
        AdvertisementRewriter(RECEIVE).receive(wire)
    long = encode(b"version 2\n") + encode(b"agent=" + b"x" * MAX_CACHED_BYTES) + FLUSH
    rewritten(long, service=UPLOAD)
    assert cached_v2.cache_info().currsize == 0
    for number in range(2 * CACHED):
        rewritten(encode(b"version 2\n") + encode(b"agent=%d" % number) + FLUSH, service=UPLOAD)
    assert cached_v2.cache_info().currsize == CACHED


@pytest.mark.parametrize("wire", [FLUSH, SERVICE[UPLOAD] + FLUSH, encode(b"version 1\n") + FLUSH])
def test_empty_repository_is_a_flush(wire: bytes) -> None:
    """Older servers send nothing more."""
    assert rewritten(wire, service=UPLOAD) == wire


@pytest.mark.parametrize(
    "wire", [encode(b"ERR no\n"), encode(b"ERR no\n") + FLUSH, SERVICE[UPLOAD] + encode(b"ERR no")]
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_error_passes(wire: bytes, size: int) -> None:
    """Git prints it; some servers end it with a flush."""
    assert rewritten(wire, size, UPLOAD) == wire


GOOD = SERVICE[RECEIVE] + first(PUSH_CAPS) + REFS


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b"", Reason.FORGE_CUT),
        (GOOD[:-1], Reason.FORGE_CUT),
        (GOOD[:-4], Reason.FORGE_CUT),
        (GOOD[:-9], Reason.FORGE_CUT),
        (GOOD[:20], Reason.FORGE_CUT),
        (encode(b"ERR no\n")[:-1], Reason.FORGE_CUT),
        (encode(b"ERR no\n") + b"00", Reason.FORGE_CUT),
        (encode(b"version 2\n"), Reason.FORGE_CUT),
        (GOOD + b"0", Reason.FORGE_MALFORMED),
        (GOOD + FLUSH, Reason.FORGE_MALFORMED),
        (GOOD[:-4] + b"0001", Reason.FORGE_MALFORMED),
        (GOOD[:-4] + b"0004", Reason.FORGE_MALFORMED),
        (GOOD[:-4] + b"fff5", Reason.FORGE_MALFORMED),
        (GOOD[:-4] + b"+01fxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", Reason.FORGE_MALFORMED),
        (GOOD[:-4] + first(b"push-cert=x") + FLUSH, Reason.FORGE_MALFORMED),
        (encode(b"# service=git-upload-pack\n") + FLUSH + first(b"") + FLUSH, Reason.FORGE_MALFORMED),
        (encode(b"# service=git-receive-pack\n") + first(b"") + FLUSH, Reason.FORGE_MALFORMED),
        (SERVICE[RECEIVE] + SERVICE[RECEIVE] + first(b"") + FLUSH, Reason.FORGE_MALFORMED),
        (encode(b"version 3\n") + FLUSH, Reason.FORGE_MALFORMED),
        (encode(b"version 1\n") * 2 + FLUSH, Reason.FORGE_MALFORMED),
        (encode(b"version 1\n") + encode(b"version 2\n") + FLUSH, Reason.FORGE_MALFORMED),
        (encode(OID + b" refs/heads/x\n") + FLUSH, Reason.FORGE_MALFORMED),
        (first(b"a\x00b") + FLUSH, Reason.FORGE_MALFORMED),
        (first(b"a\nb") + FLUSH, Reason.FORGE_MALFORMED),
        (b"<html>", Reason.FORGE_MALFORMED),
        (encode(b"version 2\n") + encode(b"agent=x") * (MAX_V2_LINES + 1) + FLUSH, Reason.FORGE_MALFORMED),
        (encode(b"version 2\n") + b"0001", Reason.FORGE_MALFORMED),
        (encode(b"ERR no\n") + encode(b"x"), Reason.FORGE_MALFORMED),
        (encode(b"version 2\n") + FLUSH + FLUSH, Reason.FORGE_MALFORMED),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_malformed_advertisement_is_refused(wire: bytes, reason: Reason, size: int) -> None:
    """A cut, a login page, another service, data after the end."""
    assert rewritten(GOOD, size) == GOOD
    with pytest.raises(ResponseError) as caught:
        rewritten(wire, size)
    assert caught.value.reason is reason


def test_line_too_long_for_no_thin_is_refused() -> None:
    """It does not fit into a packet."""
    caps = b"a" * (MAX_PAYLOAD - len(OID) - len(b" refs/heads/main\x00\n"))
    assert rewritten(first(caps) + FLUSH) == first(caps) + FLUSH
    with pytest.raises(ResponseError, match="do not fit into a packet"):
        rewritten(first(caps) + FLUSH, no_thin=True)


def test_half_a_million_refs_cost_no_memory() -> None:
    """They pass in pieces of 64 KiB, and none is kept, even with long names."""
    line = encode(OID + b" refs/heads/feature/branch-with-a-name\n")
    block = line * 1000 + encode(OID + b" refs/heads/" + b"x" * 4000 + b"\n")
    rewriter = AdvertisementRewriter(RECEIVE)
    rewriter.receive(first(PUSH_CAPS + b" push-cert=x"))
    tracemalloc.start()
    passed = 0
    for _ in range(500):
        passed += sum(map(len, rewriter.receive(block)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert passed == 500 * len(block)
    assert peak < 64 * 1024
    assert rewriter.receive(FLUSH) == [FLUSH]
    rewriter.end()


names = st.from_regex(rb"refs/(heads|tags)/[a-z]{1,8}", fullmatch=True)
words = st.sampled_from(
    [b"report-status", b"delete-refs", b"push-cert=x", b"push-options", b"atomic", b"agent=x/1", b"bundle-uri"]
)


@given(st.lists(names, min_size=1, unique=True), st.lists(words, unique=True), st.integers(1, 50))
def test_dulwich_reads_the_same_refs(refs: list[bytes], caps: list[bytes], size: int) -> None:
    """The same refs, and the same capabilities without the removed ones."""
    lines = [encode(OID + b" " + ref + b"\n") for ref in refs[1:]]
    wire = first(b" ".join(caps), refs[0]) + b"".join(lines) + FLUSH
    before, after = (
        read_pkt_refs_v1(Protocol(BytesIO(data).read, lambda _: None).read_pkt_seq())
        for data in (wire, rewritten(wire, size))
    )
    assert after[0] == before[0]
    hidden = {b"push-cert=x", b"push-options", b"bundle-uri"}
    assert {word for word in after[1] if word} == {word for word in before[1] if word} - hidden


@given(st.binary(max_size=120), st.integers(1, 20), st.sampled_from([RECEIVE, UPLOAD]))
def test_any_bytes_pass_or_raise_response_error(data: bytes, size: int, service: str) -> None:
    """And what passes is complete."""
    with contextlib.suppress(ResponseError):
        rewritten(data, size, service)


HIDDEN = {b"push-cert", b"push-options", b"packfile-uris", b"bundle-uri", b"promisor-remote"}


def offered(wire: bytes) -> tuple[set[bytes], bytes]:
    """Return the words that an advertisement offers (of v2: keys and their values), and all that is not one of them."""
    packets = Protocol(BytesIO(wire).read, lambda _: None)
    first_lines = [line for line in packets.read_pkt_seq() if line != b"version 1\n"]
    if not first_lines:
        return set(), b""
    if first_lines[0] == b"version 2\n":
        return {word for line in first_lines[1:] for word in line.replace(b"=", b" ").split()}, b""
    refs, capabilities = read_pkt_refs_v1(iter(first_lines))
    return {word.partition(b"=")[0] for word in capabilities if word}, repr(refs).encode()


@pytest.mark.parametrize("version", ["0", "1", "2"])
@pytest.mark.parametrize("service", [RECEIVE, UPLOAD])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_advertisement_of_real_git_is_rewritten(tmp_path: Path, algorithm: str, service: str, version: str) -> None:
    """An empty repository and one with refs, with every capability that git can offer."""
    place = tmp_path / "x"
    person = ["-c", "user.name=x", "-c", "user.email=x@example"]
    settings = {
        "receive.advertisePushOptions": "true",
        "receive.certNonceSeed": "seed",
        "uploadpack.blobPackfileUri": f"{'1' * 40} {'2' * 40} https://elsewhere.example/x.pack",
        "uploadpack.advertiseBundleURIs": "true",
    }
    made = ["init", "-q", f"--object-format={algorithm}", "x"]
    for number, words in enumerate((made, ["commit", "-q", "--allow-empty", "-m", "x"])):
        subprocess.run(["git", *person, *words], cwd=place if number else tmp_path, check=True)
        for key, value in settings.items():
            subprocess.run(["git", "config", key, value], cwd=place, check=True)
        command = ["git", service.removeprefix("git-"), "--advertise-refs", str(place)]
        env = {**os.environ, "GIT_PROTOCOL": f"version={version}"}
        wire = subprocess.run(command, env=env, capture_output=True, check=True).stdout
        before, after = offered(wire), offered(rewritten(wire, 7, service, no_thin=True))
        added = {b"no-thin"} if service == RECEIVE else set()
        assert after == ((before[0] - HIDDEN) | added, before[1])
        assert rewritten(SERVICE[service] + wire, 7, service) == SERVICE[service] + rewritten(wire, 99, service)
        if (service, version) == (UPLOAD, "2"):
            assert b"packfile-uris" in before[0]
        if service == RECEIVE:
            assert {b"push-cert", b"push-options"} <= before[0]
