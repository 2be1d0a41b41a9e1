"""Lines are linked by their digests."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.audit.chain import Head, Link, digest, numbered

BODIES = st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers(), min_size=1, max_size=4)


def test_line_contains_the_digest_of_the_previous_line() -> None:
    """The digest is that of ``sha256sum``."""
    first, link = Link().next(b'{"a":1}')
    second, last = link.next(b'{"a":2}')
    assert json.loads(first) == {"a": 1, "seq": 1, "prev": "0" * 64}
    assert json.loads(second) == {"a": 2, "seq": 2, "prev": hashlib.sha256(first).hexdigest()}
    assert last == Link(2, digest(second))


@given(BODIES, st.integers(min_value=0, max_value=10**17))
def test_number_and_digest_are_read_back(body: dict[str, str | int], seq: int) -> None:
    """Even if the event contains similar text."""
    before = Link(seq, "ab" * 32)
    line, link = before.next(json.dumps(body, separators=(",", ":")).encode())
    assert numbered(line) == (seq + 1, before.digest)
    assert link.seq == seq + 1
    assert {**json.loads(line), "seq": 0, "prev": ""} == {**body, "seq": 0, "prev": ""}


@pytest.mark.parametrize("line", [b"", b"{}", b'{"a":1}', b'{"a":1,"seq":0,"prev":"%s"}' % (b"0" * 64), b'"seq":1'])
def test_other_lines_have_no_number(line: bytes) -> None:
    """Fragments, and what a gateway without a chain wrote."""
    assert numbered(line) is None


def test_incomplete_line_is_covered_by_the_next() -> None:
    """It cannot be changed without breaking the chain."""
    _, link = Link().next(b'{"a":1}')
    assert link.over(b'{"a":') == Link(1, digest(b'{"a":'))


@given(st.integers(0, 10**19), st.integers(1, 10**19))
def test_head_has_a_fixed_length(seq: int, first: int) -> None:
    """It overwrites the previous one."""
    head = Head(Link(seq, "cd" * 32), first)
    assert len(head.encode()) == 107
    assert Head.parse(head.encode()) == head


@pytest.mark.parametrize("text", [b"", b"1 2 3\n", Head(Link()).encode()[:-1], Head(Link()).encode() * 2])
def test_invalid_head_is_not_read(text: bytes) -> None:
    """Half a head is none."""
    assert Head.parse(text) is None
