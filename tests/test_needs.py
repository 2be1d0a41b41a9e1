"""What the machine lacks is skipped and listed, or an error; how the run was started does not matter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import needs
from tests.fakes.needs import NotShown

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest
from tests.fakes.needs import demand, needed, not_here
from tests.conftest import *

@pytest.mark.needs("dig")
def test_marked(): raise AssertionError
@pytest.mark.parametrize("kind", [needed("sh"), needed("busybox sh")])
def test_parameter(kind): assert kind == "sh"
def test_late(): demand("sh", "dig", "tmux")
def test_machine(): not_here("only root can")
@pytest.mark.skip(reason="another matter")
def test_other(): raise AssertionError
"""


def run(folder: Path, *words: str, **environ: str) -> str:
    """Run those tests with a PATH on which there is ``sh`` alone."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "sh").symlink_to(str(shutil.which("sh")))
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = needs: programs\n")
    given = {"PATH": str(programs), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **environ}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, str(folder)]
    return subprocess.run(
        command, env=given, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    ).stdout


@pytest.mark.parametrize("words", [(), ("--numprocesses=2",)], ids=["alone", "workers"])
def test_missing_programs_are_listed_once_at_the_end(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Each with the tests that lack it and its package; then the other reasons."""
    out = run(tmp_path, *words)
    assert "1 passed, 5 skipped" in out
    lines = out[out.index("NOT SHOWN !") :].splitlines()[1:]
    assert [re.sub(" +", " ", line).strip() for line in lines[:7]] == [
        "Tests that this machine did not show: 5",
        "1 need busybox (Debian: busybox)",
        "2 need dig (Debian: dnsutils)",
        "1 need tmux (Debian: tmux)",
        "1 another matter",
        "1 only root can",
        "To show them: apt-get install --no-install-recommends busybox dnsutils tmux",
    ]


def test_missing_programs_are_errors_where_all_must_be_there(tmp_path: Path) -> None:
    """As in CI; what no package brings is a skip there, too."""
    out = run(tmp_path, **{needs.REQUIRED: "1"})
    assert "1 failed, 1 passed, 2 skipped, 2 errors" in out
    assert "NOT SHOWN: needs dig, tmux (CREDGATE_TEST_REQUIRE_TOOLS is set; Debian: dnsutils tmux)" in out
    assert "did not show: 2\n" in out


TRAPS = """
import subprocess
from tests.conftest import *

def test_traps():
    script = "for s in HUP INT QUIT; do trap \\"echo $s\\" $s; kill -$s $$; done"
    assert subprocess.check_output(["sh", "-c", script], text=True).split() == ["HUP", "INT", "QUIT"]
"""


@pytest.mark.parametrize("words", [(), ("--numprocesses=1",)], ids=["alone", "workers"])
@pytest.mark.parametrize("ignored", ["HUP,INT,QUIT", "USR1"])
def test_processes_find_signals_at_their_defaults(tmp_path: Path, words: tuple[str, ...], ignored: str) -> None:
    """However the run was started: ``nohup`` and ``&`` ignore some, which a shell could not trap."""
    (tmp_path / "test_it.py").write_text(TRAPS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *words]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}
    whole = ["env", f"--ignore-signal={ignored}", *command, str(tmp_path)]
    ran = subprocess.run(whole, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "1 passed" in ran.stdout, ran.stdout


def test_nothing_is_said_where_nothing_is_missing() -> None:
    """No heading without a line below it."""
    assert NotShown().lines() == []
    counted = NotShown()
    counted.add("Skipped: slow: set CREDGATE_TEST_SLOW=1")
    assert counted.lines() == ["Tests that this machine did not show: 1", "     1 slow: set CREDGATE_TEST_SLOW=1"]


def test_every_program_that_a_test_names_has_its_package() -> None:
    """So that the summary can name it, and ``.ci/run`` installs it or it belongs to every Debian."""
    named: set[str] = set()
    for path in set((ROOT / "tests").rglob("*.py")) - {Path(__file__)}:
        for words in re.findall(r"(?:mark\.needs|demand|missing)\(([^()*]*)\)", path.read_text()):
            named |= set(re.findall(r'"([a-z-]+)"', words))
    assert named > {"dig", "nginx", "tmux"}
    assert named - needs.PACKAGES.keys() - needs.MODULES == set()
    installed = (ROOT / ".ci" / "run").read_text().split()
    essential = {"bash", "dash", "e2fsprogs", "util-linux"}
    words = {word.strip("'\"") for word in installed}
    assert set(needs.PACKAGES.values()) - essential - words == set()


def test_servers_are_found_where_a_user_s_path_does_not_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian keeps them in /usr/sbin."""
    monkeypatch.setenv("PATH", os.devnull)
    assert needs.found("sh") is None
    assert needs.missing(["sh", "dig", "dig"]) == ["dig", "sh"]
