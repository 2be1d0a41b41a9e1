"""An object on its way: nothing whole passes that is not the object."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.lfs.object_verifier import ObjectVerifier
from credgate.lfs.refusals import LfsError
from credgate.values import Reason

CONTENT = b"content of an object"
OID = hashlib.sha256(CONTENT).hexdigest()


def refusal(passing: ObjectVerifier, *pieces: bytes) -> str:
    """Feed it and end it; the text of its refusal."""

    def feed() -> None:
        for piece in pieces:
            passing.take([piece])
        passing.end()

    with pytest.raises(LfsError) as caught:
        feed()
    assert (caught.value.reason, caught.value.status) == (Reason.LFS_MISMATCH, 422)
    return str(caught.value)


@given(st.lists(st.integers(0, len(CONTENT))))
def test_correct_bytes_pass_in_any_pieces(cuts: list[int]) -> None:
    """All of them, in their order."""
    places = [0, *sorted(cuts), len(CONTENT)]
    pieces = [CONTENT[start:end] for start, end in pairwise(places)]
    passing = ObjectVerifier(len(CONTENT), OID)
    passed = [part for piece in pieces for part in passing.take([piece])]
    passing.end()
    assert b"".join(passed) == CONTENT
    assert passing.done


def test_wrong_byte_holds_back_the_last_piece() -> None:
    """The receiver never has a complete object of that name."""
    passing = ObjectVerifier(len(CONTENT), OID)
    assert passing.take([b"X" + CONTENT[1:-1]])
    with pytest.raises(LfsError, match="do not match the object's digest"):
        passing.take([CONTENT[-1:]])
    assert not passing.done


def test_wrong_size_is_refused() -> None:
    """The texts differ."""
    assert "more bytes than the object has" in refusal(ObjectVerifier(len(CONTENT), OID), CONTENT, b"x")
    assert "more bytes than the object has" in refusal(ObjectVerifier(len(CONTENT), OID), CONTENT + b"x")
    assert "are missing" in refusal(ObjectVerifier(len(CONTENT), OID), CONTENT[:-1])
    assert "are missing" in refusal(ObjectVerifier(len(CONTENT), OID))


def test_part_of_an_object_is_verified_by_size_only() -> None:
    """What the whole hashes to, git-lfs finds out itself."""
    passing = ObjectVerifier(4, "")
    assert passing.take([b"any", b"4"]) == [b"any", b"4"]
    passing.end()
    assert "more bytes than the object has" in refusal(ObjectVerifier(4, ""), b"12345")


def test_empty_object_is_verified() -> None:
    """It is one object, and no other has its name."""
    passing = ObjectVerifier(0, hashlib.sha256().hexdigest())
    passing.end()
    assert passing.done
    assert "do not match" in refusal(ObjectVerifier(0, OID))
