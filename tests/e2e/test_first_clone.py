"""README's first clone, line by line: from this source tree to a clone through the gateway.

The commands are README's own. Two terminals are two shells in a fresh copy of the tree, with nothing of the caller's
but where pip finds packages. A local forge stands for github.com, led to by a ``sitecustomize`` (the gateway knows no
other address without a file), README's ``ghp_...`` is its secret, and the port is a free one. What was printed lies in
``docs/first-clone.md``; ``CREDGATE_WRITE_DOCS=1`` writes it anew.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import random_secret
from tests.fakes.api import Asked, Reply
from tests.fakes.canary import traces
from tests.fakes.forge import PythonForge
from tests.fakes.needs import not_here
from tests.fakes.repositories import Repositories
from tests.fakes.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "first-clone.md"
SECTION = re.compile(r"^## Your first clone.*?$(.*?)^## ", re.DOTALL | re.MULTILINE)
CARRIED = ("credgate", "twisted", "helpers", "setup.cfg", "pyproject.toml", "LICENSE", "README.md")
NO_INDEX = re.compile(
    r"No matching distribution|Could not fetch|NewConnectionError|Name or service not known|ensurepip is not"
)
SERVES = "twistd -n"
ELSEWHERE = """\
import os
try:
    from attrs import evolve
    from credgate.config import environment
    environment.GITHUB = evolve(environment.GITHUB, url=os.environ["FORGE_INSTEAD_OF_GITHUB"])
except ImportError:
    pass
"""
ALIKE = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", "2026-01-31T12:00:00+0000"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-01-31T12:00:00Z"),
    (r"s-[0-9a-f]{16}", "s-0123456789abcdef"),
    (r"(?<=twistd )[0-9.]+ \(.*\) starting up", "26.10.0 (.venv/bin/python 3.11) starting up"),
    (r"Successfully installed .*", "Successfully installed Twisted-26.10.0 ... credgate-0.1.0"),
    (r'("(?:credential|configuration)\w*": ?)"[^"]*"', r'\1"0123456789ab"'),
    (r"\b[0-9a-f]{12}\b", "0123456789ab"),
    (r"up [0-9.]+s", "up 1s"),
    (r"uid \d+", "uid 1000"),
    (r"0x[0-9a-f]+", "0x7f0123456789"),
    (r"(?<=starting on )\d+", "8080"),
    (r"─+", "─" * 60),
]


def blocks() -> list[list[str]]:
    """Return README's commands, terminal by terminal."""
    found = SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    terminals: list[list[str]] = []
    before = ""
    for line in found[1].splitlines():
        if line.startswith("    "):
            if not before.startswith("    "):
                terminals.append([])
            terminals[-1].append(line[4:])
        before = line
    return terminals


class Terminal:
    """A shell that is given one line after the other."""

    END = "--- end of"

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            ["/bin/sh"], cwd=folder, env=environ, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT,
            text=True, errors="replace", start_new_session=True,
        )  # fmt: skip
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def begin(self, line: str) -> None:
        """Type a line that does not come back."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def run(self, line: str) -> tuple[str, int]:
        """Type a line and wait for its end; what it printed, and its exit status."""
        start, end = len(self.said), f"{self.END} {line}"
        self.begin(f"{line}\nprintf '%s %d\\n' '{end}' $?")
        pattern = re.compile(rf"(.*?)^{re.escape(end)} (\d+)$", re.DOTALL | re.MULTILINE)
        found = wait_until(lambda: pattern.match(self.said, start), f"the end of {line}", seconds=300)
        return found[1], int(found[2])

    def close(self) -> None:
        """End it with all that runs in it."""
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)
        self._reader.join(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[PythonForge]:
    """Start what stands for github.com, with a private ``octo/hello`` and another."""
    for name in ("forge", "repositories"):
        (tmp_path / name).mkdir()
    made = Repositories(tmp_path / "repositories")
    made.seeded("octo/hello")
    made.seeded("octo/other")
    server = PythonForge(tmp_path / "repositories", random_secret(), tmp_path / "forge")

    def meta(asked: Asked) -> Reply:
        return Reply(200 if asked.headers.get("authorization") == f"Bearer {server.secret}" else 401, {})

    server.pages["/api/v3/meta"] = meta
    yield server
    server.close()


@pytest.fixture
def tree(scratch: Path) -> Iterator[Path]:
    """Copy the source tree, as a fresh clone of it is."""
    folder = scratch / "reader"
    folder.mkdir()
    junk = shutil.ignore_patterns("__pycache__", "*.egg-info", "dropin.cache")
    for name in CARRIED:
        place = ROOT / name
        shutil.copytree(place, folder / name, ignore=junk) if place.is_dir() else shutil.copy(place, folder)
    yield folder
    shutil.rmtree(folder)


def reader(tree: Path, forge: PythonForge, port: int) -> dict[str, str]:
    """Say what a reader's terminal has in its environment: nothing that the lines themselves do not set."""
    home = tree.parent / "reader-home"
    home.mkdir()
    (home / "sitecustomize.py").write_text(ELSEWHERE)
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(sys.executable)
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "SSL_CERT_FILE"}
    pip = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "pip" / "pip.conf"
    configured = {"PIP_CONFIG_FILE": str(pip)} if pip.exists() else {}
    return {**configured, **kept} | {
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "160",
        "PYTHONPATH": str(home),
        "FORGE_INSTEAD_OF_GITHUB": f"http://127.0.0.1:{forge.port}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "GIT_TERMINAL_PROMPT": "0",
        # Where a user's gateway keeps its things, whoever runs the tests; its port, and no DNS on a common one.
        "RUNTIME_DIRECTORY": str(home / "run"),
        "STATE_DIRECTORY": str(home / "state"),
        "GATEWAY_PORT": str(port),
        "GATEWAY_ENABLE_DNS": "false",
    }


def alike(text: str, port: int, tree: Path) -> str:
    """Return what was printed, with what differs from run to run made alike."""
    home = tree.parent / "reader-home"
    for place, instead in ((str(home / "run"), "/run/user/1000/credgate"), (str(tree), "/home/you/credgate")):
        text = text.replace(place, instead)
    text = text.replace(f"127.0.0.1:{port}", "127.0.0.1:8080")
    for pattern, instead in ALIKE:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return "\n".join(line.rstrip() for line in text.splitlines())


def shown(line: str, said: str) -> str:
    """Return what the transcript has of a command's output: see what the page says of it."""
    if "pip install" in line:
        said = said.strip().splitlines()[-1]
    kept = [one for one in said.splitlines() if one.strip() and not one.startswith(("{", " clock "))]
    close = [re.sub(r"(?<=\S) {3,}", "   ", one) for one in kept]
    return f"    $ {line}\n" + "".join(f"    {one}".rstrip() + "\n" for one in close)


def test_a_reader_gets_to_a_clone_by_readme_alone(forge: PythonForge, tree: Path) -> None:
    """What is printed on the way is in the documents, word for word; the token is in nothing that is."""
    port = free_port()
    environ = reader(tree, forge, port)
    first, second = Terminal(tree, environ), Terminal(tree, environ)
    told = {"first": "", "second": ""}
    try:
        gateway, sandbox = blocks()
        for line in gateway:
            typed = line.replace("ghp_...", forge.secret)
            if SERVES in line:
                start = len(first.said)
                first.begin(typed)
                wait_until((tree.parent / "reader-home/run/control.sock").exists, "it listens", seconds=60)
                wait_until(lambda: '"started"' in first.said and "ControlSite object" in first.said, "the log says so")
                said = first.said[start:]
            else:
                said, status = first.run(typed)
                if status and NO_INDEX.search(said):
                    not_here("no package index can be reached for README's pip, or there is no ensurepip")
                assert status == 0, said
            told["first"] += shown(line, said)
        for line in sandbox:
            said, status = second.run(line.replace("127.0.0.1:8080", f"127.0.0.1:{port}"))
            assert (status != 0) == ("refused" in line), said
            told["second"] += shown(line, said)
        assert (tree / "try" / "hello" / ".git").is_dir()
        assert not (tree / "try" / "other").exists()
    finally:
        first.close()
        second.close()
    written = page({name: alike(text, port, tree) for name, text in told.items()})
    assert traces(forge.secret, (written + second.said).encode()) == set()
    if os.environ.get("CREDGATE_WRITE_DOCS"):
        DOCUMENT.write_text(written, encoding="utf-8")
    assert written == DOCUMENT.read_text(encoding="utf-8")


def page(told: dict[str, str]) -> str:
    """Write the document."""
    return f"""\
# The first clone

The output of README's [first clone](../README.md). `tests/e2e/test_first_clone.py` runs README's commands in a copy of
this source tree, compares their output with this page, and writes the page with `CREDGATE_WRITE_DOCS=1`. There a local
forge takes the place of github.com, and there is no DNS server. Times, ids, paths and versions are replaced by fixed
ones, and table columns are joined. Of pip's output the last line is shown. Audit lines, which a gateway without a
configuration file writes to its log, and doctor's line about the clock are left out.

In the first terminal, with a token for `ghp_...`:

{told["first"]}

In the second terminal:

{told["second"]}
"""
