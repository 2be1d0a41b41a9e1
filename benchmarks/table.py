"""The measurements as rows: medians, ratios to nginx, to mitmproxy and to a direct connection, and the aims.

A ratio is the median of the ratios of the single rounds. In each round all targets are measured within seconds of one
another, so that other work on the machine affects all of them.
"""

from __future__ import annotations

import os
import platform
import re
import ssl
import statistics
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from attrs import define, field, frozen

NAMES = ("direct", "nginx", "nginx 64k", "mitmproxy", "credgate")
AGAINST = ("nginx", "nginx 64k", "mitmproxy", "direct")


@frozen
class Aim:
    """What credgate should reach: ``factor`` of ``against``, as a share of its figure."""

    against: str
    factor: float


@define
class Row:
    """One kind of work; ``figures`` by target, one for each round."""

    name: str
    unit: str
    digits: int = 0
    more_is_better: bool = True
    compares: bool = True
    """Whether a ratio of its figures means anything: differences may be nothing, or less."""
    aims: tuple[Aim, ...] = ()
    limit: tuple[str, float] | None = None
    """A target and the most that its figure should be."""
    figures: dict[str, list[float]] = field(factory=dict)

    def add(self, target: str, figure: float) -> None:
        """Note one."""
        self.figures.setdefault(target, []).append(figure)

    def median(self, target: str) -> float | None:
        """Return what is shown for a target."""
        figures = self.figures.get(target)
        return statistics.median(figures) if figures else None

    def ratio(self, against: str) -> float | None:
        """Credgate's figure as a multiple of another's."""
        ours, theirs = self.figures.get("credgate"), self.figures.get(against)
        if not ours or not theirs or not self.compares:
            return None
        return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))

    def verdicts(self) -> list[str]:
        """Each aim and whether it is kept."""
        said = []
        for aim in self.aims:
            ratio = self.ratio(aim.against)
            if ratio is None:
                continue
            kept = ratio >= aim.factor if self.more_is_better else ratio <= aim.factor
            sign = ">=" if self.more_is_better else "<="
            said.append(f"{sign} {aim.factor:g} of {aim.against}: {'kept' if kept else 'MISSED'}")
        return said + self._limited()

    def _limited(self) -> list[str]:
        if self.limit is None or (median := self.median(self.limit[0])) is None:
            return []
        return [f"< {self.limit[1]:g} {self.unit}: {'kept' if median < self.limit[1] else 'MISSED'}"]

    def cells(self) -> list[str]:
        """Format the row."""
        medians = [self.median(name) for name in NAMES]
        figures = ["-" if one is None else f"{one:,.{self.digits}f}" for one in medians]
        ratios = [self.ratio(name) for name in AGAINST]
        shown = ["-" if one is None else f"{one:.2f}" if one < 10 else f"{one:.1f}" for one in ratios]
        return [self.name, self.unit, *figures, *shown, "; ".join(self.verdicts())]


HEADINGS = ["work", "unit", *NAMES, *(f"of {name}" for name in AGAINST), "aim"]


def markdown(rows: list[Row]) -> str:
    """Make the table."""
    cells = [HEADINGS, *(row.cells() for row in rows if row.figures)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Describe what it ran on; no name of a host or a person."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: *(.+)", text)
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.release().split('-')[0]}, "
        f"{cores} cores ({model[1] if model else platform.machine()}), load {load:.1f} at the start"
    )


def versions(mitmdump: str | None) -> str:
    """Name the versions of everything that took part."""
    nginx = _said(["nginx", "-v"], r"nginx/([0-9.]+)")
    git = _said(["git", "--version"], r"([0-9.]+)")
    mitmproxy = f", mitmproxy {_said([mitmdump, '--version'], r'Mitmproxy: ([0-9.]+)')}" if mitmdump else ""
    return (
        f"Python {platform.python_version()}, Twisted {version('twisted')}, httptools {version('httptools')}, "
        f"{ssl.OPENSSL_VERSION.rsplit(' ', 3)[0]}, nginx {nginx}, git {git}{mitmproxy}"
    )


def _said(command: list[str], pattern: str) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path})
    found = re.search(pattern, ran.stdout + ran.stderr)
    return found[1] if found else "?"
