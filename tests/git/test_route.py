"""Routing: of thousands of spellings of one repository's targets, only the canonical ones reach it.

The oracle is a set of literal byte strings, written out here and never parsed: a spelling is admitted when the
repository that the router names is the granted one, and admitted must mean being in the set.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.git.route import GitRequest, Kind, Local, Refused, Route, route
from credgate.lfs.target import Call, LfsRequest
from credgate.values import Access, Reason, RepoPath

if TYPE_CHECKING:
    from credgate.forges.driver import Driver

DRIVERS: dict[str, Driver] = {
    "github.com": driver_for(ForgeConfig("github.com", "github", "https://github.com")),
    "lab": driver_for(ForgeConfig("lab", "generic", "https://lab.example/srv")),
}
GRANTED = {RepoPath("github.com", "octo/hello"), RepoPath("lab", "octo/hello")}
ENDPOINTS = {
    b"/info/refs?service=git-upload-pack": b"GET",
    b"/info/refs?service=git-receive-pack": b"GET",
    b"/git-upload-pack": b"POST",
    b"/git-receive-pack": b"POST",
}
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"get", b"")


def ask(method: bytes, target: bytes) -> Route:
    """Route as the gateway does with github.com as its default forge."""
    return route(method, target, DRIVERS, "github.com")


def cases(text: str) -> list[str]:
    """Every way to write ``text`` in upper and lower case."""
    return ["".join(letters) for letters in product(*({char.lower(), char.upper()} for char in text))]


FOLDED = [f"{owner}/{repo}" for owner, repo in product(cases("octo"), cases("hello"))]
CANONICAL = frozenset(
    f"{place}/{path}{suffix}".encode() + end
    for place, paths in (("/git", FOLDED), ("/forge/github.com", FOLDED), ("/forge/lab", ["octo/hello"]))
    for path in paths
    for suffix in ("", ".git")
    for end in ENDPOINTS
)
"""Every target that may reach ``octo/hello``: GitHub folds case, the other forge does not."""

# Text put before, after, into and in place of parts of valid targets (docs/attacks.md).
INSERTED = [
    b"/", b"//", b"/.", b"/./", b"/..", b"/../", b"..", b".", b"\\", b"\\..\\", b";", b";x", b"%", b"%00", b"%0a",
    b"%0d%0a", b"%20", b"%23", b"%25", b"%2e", b"%2E", b"%2e%2e", b"%2e%2e%2f", b"%252e", b"%252f", b"%2f", b"%2F",
    b"%3b", b"%3f", b"%5c", b"%c0%ae", b"%c0%af", b"%e0%80%af", b"%u002e", b"\x00", b"\t", b"\n", b"\r", b"\r\n",
    b" ", b"\x0b", b"\x0c", b"\x1b", b"\x7f", b"\x80", b"\xa0", b"\xc0\xae", b"\xc0\xaf", b"\xe2\x80\xa5",
    b"\xef\xbc\x8f", b"\xef\xbc\x8e", b"\xe2\x80\x8b", b"\xef\xbb\xbf", b"\xc2\xad", b"?", b"?x=1", b"&", b"#", b"#x",
    b"*", b"@", b":", b"|", b"<", b'"', b"'", b"^", b"`", b"{", b"~", b"+", b"-", b"_", b"!", b"$", b",", b"=",
    b".git", b".GIT", b".wiki", b".git/", b"-secret", b"0", b"x",
]  # fmt: skip
QUERIES = [
    b"", b"?", b"?service", b"?service=", b"?service=git-upload-pack&", b"?&service=git-upload-pack",
    b"?service=git-upload-pack&service=git-receive-pack", b"?service=git-receive-pack&service=git-upload-pack",
    b"?service=git-upload-pack&x=1", b"?x=1&service=git-upload-pack",
    b"?service=git-upload-pack;service=git-receive-pack", b"?service=git-upload-pack%26service=git-receive-pack",
    b"?service=git%2dupload-pack", b"?SERVICE=git-upload-pack", b"?Service=git-upload-pack",
    b"?service=GIT-UPLOAD-PACK", b"?service=git-upload-pack#", b"?service=git-upload-pack ",
    b"?service=git-upload-archive", b"?service=git-upload-pack/", b"??service=git-upload-pack",
    b"?service==git-upload-pack", b"?service=git-upload-pack\n", b"?service=+git-upload-pack",
    b"?service=upload-pack", b"?service[]=git-upload-pack",
]  # fmt: skip
SHAPES = [
    b"https://github.com/octo/hello/git-upload-pack", b"http://gw/git/octo/hello/git-upload-pack",
    b"//git/octo/hello/git-upload-pack", b"git/octo/hello/git-upload-pack", b"*", b"/", b"", b"/git", b"/git/",
    b"/git/octo", b"/git/octo/hello", b"/git/octo/hello/", b"/octo/hello/git-upload-pack",
    b"/GIT/octo/hello/git-upload-pack", b"/Git/octo/hello/git-upload-pack", b"/git/git/octo/hello/git-upload-pack",
    b"/forge/octo/hello/git-upload-pack", b"/forge//octo/hello/git-upload-pack", b"/forge/github.com",
    b"/forge/GITHUB.COM/octo/hello/git-upload-pack", b"/forge/LAB/octo/hello/git-upload-pack",
    b"/forge/github.com./octo/hello/git-upload-pack", b"/forge/github.com:443/octo/hello/git-upload-pack",
    b"/forge/../git/octo/hello/git-upload-pack", b"/forge/lab/../lab/octo/hello/git-upload-pack",
    b"/forge/lab/OCTO/hello/git-upload-pack", b"/forge/lab/octo/HELLO/git-upload-pack",
    b"/forge/lab/octo/hello.Git/git-upload-pack", b"/forge/lab/a/../octo/hello/git-upload-pack",
    b"/forge/lab/octo/hello/../hello/git-upload-pack", b"/git/octo/hello.git.git/git-upload-pack",
    b"/git/octo/hello/.git/git-upload-pack", b"/git/octo/hello.GIT/git-upload-pack",
    b"/git/octo.git/hello/git-upload-pack", b"/git/octo/hello.git/hello/git-upload-pack",
    b"/git/octo/hello.wiki.git/git-upload-pack", b"/git/octo/hello/git-upload-archive", b"/git/octo/hello/archive",
    b"/git/octo/hello/raw/main/x", b"/git/octo/hello/settings", b"/git/octo/hello/HEAD",
    b"/git/octo/hello/objects/info/packs", b"/git/octo/hello/objects/info/http-alternates",
    b"/git/octo/hello/info/lfs/objects/batch", b"/git/octo/hello/info/refs/",
    b"/git/octo/hello/INFO/refs?service=git-upload-pack", b"/git/octo/hello/info/REFS?service=git-upload-pack",
    b"/git/octo/hello/Git-Upload-Pack", b"/git/octo/hello/git-upload-pack/", b"/git/octo/hello/git-upload-pack?",
    b"/git/octo/hello/git-upload-pack?service=git-upload-pack", b"/api/v3/repos/octo/hello",
    b"/git/octo/hello/git-receive-pack/git-upload-pack", b"/git/octo/hello/info/refs/git-upload-pack",
]  # fmt: skip


def spellings() -> frozenset[bytes]:
    """Every hostile variation of the granted repository's targets."""
    bases = [b"/git/octo/hello", b"/git/octo/hello.git", b"/forge/lab/octo/hello", b"/forge/lab/octo/hello.git"]
    found = set(SHAPES)
    for base, end in product(bases, ENDPOINTS):
        whole = base + end
        # At every boundary of the target: ends, slashes, before the suffix, after the name.
        seams = sorted({0, len(whole), len(base)} | {at for at, byte in enumerate(whole) if byte in b"/.?=-"})
        found.update(whole[:at] + piece + whole[at:] for at, piece in product(seams, INSERTED))
        # Each byte of the target escaped once and twice, and with its high bit set.
        for at, byte in enumerate(whole):
            found.update(
                whole[:at] + b + whole[at + 1 :] for b in (b"%%%02x" % byte, b"%%25%02X" % byte, bytes([byte | 128]))
            )
    found.update(base + b"/info/refs" + query for base, query in product(bases, QUERIES))
    return frozenset(found)


def test_only_canonical_spellings_reach_the_granted_repository() -> None:
    """Another spelling could reach another tenant's code."""
    tried = spellings() | CANONICAL
    assert len(spellings() - CANONICAL) >= 2500
    reached = {
        target
        for target in tried
        for method in METHODS
        if isinstance(found := ask(method, target), GitRequest) and found.repo in GRANTED
    }
    assert reached == CANONICAL


def test_spelling_of_another_repository_is_routed_by_its_exact_name() -> None:
    """The upstream name is the one that was compared with the grants."""
    elsewhere = [
        (target, found)
        for target in sorted(spellings())
        for method in (b"GET", b"POST")
        if isinstance(found := ask(method, target), GitRequest) and found.repo not in GRANTED
    ]
    assert len(elsewhere) > 50
    for target, found in elsewhere:
        sent = DRIVERS[found.forge].path(found.repo.path, found.tail, dot_git=found.dot_git)
        assert b"%" not in target
        assert not {"", ".", "..", ".git"} & set(sent.split("?")[0].split("/")[1:])
        assert sent.count(".git/") <= 1


@pytest.mark.parametrize(("end", "method"), ENDPOINTS.items())
def test_each_endpoint_has_one_method(end: bytes, method: bytes) -> None:
    """The needed access follows from the path; a second method would be a second meaning."""
    for tried in METHODS:
        found = ask(tried, b"/git/octo/hello" + end)
        if tried == method:
            assert isinstance(found, GitRequest)
        else:
            assert isinstance(found, Refused)
            assert (found.decision.reason, found.status) == (Reason.METHOD_NOT_ALLOWED, 405)


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        (
            b"GET",
            b"/git/Octo/Hello.git/info/refs?service=git-upload-pack",
            GitRequest(
                forge="github.com", repo=RepoPath("github.com", "octo/hello"), service="git-upload-pack",
                kind=Kind.ADVERTISEMENT, needed=Access.READ, tail="info/refs?service=git-upload-pack", dot_git=True,
            ),
        ),
        (
            b"GET",
            b"/git/octo/hello/info/refs?service=git-receive-pack",
            GitRequest(
                forge="github.com", repo=RepoPath("github.com", "octo/hello"), service="git-receive-pack",
                kind=Kind.ADVERTISEMENT, needed=Access.WRITE, tail="info/refs?service=git-receive-pack", dot_git=False,
            ),
        ),
        (
            b"POST",
            b"/forge/lab/a/b/c/d.git/git-upload-pack",
            GitRequest(
                forge="lab", repo=RepoPath("lab", "a/b/c/d"), service="git-upload-pack",
                kind=Kind.UPLOAD_PACK, needed=Access.READ, tail="git-upload-pack", dot_git=True,
            ),
        ),
        (
            b"POST",
            b"/forge/github.com/octo/.github/git-receive-pack",
            GitRequest(
                forge="github.com", repo=RepoPath("github.com", "octo/.github"), service="git-receive-pack",
                kind=Kind.RECEIVE_PACK, needed=Access.WRITE, tail="git-receive-pack", dot_git=False,
            ),
        ),
        (b"GET", b"/health", Local("health")),
        (b"GET", b"/whoami", Local("whoami")),
    ],
)  # fmt: skip
def test_served_targets_are_routed(method: bytes, target: bytes, expected: Route) -> None:
    """Forge, repository, service, access; discovery of a push needs write access."""
    assert ask(method, target) == expected


@pytest.mark.parametrize(
    ("method", "target", "reason", "status"),
    [
        (b"GET", b"/", Reason.NOT_FOUND, 404),
        (b"GET", b"/health/", Reason.NOT_FOUND, 404),
        (b"GET", b"/health?x", Reason.NOT_FOUND, 404),
        (b"GET", b"/Health", Reason.NOT_FOUND, 404),
        (b"POST", b"/health", Reason.METHOD_NOT_ALLOWED, 405),
        (b"HEAD", b"/whoami", Reason.METHOD_NOT_ALLOWED, 405),
        (b"GET", b"/git/octo/hello/info/refs", Reason.DUMB_PROTOCOL, 404),
        (b"GET", b"/git/octo/hello/HEAD", Reason.DUMB_PROTOCOL, 404),
        (b"GET", b"/git/octo/hello.git/objects/info/packs", Reason.DUMB_PROTOCOL, 404),
        (b"GET", b"/forge/lab/a/objects/ab/cdef", Reason.DUMB_PROTOCOL, 404),
        (b"PROPFIND", b"/git/octo/hello/", Reason.METHOD_NOT_ALLOWED, 405),
        (b"PUT", b"/git/octo/hello/HEAD", Reason.METHOD_NOT_ALLOWED, 405),
        (b"GET", b"/git/octo/hello/info/lfs/objects/batch", Reason.METHOD_NOT_ALLOWED, 405),
        (b"POST", b"/git/octo/hello/info/lfs/objects/batch%2e", Reason.NOT_FOUND, 404),
        (b"POST", b"/git/octo/hello/info/lfs/objects/batch\x00", Reason.NOT_FOUND, 404),
        (b"POST", b"/git/octo/hello/info/lfs/objects/bulk", Reason.LFS_NOT_SERVED, 501),
        (b"GET", b"/git/octo/hello/info/lfs/locks?path=a&path=b", Reason.LFS_NOT_SERVED, 501),
        (b"POST", b"/git/octo/info/lfs/objects/batch", Reason.NOT_FOUND, 404),
        (b"POST", b"/forge/nobody/a/b/info/lfs/objects/batch", Reason.UNKNOWN_FORGE, 404),
        (b"PUT", b"/forge/lab/a/b/info/lfs", Reason.LFS_NOT_SERVED, 501),
        (b"POST", b"/git/octo/hello/git-upload-archive", Reason.NOT_FOUND, 404),
        (b"GET", b"/forge/nowhere/a/b/info/refs?service=git-upload-pack", Reason.UNKNOWN_FORGE, 404),
        (b"POST", b"/git/octo/git-upload-pack", Reason.NOT_FOUND, 404),
        (b"POST", b"/git/octo/hello/more/git-upload-pack", Reason.NOT_FOUND, 404),
    ],
)
def test_refused_targets_have_reason_and_text(method: bytes, target: bytes, reason: Reason, status: int) -> None:
    """Each with its own code, by the router, in one line."""
    found = ask(method, target)
    assert isinstance(found, Refused)
    assert (found.decision.allow, found.decision.rule) == (False, "route")
    assert (found.decision.reason, found.status) == (reason, status)
    assert found.decision.text.isprintable()
    assert 10 < len(found.decision.text) < 180


@pytest.mark.parametrize("suffix", [b"", b".git"])
def test_lfs_request_has_the_repository_in_normal_form(suffix: bytes) -> None:
    """Grants are compared with it; links in a batch's answer keep the client's spelling."""
    found = ask(b"POST", b"/git/Octo/Hello%b/info/lfs/objects/batch" % suffix)
    assert found == LfsRequest(
        RepoPath("github.com", "octo/hello"),
        Call.BATCH,
        Access.READ,
        "info/lfs/objects/batch",
        bool(suffix),
        f"/git/Octo/Hello{suffix.decode()}/info/lfs",
    )


def test_refusal_below_lfs_is_for_git_lfs() -> None:
    """It reads JSON only."""
    for method, tail in ((b"POST", b"/x"), (b"DELETE", b"/objects/batch")):
        found = ask(method, b"/git/octo/hello/info/lfs" + tail)
        assert isinstance(found, Refused)
        assert found.lfs


def test_default_forge_may_be_unconfigured() -> None:
    """Then nothing is served under ``/git``, but the named forges are."""
    only_lab = {"lab": DRIVERS["lab"]}
    found = route(b"POST", b"/git/octo/hello/git-upload-pack", only_lab, "github.com")
    assert isinstance(found, Refused)
    assert found.decision.reason is Reason.UNKNOWN_FORGE
    assert isinstance(route(b"POST", b"/forge/lab/octo/hello/git-upload-pack", only_lab, "github.com"), GitRequest)


def test_unknown_forge_is_refused_with_the_configured_names() -> None:
    """They come from the configuration, never from the target."""
    found = ask(b"POST", b"/forge/githup.com/octo/hello/git-upload-pack")
    assert isinstance(found, Refused)
    assert found.decision.text == "no forge of this name is configured in this gateway; configured: github.com, lab"
    assert found.sessions_only
    none = route(b"POST", b"/forge/lab/octo/hello/git-upload-pack", {}, "github.com")
    assert isinstance(none, Refused)
    assert none.decision.text.endswith("; configured: none")


@pytest.mark.parametrize("length", [1, 30, 63])
def test_list_of_forges_is_bounded(length: int) -> None:
    """Git cuts a line at 200 bytes; omitted names are counted."""
    names = [f"{number:0{length}}" for number in range(10)] + ["z" * 63 for _ in range(length > 1)]
    found = route(b"POST", b"/forge/y/octo/hello/git-upload-pack", dict.fromkeys(names, DRIVERS["lab"]), "y")
    assert isinstance(found, Refused)
    listed = found.decision.text.partition("; configured: ")[2].split(", ")
    shown = [name for name in listed if name in names]
    assert len(found.decision.text) < 190
    assert shown
    assert (listed[len(shown) :] or ["0 more"]) == [f"{len(names) - len(shown)} more"]


@pytest.mark.parametrize(("path", "shape"), [(b"/git/octo", "OWNER/REPO"), (b"/forge/lab/info/refs/x", "PATH/OF/REPO")])
def test_bad_name_is_refused_with_the_form_of_names(path: bytes, shape: str) -> None:
    """Each kind of forge has its own; only sessions see it."""
    found = ask(b"POST", path + b"/git-upload-pack")
    assert isinstance(found, Refused)
    assert f"write {shape}, with or without .git" in found.decision.text
    assert found.sessions_only


def test_content_type_of_a_request_follows_its_service() -> None:
    """``application/x-git-*-request`` is the one type that git sends (gitprotocol-http)."""
    found = ask(b"POST", b"/git/octo/hello/git-receive-pack")
    assert isinstance(found, GitRequest)
    assert found.request_type == b"application/x-git-receive-pack-request"


@given(st.sampled_from(METHODS), st.binary(max_size=60), st.sampled_from([b"", b"/git/", b"/forge/lab/"]))
def test_any_bytes_have_one_result_and_no_echo(method: bytes, tail: bytes, place: bytes) -> None:
    """No refusal repeats what the client sent."""
    found = ask(method, place + tail)
    if isinstance(found, Refused):
        assert len(tail) < 6 or tail.decode("latin-1") not in found.decision.text
    elif isinstance(found, GitRequest):
        assert place + tail == place + tail.strip()


@given(st.text(alphabet="ab/.gitGIT%2e\\~-", max_size=30), st.sampled_from(sorted(ENDPOINTS)))
def test_routed_path_is_the_sent_path(path: str, end: bytes) -> None:
    """The target without prefix and tail, up to one suffix."""
    found = ask(ENDPOINTS[end], b"/forge/lab/" + path.encode() + end)
    if isinstance(found, GitRequest):
        assert path == found.repo.path + (".git" if found.dot_git else "")


def test_longest_target_is_matched_in_linear_time() -> None:
    """16 KiB of path take a few steps for each byte."""
    assert isinstance(ask(b"GET", b"/git/" + b"a/" * 8000 + b"x"), Refused)
    assert isinstance(ask(b"GET", b"/git/" + b"a" * 16000 + b"/info/refs?service=git-upload-pack"), Refused)
    assert isinstance(ask(b"GET", b"/git/" + b"info/refs/" * 1600 + b"\n"), Refused)
