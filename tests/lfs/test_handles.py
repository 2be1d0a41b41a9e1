"""Handles: good for what they were given for, bounded, and gone without harm."""

from __future__ import annotations

from itertools import count

import pytest
from attrs import evolve

from credgate.config.schema import ForgeConfig
from credgate.forges.registry import driver_for
from credgate.lfs.handles import Action, Handles
from credgate.lfs.hrefs import read_href
from credgate.lfs.target import Call
from credgate.values import RepoPath

HERE, THERE = RepoPath("github.com", "octo/hello"), RepoPath("github.com", "octo/other")
HREF = read_href(
    "https://github.com/a?sig=secret-signature", driver_for(ForgeConfig("github.com", "github", "https://github.com"))
)
ACTION = Action(
    "s-1", HERE, Call.DOWNLOAD, "0" * 64, 5, HREF, ((b"Authorization", b"secret-login"),), False, False, 100.0  # noqa: FBT003
)  # fmt: skip


def table(**limits: int) -> Handles:
    """Make one whose handles are numbers."""
    numbers = count(1)
    return Handles(lambda: f"h{next(numbers)}", **limits)


def test_handle_is_found_only_for_its_session_repository_and_method() -> None:
    """Session, repository and method, all three; and not when its time is over."""
    handles = table()
    handle = handles.give(ACTION).name
    assert handles.find(handle, "s-1", HERE, Call.DOWNLOAD, 99.0) is ACTION
    assert handles.find(handle, "s-2", HERE, Call.DOWNLOAD, 99.0) is None
    assert handles.find(handle, "s-1", THERE, Call.DOWNLOAD, 99.0) is None
    assert handles.find(handle, "s-1", HERE, Call.UPLOAD, 99.0) is None
    assert handles.find("h0", "s-1", HERE, Call.DOWNLOAD, 99.0) is None
    assert handles.find(handle, "s-1", HERE, Call.DOWNLOAD, 99.0) is ACTION
    assert handles.find(handle, "s-1", HERE, Call.DOWNLOAD, 100.0) is None
    assert (len(handles), handles.held) == (0, 0)


def test_secret_of_a_handle_proves_its_session_for_that_handle_only() -> None:
    """Not with another handle's secret, for another repository or method, nor when its time is over."""
    handles = table()
    one, other = handles.give(ACTION), handles.give(evolve(ACTION, session="s-2"))
    assert handles.owner(one.name, one.secret, HERE, Call.DOWNLOAD, 99.0) == "s-1"
    assert handles.owner(other.name, other.secret, HERE, Call.DOWNLOAD, 99.0) == "s-2"
    assert handles.owner(one.name, other.secret, HERE, Call.DOWNLOAD, 99.0) is None
    assert handles.owner(one.name, one.name, HERE, Call.DOWNLOAD, 99.0) is None
    assert handles.owner("h0", one.secret, HERE, Call.DOWNLOAD, 99.0) is None
    assert handles.owner(one.name, one.secret, THERE, Call.DOWNLOAD, 99.0) is None
    assert handles.owner(one.name, one.secret, HERE, Call.UPLOAD, 99.0) is None
    assert handles.owner(one.name, one.secret, HERE, Call.DOWNLOAD, 100.0) is None
    handles.forget("s-1")
    assert handles.owner(one.name, one.secret, HERE, Call.DOWNLOAD, 99.0) is None
    assert list(handles._secrets) == [other.name]


def test_secret_of_a_handle_is_kept_as_a_digest() -> None:
    """A reader of the table cannot use the handles."""
    handles = table()
    given = handles.give(ACTION)
    assert given.secret.encode() not in handles._secrets.values()
    assert given.secret not in repr(given)


def test_oldest_handles_of_a_session_are_removed_first() -> None:
    """git-lfs asks for a new batch; another session's are not touched."""
    handles = table(session_bytes=3 * ACTION.cost)
    other = handles.give(evolve(ACTION, session="s-2")).name
    mine = [handles.give(ACTION).name for _ in range(5)]
    found = [handles.find(one, "s-1", HERE, Call.DOWNLOAD, 0.0) is not None for one in mine]
    assert found == [False, False, True, True, True]
    assert handles.find(other, "s-2", HERE, Call.DOWNLOAD, 0.0) is not None
    assert handles.held == 4 * ACTION.cost


def test_handles_of_all_sessions_are_bounded() -> None:
    """The oldest of all go first; the newest stays, however large."""
    handles = table(all_bytes=2 * ACTION.cost)
    made = [handles.give(evolve(ACTION, session=f"s-{number}")).name for number in range(4)]
    found = [handles.find(one, f"s-{at}", HERE, Call.DOWNLOAD, 0.0) is not None for at, one in enumerate(made)]
    assert found == [False, False, True, True]
    tiny = table(session_bytes=1, all_bytes=1)
    assert tiny.find(tiny.give(ACTION).name, "s-1", HERE, Call.DOWNLOAD, 0.0) is ACTION


def test_end_of_a_session_removes_its_handles() -> None:
    """Nothing of it is left, not even a count."""
    handles = table()
    handles.give(ACTION)
    kept = handles.give(evolve(ACTION, session="s-2")).name
    handles.forget("s-1")
    handles.forget("s-1")
    assert len(handles) == 1
    assert handles.find(kept, "s-2", HERE, Call.DOWNLOAD, 0.0) is not None
    assert handles.held == ACTION.cost
    assert list(handles._of) == list(handles._held) == ["s-2"]


@pytest.mark.parametrize("shown", [ACTION, table()])
def test_repr_has_no_part_of_a_link(shown: object) -> None:
    """A repr ends up in a log."""
    if isinstance(shown, Handles):
        shown.give(ACTION)
    assert "secret" not in repr(shown)
