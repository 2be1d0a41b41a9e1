"""Walls without bubblewrap: what is built, by real namespaces, and that half a wall is none."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from credgate.cli import isolate, walled
from tests.fakes.needs import demand, found, not_here

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def build() -> isolate.Builder:
    """Return who builds without bubblewrap; skip where nobody may."""
    demand("unshare")
    program = str(found("unshare"))
    try:
        return next(
            lambda walls, user=user: isolate.unshare(program, walls, user=user)
            for user in (True, False)
            if subprocess.run(
                [*isolate.unshare(program, isolate.Walls((), "/", own_session=False), user=user), "true"],
                capture_output=True,
                check=False,
            ).returncode
            == 0
        )
    except StopIteration:
        not_here("this machine allows no namespaces")


def inside(walls: isolate.Walls, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script behind walls."""
    return subprocess.run([*build()(walls), "sh", "-c", script], capture_output=True, text=True, check=False)


def test_each_kind_of_step(tmp_path: Path) -> None:
    """What may be written is written outside, what may be read is, and what is emptied or nothing is neither."""
    for name in ("write", "read", "empty"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "there").write_text(name)
    (tmp_path / "nothing").write_text("secret")
    steps = [("write", "write"), ("read", "read"), ("empty", "empty"), ("nothing", "nothing")]
    walls = isolate.Walls(
        tuple((kind, str(tmp_path / name)) for kind, name in steps), str(tmp_path / "write"), own_session=False
    )
    script = "pwd; cd ..; cat write/there read/there empty/there nothing; for i in *; do echo x > $i/new; done"
    ran = inside(walls, script)
    assert ran.stdout == f"{tmp_path}/write\nwriteread"
    assert "read/new: Read-only file system" in ran.stderr
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("new")}
    assert written == {"write/new"}
    assert (tmp_path / "nothing").read_text() == "secret"


def test_what_lies_below_an_emptied_place_comes_back(tmp_path: Path) -> None:
    """A directory and a file, at paths that are no longer there."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").write_text("content")
    places = [("empty", ""), ("write", "a/b"), ("read", "a/file")]
    walls = isolate.Walls(tuple((kind, str(tmp_path / name)) for kind, name in places), "/", own_session=True)
    ran = inside(walls, f"cd {tmp_path}; ls -R a; cat a/file; echo x > a/b/new")
    assert "content" in ran.stdout
    assert (tmp_path / "a" / "b" / "new").exists()


def test_half_a_wall_is_none(tmp_path: Path) -> None:
    """What cannot be built ends it before the command, with a line."""
    walls = isolate.Walls((("read", str(tmp_path / "gone")),), str(tmp_path), own_session=False)
    ran = inside(walls, f"touch {tmp_path}/ran")
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"credgate: --isolate: open_tree {tmp_path}/gone: No such file")
    assert list(tmp_path.iterdir()) == []


def test_outside_of_namespaces_nothing_is_begun(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first thing it asks for is refused."""

    def refused() -> None:
        raise PermissionError(1, "not here")

    monkeypatch.setattr(walled.kernel, "loopback_up", refused)
    assert walled.main(['{"steps": [], "cwd": "/", "own_session": false}', "true"]) == 2
    assert capfd.readouterr().err == "credgate: --isolate: not here\n"
