"""The file of a secret: new, closed from its first moment, or not there."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from credgate.cli.output import CommandError
from credgate.cli.tokenfile import TokenFile

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_closed_before_it_holds_anything(tmp_path: Path) -> None:
    """And it is gone if nothing came to be written."""
    with TokenFile(tmp_path / "token") as file:
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o400
    assert not file.path.exists()
    with TokenFile(tmp_path / "token") as file:
        file.write("T", "S")
    assert file.path.read_text() == "T:S\n"


@pytest.mark.parametrize("place", ["there", "link", "no/such/place"])
def test_nothing_is_written_through(tmp_path: Path, place: str) -> None:
    """A file, a link to nothing, a folder that is not there."""
    (tmp_path / "there").touch()
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(CommandError, match=r"there already|cannot be made"), TokenFile(tmp_path / place):
        pass
    assert not (tmp_path / "elsewhere").exists()
