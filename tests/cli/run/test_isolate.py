"""The walls, and who is told to build them (what they do: ``tests/e2e/test_run.py``)."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from credgate.cli.output import CommandError
from credgate.cli.run import isolate
from credgate.config.named import Named


def walls(tmp_path: Path, *, share_terminal: bool = True) -> isolate.Walls:
    """Return those for a project in a home with a netrc and ssh keys."""
    home, box = tmp_path / "home", tmp_path / "box"
    (home / "project").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / ".netrc").touch()
    hide = [tmp_path / "control", tmp_path / "nowhere"]
    hide[0].mkdir()
    (home / "project" / "token").touch()
    named = Named(secrets=(home / "project" / "token",))
    return isolate.walls(
        box=box, cwd=home / "project", home=home, hide=hide, named=named, share_terminal=share_terminal
    )


def test_what_is_emptied_stays_empty(tmp_path: Path) -> None:
    """Later steps lie over earlier ones: the current directory first, then what is hidden, then the command's own."""
    steps = walls(tmp_path).steps
    places = [place for _, place in steps]
    order = [
        places.index(str(tmp_path / place))
        for place in ("home/project", "control", "home/.ssh", "home/project/token", "box")
    ]
    assert order == sorted(order)
    assert ("nothing", str(tmp_path / "home" / ".netrc")) in steps
    assert str(tmp_path / "nowhere") not in places
    assert [place for kind, place in steps if kind == "write"] == [
        str(tmp_path / one) for one in ("home/project", "box")
    ]
    assert {("empty", place) for place in isolate.EMPTIED} <= set(steps)
    assert ("read", "/proc/sys") in steps


def test_a_secret_beside_programs_does_not_take_them_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file alone is hidden then; without programs there the whole directory is."""
    place = tmp_path / "tools"
    (place / "bin").mkdir(parents=True)
    place.chmod(0o700)
    (tmp_path / "link").symlink_to(place)
    (place / "token").touch()
    named = Named(secrets=(place / "token",))

    def steps() -> set[tuple[str, str]]:
        made = isolate.walls(
            box=None, cwd=Path("/srv/x"), home=Path("/home/x"), hide=[], named=named, share_terminal=True
        )
        return {step for step in made.steps if str(tmp_path) in step[1]}

    assert ("empty", str(place)) in steps()
    monkeypatch.setenv("PATH", f"/usr/bin:{tmp_path}/link/bin:.")
    assert ("nothing", str(place / "token")) in steps()
    assert ("empty", str(place)) not in steps()


def test_bubblewrap_is_told_all_of_it(tmp_path: Path) -> None:
    """One word less would be a way out."""
    told = isolate.bubblewrap("bwrap", walls(tmp_path), 7)
    assert told[told.index("--seccomp") + 1] == "7"
    assert {"--unshare-net", "--unshare-pid", "--unshare-user", "--unshare-ipc", "--die-with-parent"} <= set(told)
    assert told[told.index("--cap-drop") + 1] == "ALL"
    assert told[told.index(str(tmp_path / "home" / ".netrc")) - 2 :][:2] == ["--ro-bind", "/dev/null"]
    assert told[told.index("/run") - 1] == "--tmpfs"
    assert told[-1] == "--"


def test_a_terminal_that_can_be_typed_into_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TIOCSTI: what is inside would give its caller's shell commands."""
    assert "--new-session" not in isolate.bubblewrap("bwrap", walls(tmp_path / "a"), 7)
    assert "--new-session" in isolate.bubblewrap("bwrap", walls(tmp_path / "b", share_terminal=False), 7)
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


def test_root_builds_without_a_user_namespace_where_none_may_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one first; another user has no second way."""
    tried = isolate.Walls((), "/", own_session=False)
    path = programs(tmp_path, bwrap="#!/bin/sh\nexit 0\n")
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert isolate.builder(tried)(tried, 7)[:2] == [f"{path}/bwrap", "--unshare-user"]
    (tmp_path / "bwrap").write_text(FAILS.replace("echo", 'case "$*" in *--unshare-user*) ;; *) exit 0;; esac\necho'))
    assert "--unshare-user" not in isolate.builder(tried)(tried, 7)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CommandError, match="not for you"):
        isolate.builder(tried)


def test_bubblewrap_s_own_words_are_told_when_it_cannot_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line; the package is named where there is no bubblewrap."""
    tried = isolate.Walls((), "/", own_session=False)
    monkeypatch.setenv("PATH", programs(tmp_path, bwrap=FAILS))
    with pytest.raises(CommandError) as caught:
        isolate.builder(tried)
    assert caught.value.format_message() == "--isolate: bubblewrap cannot build the walls here: not for you"
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(CommandError, match="it does not say why"):
        isolate.builder(tried)
    (tmp_path / "bwrap").unlink()
    with pytest.raises(CommandError, match=r"bwrap is not on the PATH \(apt-get install bubblewrap\)"):
        isolate.builder(tried)


def test_standard_descriptors_that_lead_out_are_refused(tmp_path: Path) -> None:
    """Directories and sockets that can be connected again; files, pipes and connected streams are as they were."""
    with ExitStack() as stack:
        opened = [os.open(tmp_path, os.O_RDONLY)]
        stack.callback(os.close, opened[0])
        for family, kind in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM)):
            opened.append(stack.enter_context(socket.socket(family, kind)).fileno())
        opened.append(stack.enter_context(socket.socket(socket.AF_UNIX)).fileno())
        pairs = [socket.socketpair(socket.AF_UNIX, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
        for one in (end for pair in pairs for end in pair):
            stack.enter_context(one)
        for descriptor in (*opened, pairs[0][0].fileno()):
            with pytest.raises(
                CommandError, match=f"descriptor {descriptor} of the command would be a (directory|socket)"
            ):
                isolate.check_descriptors([descriptor])
        read, write = os.pipe()
        isolate.check_descriptors([read, write, pairs[1][0].fileno(), os.open("/dev/null", os.O_RDONLY)])
        for descriptor in (read, write):
            os.close(descriptor)
        isolate.check_descriptors([read])


@pytest.mark.parametrize(("cwd", "refused"), [("/", True), ("/tmp", True), ("/var", True), ("/srv/x", False)])
def test_a_current_directory_that_holds_what_is_taken_away_is_refused(cwd: str, *, refused: bool) -> None:
    """Binding it writable would bring that back."""
    emptied = [Path(place) for place in isolate.EMPTIED]
    if refused:
        with pytest.raises(CommandError, match="go to the project's own"):
            isolate.check_place(Path(cwd), emptied)
    else:
        isolate.check_place(Path(cwd), emptied)
