"""What people read when the forge said no: true for any forge, one line, no byte of the forge's."""

from __future__ import annotations

import pytest

from credgate.forges.sentences import sentence
from credgate.values import Access


@pytest.mark.parametrize("status", range(400, 600))
@pytest.mark.parametrize("access", list(Access))
def test_every_error_status_has_a_line(status: int, access: Access) -> None:
    """No status may leave the user with git's bare "RPC failed": each says who answered and what."""
    text = sentence("github.com", status, access)
    assert text.startswith(f"github.com answered {status}: ")
    assert text.isprintable()
    assert len(text.encode()) < 180


@pytest.mark.parametrize(
    ("status", "access", "expected"),
    [
        (401, Access.READ, ("f answered 401: it refused credgate's stored credential; "
         "ask the operator of this gateway to renew it")),
        (403, Access.READ, ("f answered 403: credgate's credential may not read this repository; "
         "ask the operator of this gateway")),
        (403, Access.WRITE, ("f answered 403: credgate's credential may not write to this repository; "
         "ask the operator of this gateway")),
        (404, Access.READ, "f answered 404: no such repository, or credgate's credential may not read it"),
        (429, Access.READ, "f answered 429: it limits credgate's requests; try again later"),
        (503, Access.READ, "f answered 503: the forge has trouble of its own; try again later"),
        (418, Access.READ, "f answered 418: it did not accept the request that credgate relayed"),
    ],
)  # fmt: skip
def test_the_words(status: int, access: Access, expected: str) -> None:
    """The words are what agents act on: they tell the stored credential from the session's, and what to do."""
    assert sentence("f", status, access) == expected
