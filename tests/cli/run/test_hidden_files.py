"""Which mounts hide the files of a configuration (what they do: ``tests/e2e/test_run_isolated.py``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from credgate.cli.output import CommandError
from credgate.cli.run import hidden_files
from credgate.config.named import Named

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make a project with a public and a private directory, and files in them."""
    for name, mode in (("public", 0o755), ("private", 0o700), ("project", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
        (tmp_path / name / "token").write_text("secret")
    return tmp_path


def steps(place: Path, *secrets: str, others: str = "", own: str = "") -> list[tuple[str, str]]:
    """Return the steps for these files, with paths below the place."""
    kinds = [tuple(place / name for name in names.split()) for names in (others, own)]
    named = Named(frozenset(), tuple(place / name for name in secrets), *kinds)
    return [(kind, os.path.relpath(path, place)) for kind, path in hidden_files.concealed(named, [place / "project"])]


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("public/token", [("nothing", "public/token")]),
        ("private/token", [("empty", "private")]),
        ("project/token", [("nothing", "project/token")]),
    ],
)
def test_a_private_directory_is_hidden_whole(place: Path, secret: str, expected: list[tuple[str, str]]) -> None:
    """But for one that holds what the command needs: there, and in a public one, the file alone is."""
    assert steps(place, secret) == expected
    assert steps(place, others=secret) == expected


def test_a_link_is_hidden_where_it_lies_and_where_it_leads(place: Path) -> None:
    """Another link may be put there, another file here."""
    (place / "links").mkdir(mode=0o700)
    (place / "links" / "token").symlink_to(place / "public" / "token")
    assert steps(place, "links/token") == [("empty", "links"), ("nothing", "public/token")]
    (place / "directory").symlink_to(place / "private")
    assert steps(place, "directory/token") == [("empty", "private")]


def test_files_that_belong_to_one_of_ours_are_hidden_with_it(place: Path) -> None:
    """Rotated and temporary ones; a file that happens to begin like it is another's."""
    for name in ("token.1", "token-wal", "tokens"):
        (place / "public" / name).touch()
    assert sorted(path for _, path in steps(place, own="public/token")) == [
        *("public/token", "public/token-wal", "public/token.1")
    ]
    assert steps(place, own="gone/x public/gone", others="public/gone") == []


def test_a_private_directory_among_a_command_s_arguments_is_hidden(place: Path) -> None:
    """Not one that is open to everybody, nor one that holds what is needed."""
    assert steps(place, others="private") == [("empty", "private")]
    assert steps(place, others="public / project") == steps(place, others=str(place)) == []


def test_a_secret_that_cannot_be_hidden_is_refused(place: Path) -> None:
    """One that is not there, and one that has another name; what is no secret may be missing."""
    with pytest.raises(CommandError, match=r"cannot hide .*/gone: No such file") as caught:
        steps(place, "public/gone")
    assert caught.value.status == 2
    os.link(place / "public" / "token", place / "second")
    with pytest.raises(CommandError, match=r"cannot hide .*/public/token: it has 2 names"):
        steps(place, "public/token")
    assert steps(place, others="public/token") == [("nothing", "public/token")]
