"""Which LFS request is this: every endpoint beside what looks like it, and the one query that is decoded."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.lfs.reading import printable
from credgate.lfs.target import MAX_VALUE, Call, Endpoint, LfsRequest, endpoint, read_query
from credgate.values import Access, RepoPath

HANDLE = "aZ0_-" * 8 + "abc"
READ, WRITE = Access.READ, Access.WRITE


@pytest.mark.parametrize(
    ("method", "rest", "expected"),
    [
        ("POST", "/objects/batch", Endpoint(Call.BATCH, READ, "info/lfs/objects/batch")),
        ("GET", "/locks", Endpoint(Call.LOCKS, READ, "info/lfs/locks")),
        ("GET", "/locks?", Endpoint(Call.LOCKS, READ, "info/lfs/locks")),
        ("GET", "/locks?limit=5", Endpoint(Call.LOCKS, READ, "info/lfs/locks?limit=5")),
        ("POST", "/locks", Endpoint(Call.LOCK, WRITE, "info/lfs/locks")),
        ("POST", "/locks/verify", Endpoint(Call.VERIFY_LOCKS, WRITE, "info/lfs/locks/verify")),
        ("POST", "/locks/12-a.b/unlock", Endpoint(Call.UNLOCK, WRITE, "info/lfs/locks/12-a.b/unlock")),
        ("GET", f"/_x/{HANDLE}", Endpoint(Call.DOWNLOAD, READ, "", HANDLE)),
        ("PUT", f"/_x/{HANDLE}", Endpoint(Call.UPLOAD, WRITE, "", HANDLE)),
        ("POST", f"/_x/{HANDLE}", Endpoint(Call.VERIFY, WRITE, "", HANDLE)),
    ],
)
def test_served_paths(method: str, rest: str, expected: Endpoint) -> None:
    """Method and path say what it is and what access it needs; nothing else does."""
    assert endpoint(method.encode(), rest.encode()) == expected


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", "/objects/batch"), ("PUT", "/objects/batch"), ("HEAD", f"/_x/{HANDLE}"), ("DELETE", f"/_x/{HANDLE}"),
        ("GET", "/locks/verify"), ("GET", "/locks/1/unlock"), ("DELETE", "/locks"), ("POST", "/locks?path=a"),
        ("PATCH", "/locks"), ("HEAD", "/locks"),
    ],
)  # fmt: skip
def test_other_method_is_distinguished_from_an_unknown_path(method: str, rest: str) -> None:
    """It is there, but not so."""
    assert endpoint(method.encode(), rest.encode()) is True


@pytest.mark.parametrize(
    "rest",
    [
        "", "/", "/objects", "/objects/batch/", "/objects/batch?x=1", "/Objects/batch", "/_x/", f"/_x/{HANDLE}x",
        f"/_x/{HANDLE[1:]}", f"/_x/{HANDLE}/", f"/_x/{HANDLE}?x", "/_x/" + "é" * 43, "/_x/" + "." * 43, "/locks/",
        "/locks/1", "/locks//unlock", "/locks/../unlock", "/locks/./unlock", "/locks/a/b/unlock", "/locks/1/unlock/",
        "/locks/" + "1" * 129 + "/unlock", "/locks/%31/unlock", "/objects/" + "0" * 64, "/verify", "?path=a",
    ],
)  # fmt: skip
def test_other_paths_are_unknown(rest: str) -> None:
    """Whatever the method."""
    for method in (b"GET", b"PUT", b"POST"):
        assert endpoint(method, rest.encode()) is False


@pytest.mark.parametrize(
    ("query", "written"),
    [
        ("path=a%2Fb", "?path=a%2Fb"),
        ("path=a/b", "?path=a%2Fb"),
        ("path=a+b%20c", "?path=a%20b%20c"),
        ("path=a%2bb", "?path=a%2Bb"),
        ("path=%C3%A9", "?path=%C3%A9"),
        ("path=%E3%80%80", "?path=%E3%80%80"),
        ("path=%25", "?path=%25"),
        ("path=%26id%3D1", "?path=%26id%3D1"),
        ("refspec=refs%2Fheads%2Fmain&limit=100&cursor=x&id=1&path=p", None),
        ("path=", ""),
        ("path=&limit=1", "?limit=1"),
        ("limit=999999", "?limit=999999"),
    ],
)
def test_a_query_is_written_anew(query: str, written: str | None) -> None:
    """In one order and one coding, whatever the client's; git-lfs escapes as Go does."""
    expected = "?path=p&id=1&cursor=x&limit=100&refspec=refs%2Fheads%2Fmain" if written is None else written
    assert read_query(query.encode()) == expected


@pytest.mark.parametrize(
    "query",
    [
        "path", "=a", "path=a&path=b", "path=a&", "&path=a", "path=a&&id=b", "x=1", "Path=a", "path=a=b", "path=%",
        "path=%2", "path=%2g", "path=%zz", "path=%00", "path=%0a", "path=%0D%0A", "path=%7f", "path=%1b%5b31m",
        "path=%c0%ae", "path=%ff", "path=%ed%a0%80", "path=%E2%80%AE", "path=%e2%80%a8", "limit=0", "limit=-1",
        "limit=1e3", "limit=01", "limit=1000000", "limit=%31%30%30%30%30%30%30", "path=" + "a" * (MAX_VALUE + 1),
        "owner=1", "path=a?b", "path=a;b", "path=a#b", "path=%u0061", "path=é",
    ],
)  # fmt: skip
def test_malformed_query_is_refused(query: str) -> None:
    """Controls, bad coding, keys twice or unknown: two readers would read it differently."""
    assert read_query(query.encode()) is None
    assert endpoint(b"GET", b"/locks?" + query.encode()) is False


@given(st.fixed_dictionaries({}, optional={key: st.text(max_size=40) for key in ("path", "id", "cursor", "refspec")}))
def test_query_escaped_by_go_is_decoded(values: dict[str, str]) -> None:
    """Python's own encoder writes it, Python's own parser reads what comes out."""
    wanted = {key: value for key, value in values.items() if value}
    try:
        query = urlencode(values).encode()
    except UnicodeEncodeError:
        return
    written = read_query(query)
    if all(printable(value) and len(value.encode()) <= MAX_VALUE for value in wanted.values()):
        assert written is not None
        assert dict(parse_qsl(written[1:], strict_parsing=bool(written))) == wanted
    else:
        assert written is None


@given(st.sampled_from([b"GET", b"POST", b"PUT", b"x"]), st.binary(max_size=80))
def test_any_input_is_routed_without_an_exception(method: bytes, rest: bytes) -> None:
    """Whatever comes has an answer."""
    found = endpoint(method, b"/locks?" + rest)
    assert isinstance(found, bool) or found.tail.isascii()
    assert endpoint(method, rest) in {True, False} or rest in {b"/locks", b"/locks?"}


def test_calls_with_a_json_body() -> None:
    """The list of locks has no body, and objects are bytes."""
    bodies = {
        call for call in Call if LfsRequest(RepoPath("f", "a/b"), call, READ, "", dot_git=True, place="/").takes_json
    }
    assert bodies == set(Call) - {Call.LOCKS, Call.DOWNLOAD, Call.UPLOAD}


def test_repr_has_no_handle() -> None:
    """It is a key to an object, for the session that has it."""
    assert HANDLE not in repr(Endpoint(Call.DOWNLOAD, READ, "", HANDLE))
    made = LfsRequest(RepoPath("f", "a/b"), Call.DOWNLOAD, READ, "", dot_git=True, place="/", handle=HANDLE)
    assert HANDLE not in repr(made)
