"""The walls, and who is told to build them (what they do: ``tests/e2e/test_run.py``)."""

from __future__ import annotations

import json
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from credgate.cli import isolate
from credgate.cli.output import Failed


def walls(tmp_path: Path, *, share_terminal: bool = True) -> isolate.Walls:
    """Return those for a project in a home with a netrc and ssh keys."""
    home, box = tmp_path / "home", tmp_path / "box"
    (home / "project").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / ".netrc").touch()
    hide = [tmp_path / "control", tmp_path / "nowhere"]
    hide[0].mkdir()
    return isolate.walls(box=box, cwd=home / "project", home=home, hide=hide, share_terminal=share_terminal)


def test_what_is_emptied_stays_empty(tmp_path: Path) -> None:
    """Later steps lie over earlier ones: the current directory first, then what is hidden, then the command's own."""
    steps = walls(tmp_path).steps
    places = [place for _, place in steps]
    order = [places.index(str(tmp_path / place)) for place in ("home/project", "control", "home/.ssh", "box")]
    assert order == sorted(order)
    assert ("nothing", str(tmp_path / "home" / ".netrc")) in steps
    assert str(tmp_path / "nowhere") not in places
    assert [place for kind, place in steps if kind == "write"] == [
        str(tmp_path / one) for one in ("home/project", "box")
    ]
    assert {("empty", place) for place in isolate.EMPTIED} <= set(steps)
    assert ("read", "/proc/sys") in steps


def test_bubblewrap_is_told_all_of_it(tmp_path: Path) -> None:
    """One word less would be a way out."""
    told = isolate.bubblewrap("bwrap", walls(tmp_path))
    assert {"--unshare-net", "--unshare-pid", "--unshare-user", "--unshare-ipc", "--die-with-parent"} <= set(told)
    assert told[told.index("--cap-drop") + 1] == "ALL"
    assert told[told.index(str(tmp_path / "home" / ".netrc")) - 2 :][:2] == ["--ro-bind", "/dev/null"]
    assert told[told.index("/run") - 1] == "--tmpfs"
    assert told[-1] == "--"


def test_unshare_is_told_all_of_it(tmp_path: Path) -> None:
    """The namespaces are its own words, the rest is what ``walled`` is given."""
    told = isolate.unshare("unshare", walls(tmp_path))
    assert {"--net", "--pid", "--ipc", "--mount", "--kill-child", "--user", "--keep-caps"} <= set(told)
    assert json.loads(told[-1])["cwd"] == str(tmp_path / "home" / "project")
    assert "--user" not in isolate.unshare("unshare", walls(tmp_path / "root"), user=False)


def test_a_terminal_that_can_be_typed_into_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TIOCSTI: what is inside would give its caller's shell commands."""
    assert "--new-session" not in isolate.bubblewrap("bwrap", walls(tmp_path / "a"))
    assert "--new-session" in isolate.bubblewrap("bwrap", walls(tmp_path / "b", share_terminal=False))
    setting = tmp_path / "legacy_tiocsti"
    monkeypatch.setattr(isolate, "_LEGACY_TIOCSTI", setting)
    assert not isolate.same_terminal()
    for text, shared in (("1\n", False), ("0\n", True)):
        setting.write_text(text)
        assert isolate.same_terminal() is shared


FAILS = '#!/bin/sh\necho "$(basename $0): not for you" >&2\nexit 1\n'


def programs(tmp_path: Path, **scripts: str) -> str:
    """Make programs; the PATH on which nothing else lies but ``true`` and what they need."""
    for name, script in scripts.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    for name in ("true", "basename"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    return str(tmp_path)


def test_who_may_not_build_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bubblewrap first; unshare where that may not make namespaces."""
    tried = isolate.Walls((), "/", own_session=False)
    path = programs(tmp_path, bwrap="#!/bin/sh\nexit 0\n", unshare="#!/bin/sh\nexit 0\n")
    monkeypatch.setenv("PATH", path)
    assert isolate.builder(tried)(tried)[0] == f"{path}/bwrap"
    (tmp_path / "bwrap").write_text(FAILS)
    assert isolate.builder(tried)(tried)[0] == f"{path}/unshare"


def test_what_each_says_is_told_when_none_may_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, which names both packages."""
    tried = isolate.Walls((), "/", own_session=False)
    monkeypatch.setenv("PATH", programs(tmp_path, unshare=FAILS))
    with pytest.raises(Failed) as caught:
        isolate.builder(tried)
    text = caught.value.format_message()
    assert text.startswith("--isolate needs bubblewrap or util-linux, and to make namespaces: ")
    assert "bwrap is not here (apt-get install bubblewrap); unshare: not for you" in text


def test_sockets_are_found_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there, once each; blanks in a path are the path's. What lies in an emptied place needs nothing."""
    monkeypatch.setattr(isolate, "EMPTIED", (str(tmp_path / "run"),))
    (tmp_path / "run").mkdir()
    head = "Num       RefCount Protocol Flags    Type St Inode Path\n"
    line = "00000000b97ebf17: 00000002 00000000 00010000 0001 01 48662{}"
    with ExitStack() as stack:
        for name in ("a b", "run/c"):
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(tmp_path / name))
        places = [f" {tmp_path}/a b", f" {tmp_path}/a b", f" {tmp_path}/run/c", f" {tmp_path}/gone", " @/abstract", ""]
        listing = head + "\n".join(line.format(place) for place in places)
        assert isolate.sockets(listing, tmp_path / "project") == [tmp_path / "a b"]
        assert isolate.sockets(listing, tmp_path / "run") == [tmp_path / "a b", tmp_path / "run" / "c"]


@pytest.mark.parametrize(("cwd", "refused"), [("/", True), ("/tmp", True), ("/var", True), ("/srv/x", False)])
def test_a_current_directory_that_holds_what_is_taken_away_is_refused(cwd: str, *, refused: bool) -> None:
    """Binding it writable would bring that back."""
    emptied = [Path(place) for place in isolate.EMPTIED]
    if refused:
        with pytest.raises(Failed, match="go to the project's own"):
            isolate.check_place(Path(cwd), emptied)
    else:
        isolate.check_place(Path(cwd), emptied)
