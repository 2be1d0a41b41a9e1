"""What is installed is what was written: the plugin is in a wheel and found, and an editable install shows it, too.

``pip install -e`` in setuptools' default mode hides plugins from Twisted; ``setup.cfg`` asks for one that does not.
Nothing is fetched: the build runs with the setuptools that is here, on a copy, and the dependencies of the Python that
runs this are lent to the new environments.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = "twisted/plugins/credgate_plugin.py"
CARRIED = ("credgate", "twisted", "setup.cfg", "pyproject.toml", "LICENSE", "README.md")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what a build reads: it writes beside it."""
    folder = tmp_path_factory.mktemp("source")
    junk = shutil.ignore_patterns("__pycache__", "*.egg-info", "dropin.cache")
    for name in CARRIED:
        place = ROOT / name
        shutil.copytree(place, folder / name, ignore=junk) if place.is_dir() else shutil.copy(place, folder)
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Make an environment that is lent this one's packages, credgate and its plugin aside."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    lent = tmp_path / "lent"
    _lend(Path(sysconfig.get_path("purelib")), lent)
    # Read after the file that an editable install leaves: the alphabet decides.
    (_site(python, tmp_path) / "zz-lent.pth").write_text(f"{lent}\n")
    return python


def _lend(site: Path, lent: Path) -> None:
    """Link every package of ``site`` but credgate; Twisted's plugins are copied, for one of them is ours."""
    (lent / "twisted").mkdir(parents=True)
    for entry in [*site.iterdir(), *(site / "twisted").iterdir()]:
        ours = "credgate" in entry.name or entry.name in {"twisted", "plugins"}
        if not ours and not entry.name.endswith(".pth"):
            (lent / entry.relative_to(site)).symlink_to(entry)
    kept = shutil.ignore_patterns("credgate*", "dropin.cache", "__pycache__")
    shutil.copytree(site / "twisted" / "plugins", lent / "twisted" / "plugins", ignore=kept)


def _site(python: Path, cwd: Path) -> Path:
    return Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=cwd).strip())


def _run(*command: str | Path, cwd: Path) -> str:
    ran = subprocess.run(command, cwd=cwd, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def _pip(*arguments: str | Path, cwd: Path, into: Path | None = None) -> str:
    quiet = ["--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    return _run(sys.executable, "-m", "pip", *quiet, *(["--python", into] if into else []), *arguments, cwd=cwd)


def _build(source: Path, target: Path) -> Path:
    _pip("wheel", "--no-deps", "--no-build-isolation", "-w", target, source, cwd=target)
    (wheel,) = target.glob("*.whl")
    return wheel


def _twistd(python: Path, *arguments: str, cwd: Path) -> str:
    return _run(python, "-c", "from twisted.scripts.twistd import run; run()", *arguments, cwd=cwd)


def test_the_wheel_carries_every_room_and_the_plugin(source: Path, tmp_path: Path) -> None:
    """And nothing beside: not the tests, and no ``__init__`` in Twisted's own package."""
    names = zipfile.ZipFile(_build(source, tmp_path)).namelist()
    inside = sorted(name for name in names if ".dist-info/" not in name)
    written = [
        path.relative_to(source) for path in (source / "credgate").rglob("*") if path.suffix in {".py", ".typed"}
    ]
    assert inside == sorted([PLUGIN, *map(str, written)])
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_an_installed_wheel_is_a_twistd_command(source: Path, tmp_path: Path, python: Path) -> None:
    """From an empty folder, so that no source tree helps."""
    wheel, empty = _build(source, tmp_path), tmp_path / "empty"
    empty.mkdir()
    assert "credgate" not in _twistd(python, "--help", cwd=empty)
    _pip("install", "--no-deps", "--no-index", wheel, cwd=empty, into=python)
    assert "credgate" in _twistd(python, "--help", cwd=empty)
    assert "--config" in _twistd(python, "-n", "credgate", "--help", cwd=empty)
    where = _run(python, "-c", "import credgate; print(credgate.__file__)", cwd=empty)
    assert where.startswith(str(tmp_path / "venv"))


def test_an_editable_install_is_a_twistd_command(source: Path, tmp_path: Path, python: Path) -> None:
    """Without an option that a developer would have to know."""
    empty = tmp_path / "empty"
    empty.mkdir()
    _pip("install", "--no-deps", "--no-index", "--no-build-isolation", "-e", source, cwd=empty, into=python)
    assert "credgate" in _twistd(python, "--help", cwd=empty)
    where = _run(python, "-c", "import credgate; print(credgate.__file__)", cwd=empty)
    assert where.startswith(str(source))


def test_the_demonstration_needs_no_test_tools() -> None:
    """README's first command installs credgate and attrs, and nothing that only tests use."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('pytest', '_pytest', 'hypothesis', 'h11'))); import tests.demo"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
