"""What every room speaks of: codes that operators alert on, access that includes, paths that compare."""

from __future__ import annotations

import re

import pytest

from credgate.values import Access, Decision, Reason, RepoPath

READ, WRITE = Access.READ, Access.WRITE


def test_a_reason_code_is_a_word_for_label_and_line() -> None:
    """It stands in audit lines, in metrics and in alert rules: no code needs quoting, and no two are alike."""
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in Reason)
    assert len({code.value for code in Reason}) == len(Reason.__members__)


@pytest.mark.parametrize(
    ("held", "needed", "enough"),
    [(READ, READ, True), (READ, WRITE, False), (WRITE, READ, True), (WRITE, WRITE, True)],
)
def test_write_includes_read_and_not_the_reverse(held: Access, needed: Access, *, enough: bool) -> None:
    """The whole table, since a push depends on one cell of it."""
    assert held.covers(needed) is enough


def test_a_repository_is_its_forge_and_its_path() -> None:
    """The same path elsewhere is another repository; people read both."""
    here = RepoPath("github.com", "octo/hello")
    assert str(here) == "github.com/octo/hello"
    assert here == RepoPath("github.com", "octo/hello")
    assert len({here, RepoPath("lab", "octo/hello"), RepoPath("github.com", "octo/other")}) == 3


def test_a_decision_cannot_be_turned_round() -> None:
    """What a rule said is what is carried out, and what is written down."""
    denied = Decision(allow=False, reason=Reason.READ_ONLY)
    with pytest.raises(AttributeError):
        denied.allow = True  # type: ignore[misc]
    assert (denied.rule, denied.text) == ("", "")
