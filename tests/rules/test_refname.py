"""Ref names: whatever we take, git takes; what we refuse beyond git is written down."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.rules.refname import MAX_REF, breaks_lines, fault


def git_takes(ref: bytes) -> bool:
    """Ask git itself."""
    return subprocess.run([b"git", b"check-ref-format", ref], check=False).returncode == 0


GOOD = [
    b"refs/heads/main", b"refs/heads/agent/s-1/x", b"refs/tags/v1.0", b"refs/heads/a.b", b"refs/heads/@",
    b"refs/heads/a@b",
    b"refs/heads/-x", b"refs/heads/a{b}", b"refs/heads/\xc3\xa9", b"refs/heads/x.lockx", b"refs/for/main",
    b"refs/heads/HEAD",
    b"refs/heads/PACK", b"refs/heads/a'b\"c", b"refs/heads/%2e%2e", b"refs/heads/a;b",
    b"refs/heads/" + b"a" * (MAX_REF - 11),
]  # fmt: skip
BAD_FOR_GIT = [
    b"refs/heads/", b"refs/heads//x", b"refs/heads/x/", b"refs/heads/.x", b"refs/heads/x/.y", b"refs/.x/y",
    b"refs/heads/x..y",
    b"refs/heads/..", b"refs/heads/x.", b"refs/heads/x.lock", b"refs/heads/x.lock/y", b"refs/heads/x~1",
    b"refs/heads/x^",
    b"refs/heads/x:y", b"refs/heads/x?", b"refs/heads/*", b"refs/heads/x[y", b"refs/heads/x\\y", b"refs/heads/x@{y",
    b"refs/heads/x y", b"refs/heads/x\ty", b"refs/heads/x\ny", b"refs/heads/x\x7f", b"refs/heads/x\x01",
    b"/refs/heads/x", b"",
    b"HEAD", b"main", b"@",
]  # fmt: skip
BAD_FOR_US = [
    b"refs/x", b"heads/main", b"xrefs/heads/main", b"REFS/heads/main", b"refs/heads/\xff",
    b"refs/heads/" + b"a" * MAX_REF,
    b"refs/heads/\xed\xa0\x80",
]  # fmt: skip


@pytest.mark.parametrize("ref", GOOD)
def test_a_good_name(ref: bytes) -> None:
    """The positive controls, strange ones included: a name is bytes, nothing is decoded."""
    assert git_takes(ref)
    assert fault(ref) is None


@pytest.mark.parametrize("ref", BAD_FOR_GIT)
def test_what_git_refuses_is_refused(ref: bytes) -> None:
    """Each rule of git check-ref-format once."""
    assert not git_takes(ref)
    assert fault(ref) is not None


@pytest.mark.parametrize("ref", BAD_FOR_US)
def test_what_only_we_refuse(ref: bytes) -> None:
    """Names outside refs/, one-level names, other encodings, endless ones: legal to git, of no use to a session."""
    assert git_takes(ref)
    assert fault(ref) is not None


@given(
    st.lists(st.sampled_from([*b"a.@{~^:?*[\\/ \x7f\x1f\xc3\xa9", 0x2E, 0x2F]), max_size=12).map(bytes)
    | st.binary(max_size=8)
)
def test_git_takes_every_name_that_we_take(tail: bytes) -> None:
    """If git and we disagreed, a rule would be judged on one ref and another would move."""
    ref = b"refs/heads/" + tail
    if fault(ref) is None:
        assert git_takes(ref)


@pytest.mark.parametrize("byte", range(256))
def test_bytes_that_break_a_report_line(byte: int) -> None:
    """A report is lines of words: blanks and control bytes in a name would forge one."""
    assert breaks_lines(b"refs/heads/x%cy" % byte) == (byte <= 0x20 or byte == 0x7F)
