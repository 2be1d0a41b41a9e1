"""LFS: seconds of real git-lfs to fetch and to push one large object, directly and through the gateway.

The forge is that of the tests: nginx, which sends objects, and giftless, which stores them and signs links. git-lfs
hashes the object and the forge writes it to its disk; both are part of every figure. So the gateway's processor time
for a gigabyte describes the gateway better than the ratio.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.table import Row
from benchmarks.targets import MissingError, found, spent
from tests.fakes import giftless
from tests.fakes.gateway import Gateway
from tests.fakes.giftless import Giftless
from tests.fakes.nginx import NginxForge
from tests.fakes.repositories import Repositories, git, noise

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "bench/objects"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"
NAMES = ("direct", "credgate")


class LfsWork:
    """The forge with its LFS server, the gateway before it, and a clone that has the object."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, mib: int) -> None:
        self._folder, self.mib = folder, mib
        secret = secrets.token_hex(16)
        for name in ("lfs", "forge", "gateway"):
            (folder / name).mkdir(mode=0o700)
        self._lfs = Giftless(folder / "lfs")
        stack.callback(self._lfs.close)
        repositories = Repositories(folder / "repositories")
        # giftless reads files in small pieces (27 MB/s): nginx sends every object, not only ranges of them.
        locations = self._lfs.locations.replace("if ($http_range)", "if ($request_method = GET)")
        forge = NginxForge(repositories.root, secret, folder / "forge", locations)
        stack.callback(forge.close)
        gateway = Gateway(folder / "gateway", f"http://127.0.0.1:{forge.port}", secret)
        stack.callback(gateway.stop, signal.SIGKILL)
        self.gateway = gateway.start()
        self._seed(repositories)
        self._urls = {
            "direct": f"http://127.0.0.1:{forge.port}/{PATH}.git",
            "credgate": f"http://127.0.0.1:{gateway.port}/git/{PATH}.git",
        }
        session = gateway.grant([PATH]).line.replace(":", "%3A")
        # By git's store: an extra header would stand beside the signed one of an upload, and giftless refuses both.
        logins = [f"x-access-token:{secret}@127.0.0.1:{forge.port}", f"x:{session}@127.0.0.1:{gateway.port}"]
        self._logins = folder / "logins"
        self._logins.touch(mode=0o600)
        self._logins.write_text("".join(f"http://{login}\n" for login in logins))

    def _seed(self, repositories: Repositories) -> None:
        content = b"".join(noise(1, number) for number in range(self.mib))
        self._oid = hashlib.sha256(content).hexdigest()
        self._stored = self._lfs.object(PATH, self._oid)
        self._stored.parent.mkdir(parents=True)
        self._stored.write_bytes(content)
        pointer = POINTER.format(oid=self._oid, size=len(content)).encode()
        repositories.seeded(PATH, files=[{".gitattributes": b"*.bin filter=lfs -text\n", "0.bin": pointer}])
        self._clone = self._folder / "clone"
        git("clone", "-q", repositories.folder(PATH), self._clone)

    def fetch(self, name: str) -> float:
        """Fetch the object into a clone that does not have it; seconds."""
        shutil.rmtree(self._clone / ".git" / "lfs", ignore_errors=True)
        return self._timed(name, "fetch", "origin", "main")

    def push(self, name: str) -> float:
        """Push the object to a forge that does not have it; seconds."""
        self._stored.unlink()
        took = self._timed(name, "push", "--object-id", "origin", self._oid)
        assert self._stored.stat().st_size == self.mib * 2**20
        return took

    def _timed(self, name: str, *words: str) -> float:
        git("-C", self._clone, "remote", "set-url", "origin", self._urls[name])
        options = ["lfs.locksverify=false", f"credential.helper=store --file={self._logins}"]
        settings = [word for option in options for word in ("-c", option)]
        began = time.perf_counter()
        ran = subprocess.run(
            ["git", "-C", self._clone, *settings, "lfs", *words],
            env={"PATH": os.environ["PATH"], "HOME": str(self._folder), "GIT_CONFIG_NOSYSTEM": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        took = time.perf_counter() - began
        assert ran.returncode == 0, f"{name}: {ran.stderr}"
        return took


@contextlib.contextmanager
def _work(mib: int) -> Iterator[LfsWork]:
    found("git-lfs")
    if not giftless.installed():
        raise MissingError("giftless is not installed (PyPI)")
    folder = Path(tempfile.mkdtemp(prefix="cgl-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        yield LfsWork(stack, folder, mib)


def rows(*, rounds: int, mib: int) -> list[Row]:
    """Measure both ways, direct and through the gateway in turn."""
    size = mib * 2**20
    down, up = Row(f"git lfs fetch, {mib} MiB", "MB/s"), Row(f"git lfs push, {mib} MiB", "MB/s")
    costs = [Row(f"processor time: {way}", "s/GB", 2, more_is_better=False) for way in ("fetch", "push")]
    with _work(mib) as work:
        for number in range(rounds):
            for name in NAMES if number % 2 else NAMES[::-1]:
                for row, cost, act in zip((down, up), costs, (work.fetch, work.push), strict=True):
                    before = spent(work.gateway.pid)
                    row.add(name, size / 1e6 / act(name))
                    if name == "credgate":
                        cost.add(name, (spent(work.gateway.pid) - before) / (size / 1e9))
            shown = ", ".join(f"{name} {down.figures[name][-1]:.0f}/{up.figures[name][-1]:.0f}" for name in NAMES)
            print(f"round {number + 1}: lfs, down/up: {shown}", file=sys.stderr, flush=True)
    return [down, up, *costs]


def markdown(measured: list[Row]) -> str:
    """Make the table."""
    lines = ["| work | unit | direct | credgate | of direct |", "|---|---|---|---|---|"]
    for row in measured:
        medians = [row.median(name) for name in NAMES]
        figures = ["-" if one is None else f"{one:,.{row.digits}f}" for one in medians]
        ratio = row.ratio("direct")
        cells = [row.name, row.unit, *figures, "-" if ratio is None else f"{ratio:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
