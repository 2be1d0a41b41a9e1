"""The words that bubblewrap is told (what they do: ``tests/e2e/test_run.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from credgate.cli import isolate
from credgate.cli.output import Failed


def words(tmp_path: Path, *, share_terminal: bool = True) -> list[str]:
    """Return those for a project in a home with a netrc and ssh keys."""
    home, box = tmp_path / "home", tmp_path / "box"
    (home / "project").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / ".netrc").touch()
    hide = [tmp_path / "control", tmp_path / "nowhere"]
    hide[0].mkdir()
    return isolate.walls(
        "bwrap", box=box, cwd=home / "project", home=home, hide=hide, info_fd=5, share_terminal=share_terminal
    )


def test_what_is_emptied_stays_empty(tmp_path: Path) -> None:
    """Later words lie over earlier ones: the current directory first, then what is hidden, then the command's own."""
    told = words(tmp_path)
    order = [told.index(str(tmp_path / place)) for place in ("home/project", "control", "home/.ssh", "box")]
    assert order == sorted(order)
    assert told[told.index(str(tmp_path / "home" / ".netrc")) - 2 :][:2] == ["--ro-bind", "/dev/null"]
    assert str(tmp_path / "nowhere") not in told
    for place in isolate.EMPTIED:
        assert told[told.index(place) - 1] == "--tmpfs"


def test_the_walls_are_all_there(tmp_path: Path) -> None:
    """One word less would be a way out."""
    told = words(tmp_path)
    assert {"--unshare-net", "--unshare-pid", "--unshare-user", "--unshare-ipc", "--die-with-parent"} <= set(told)
    assert told[told.index("--cap-drop") + 1] == "ALL"
    assert told[-1] == "--"


def test_a_terminal_that_can_be_typed_into_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TIOCSTI: what is inside would give its caller's shell commands."""
    assert "--new-session" not in words(tmp_path / "a")
    assert "--new-session" in words(tmp_path / "b", share_terminal=False)
    setting = tmp_path / "legacy_tiocsti"
    monkeypatch.setattr(isolate, "_LEGACY_TIOCSTI", setting)
    assert not isolate.same_terminal()
    for text, shared in (("1\n", False), ("0\n", True)):
        setting.write_text(text)
        assert isolate.same_terminal() is shared


@pytest.mark.parametrize(("cwd", "refused"), [("/", True), ("/tmp", True), ("/var", True), ("/srv/x", False)])
def test_a_current_directory_that_holds_what_is_taken_away_is_refused(cwd: str, *, refused: bool) -> None:
    """Binding it writable would bring that back."""
    emptied = [Path(place) for place in isolate.EMPTIED]
    if refused:
        with pytest.raises(Failed, match="go to the project's own"):
            isolate.check_place(Path(cwd), emptied)
    else:
        isolate.check_place(Path(cwd), emptied)
