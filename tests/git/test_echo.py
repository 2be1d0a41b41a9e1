"""A forge's words that repeat its credential are found, in every dress that the canary knows; names are not."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.git.echo import PIECE, echoes

SECRET = "ghp_q7Zr1xT5bK9mW3vN8cJ2hL6fD4sG0pYaEuRi"
DRESSES = {
    "plain": SECRET,
    "folded": SECRET.lower(),
    "upper": SECRET.upper(),
    "a piece": f"x-{SECRET[7 : 7 + PIECE]}-x",
    "the last piece": SECRET[-PIECE:],
    "reversed": SECRET[::-1],
    "hexadecimal": SECRET.encode().hex(),
    "the login": base64.b64encode(f"x-access-token:{SECRET}".encode()).decode(),
    "urlsafe": base64.urlsafe_b64encode(b"?" + SECRET.encode()).decode(),
    "folded base64": base64.b64encode(b"xx" + SECRET.encode()).decode().lower(),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_a_repetition_is_found(dress: str) -> None:
    """In the middle of a name, too, and folded as GitHub folds names."""
    assert echoes(SECRET, DRESSES[dress])
    assert echoes(SECRET, f"octo/{DRESSES[dress]}.git")


@pytest.mark.parametrize("text", ["", "octo/hello", "octo/ghp_", SECRET[: PIECE - 1], SECRET[::2], "a" * 255])
def test_an_honest_name_is_none(text: str) -> None:
    """Else no rename could be named."""
    assert not echoes(SECRET, text)


def test_a_short_credential_counts_as_a_whole() -> None:
    """And no credential is in nothing."""
    assert echoes("hunter2", "octo/Hunter2x")
    assert not echoes("hunter2", "octo/hunter")
    assert not echoes("", "octo/hello")


@given(st.text(min_size=PIECE, max_size=60), st.integers(0, 2), st.data())
def test_any_piece_is_found_in_base64_at_any_offset(secret: str, offset: int, data: st.DataObject) -> None:
    """Alignment is the forge's choice."""
    start = data.draw(st.integers(0, len(secret) - PIECE))
    piece = secret[start : start + PIECE].encode()
    assert echoes(secret, base64.b64encode(b"x" * offset + piece + b"yy").decode())
