"""What people read when the forge said no: true for any forge, one line, no byte of the forge's."""

from __future__ import annotations

import pytest

from credgate.config.schema import ForgeConfig
from credgate.config.structure import KINDS
from credgate.forges.registry import driver_for
from credgate.forges.sentences import COMMON, MAX_WORDS, Words, sentence
from credgate.refusal_text import MAX_REASON, named
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
        (503, Access.READ, "f answered 503: the forge reports an internal error; try again later"),
        (500, Access.READ, "f answered 500: the forge reports an internal error; try again later"),
        (499, Access.READ, "f answered 499: it did not accept the request that credgate relayed"),
        (418, Access.READ, "f answered 418: it did not accept the request that credgate relayed"),
    ],
)  # fmt: skip
def test_the_words(status: int, access: Access, expected: str) -> None:
    """The words are what agents act on: they tell the stored credential from the session's, and what to do."""
    assert sentence("f", status, access) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_line_that_git_shows_whole(kind: str) -> None:
    """Git is sent 200 bytes: what a person can do stands at the end of the sentence and must not be cut off."""
    name = "f" * 35
    driver = driver_for(ForgeConfig(name, kind, "https://git.example"))
    for status in range(200, 600):
        for access in Access:
            text = driver.sentence(status, access)
            assert text.startswith(f"{name} answered {status}: ")
            assert len(text.partition(": ")[2]) <= MAX_WORDS
            assert named(text).decode() == f"credgate: {text}"
            assert len(named(text)) <= MAX_REASON
            assert text.isascii()


def test_a_kind_overrides_the_common_words() -> None:
    """For the access that was needed, then for the status, then anybody's; a class's own words stand for the class."""
    own: Words = {(403, Access.WRITE): "one", 404: "two", 500: "three", 400: "four"}
    asked = [(403, Access.WRITE), (403, Access.READ), (404, Access.WRITE), (451, Access.READ), (599, Access.READ)]
    words = [sentence("f", status, access, own).partition(": ")[2] for status, access in [*asked, (418, Access.READ)]]
    assert words == ["one", COMMON[403, Access.READ], "two", COMMON[451], "three", "four"]
