"""The mounts of an isolated command (their effect: ``tests/e2e/test_run.py`` and ``test_run_isolated.py``)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from credgate.cli.output import CommandError
from credgate.cli.run import mounts
from credgate.config.secret_locations import SecretLocations


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Create a project, a public and a private directory, each with a file."""
    for name, mode in (("public", 0o755), ("private", 0o700), ("project", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
        (tmp_path / name / "token").write_text("secret")
    return tmp_path


def hiding(place: Path, *secrets: str, others: str = "", own: str = "") -> list[tuple[str, str]]:
    """Return the mounts that hide these files, with paths relative to ``place``."""
    kinds = [tuple(place / name for name in names.split()) for names in (others, own)]
    locations = SecretLocations(frozenset(), tuple(place / name for name in secrets), *kinds)
    found = mounts.hiding_configured(locations, [place / "project"])
    return [(kind, os.path.relpath(path, place)) for kind, path in found]


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("public/token", [("nothing", "public/token")]),
        ("private/token", [("empty", "private")]),
        ("project/token", [("nothing", "project/token")]),
    ],
)
def test_private_directory_of_a_secret_is_hidden_whole(
    place: Path, secret: str, expected: list[tuple[str, str]]
) -> None:
    """In a public directory, or in one that the command needs, only the file is hidden."""
    assert hiding(place, secret) == expected
    assert hiding(place, others=secret) == expected


def test_symbolic_link_and_its_target_are_both_hidden(place: Path) -> None:
    """A new link may appear in the first directory, a new file in the second."""
    (place / "links").mkdir(mode=0o700)
    (place / "links" / "token").symlink_to(place / "public" / "token")
    assert hiding(place, "links/token") == [("empty", "links"), ("nothing", "public/token")]
    (place / "directory").symlink_to(place / "private")
    assert hiding(place, "directory/token") == [("empty", "private")]


def test_rotated_and_temporary_files_of_credgate_are_hidden(place: Path) -> None:
    """A file whose name only has the same beginning is not one of them."""
    for name in ("token.1", "token-wal", "tokens"):
        (place / "public" / name).touch()
    assert sorted(path for _, path in hiding(place, own="public/token")) == [
        *("public/token", "public/token-wal", "public/token.1")
    ]
    assert hiding(place, own="gone/x public/gone", others="public/gone") == []


def test_only_private_directories_among_command_arguments_are_hidden(place: Path) -> None:
    """A public directory, or one that the command needs, is not."""
    assert hiding(place, others="private") == [("empty", "private")]
    assert hiding(place, others="public / project") == hiding(place, others=str(place)) == []


def test_secret_that_cannot_be_hidden_is_an_error(place: Path) -> None:
    """A missing file, and one with a second name. Files that are not secrets may be missing."""
    with pytest.raises(CommandError, match=r"cannot hide .*/gone: No such file") as caught:
        hiding(place, "public/gone")
    assert caught.value.status == 2
    os.link(place / "public" / "token", place / "second")
    with pytest.raises(CommandError, match=r"cannot hide .*/public/token: it has 2 names"):
        hiding(place, "public/token")
    assert hiding(place, others="public/token") == [("nothing", "public/token")]


def test_later_mounts_keep_hidden_paths_hidden(tmp_path: Path) -> None:
    """Each mount covers earlier ones: the current directory, then the hidden paths, then the command's directory."""
    home, own = tmp_path / "home", tmp_path / "own"
    (home / "project").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / ".netrc").touch()
    (tmp_path / "control").mkdir()
    (home / "project" / "token").touch()
    found = mounts.file_system(
        own=own,
        cwd=home / "project",
        home=home,
        hide=[tmp_path / "control", tmp_path / "nowhere"],
        locations=SecretLocations(secrets=(home / "project" / "token",)),
    ).mounts
    paths = [path for _, path in found]
    order = ("home/project", "control", "home/.ssh", "home/project/token", "own")
    assert (places := [paths.index(str(tmp_path / path)) for path in order]) == sorted(places)
    assert ("nothing", str(home / ".netrc")) in found
    assert str(tmp_path / "nowhere") not in paths
    assert [path for kind, path in found if kind == "write"] == [str(home / "project"), str(own)]
    assert {("empty", path) for path in mounts.EMPTIED} <= set(found)
    assert ("read", "/proc/sys") in found


def test_secret_beside_programs_does_not_hide_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the file is hidden then; without programs there the whole directory is."""
    tools = tmp_path / "tools"
    (tools / "bin").mkdir(parents=True)
    tools.chmod(0o700)
    (tmp_path / "link").symlink_to(tools)
    (tools / "token").touch()
    locations = SecretLocations(secrets=(tools / "token",))

    def found() -> set[tuple[str, str]]:
        files = mounts.file_system(own=None, cwd=Path("/srv/x"), home=Path("/home/x"), hide=[], locations=locations)
        return {mount for mount in files.mounts if str(tmp_path) in mount[1]}

    assert ("empty", str(tools)) in found()
    monkeypatch.setenv("PATH", f"/usr/bin:{tmp_path}/link/bin:.")
    assert ("nothing", str(tools / "token")) in found()
    assert ("empty", str(tools)) not in found()


@pytest.mark.parametrize(("cwd", "refused"), [("/", True), ("/tmp", True), ("/var", True), ("/srv/x", False)])
def test_current_directory_that_contains_a_hidden_path_is_refused(cwd: str, *, refused: bool) -> None:
    """Mounting it writable would reveal the hidden path."""
    emptied = [Path(path) for path in mounts.EMPTIED]
    if refused:
        with pytest.raises(CommandError, match="change to the project's directory"):
            mounts.check_current_directory(Path(cwd), emptied)
    else:
        mounts.check_current_directory(Path(cwd), emptied)
