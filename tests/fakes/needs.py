"""What tests need of the machine beside git and a Python, and how its absence is reported.

A test names its programs by ``@pytest.mark.needs("dig")``, a parameter by ``needed("dnsmasq")``, a fixture that learns
it late by ``demand("bwrap")``. Where one is missing the test is skipped, and the end of the run lists what was not
shown and which Debian package shows it (``tests/conftest.py``). With ``CREDGATE_TEST_REQUIRE_TOOLS=1`` a missing
program is an error instead: ``.ci/run``, which installs them all, sets it, so that no test is lost unseen.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUIRED = "CREDGATE_TEST_REQUIRE_TOOLS"
NOT_SHOWN = "NOT SHOWN"
"""How the reason of a skip begins."""

PACKAGES = {
    "bash": "bash",
    "busybox": "busybox",
    "bwrap": "bubblewrap",
    "chattr": "e2fsprogs",
    "curl": "curl",
    "dash": "dash",
    "dig": "dnsutils",
    "dnsmasq": "dnsmasq-base",
    "dnsperf": "dnsperf",
    "fcgiwrap": "fcgiwrap",
    "git-lfs": "git-lfs",
    "go": "golang-go",
    "go-git": "golang-github-go-git-go-git-dev",
    "ip": "iproute2",
    "java": "default-jre-headless",
    "jgit": "jgit-cli",
    "nginx": "nginx-light",
    "nsenter": "util-linux",
    "promtool": "prometheus",
    "ps": "procps",
    "setpriv": "util-linux",
    "shellcheck": "shellcheck",
    "systemd-analyze": "systemd",
    "tmux": "tmux",
    "unbound": "unbound",
    "unshare": "util-linux",
}
"""The Debian package of each program that a test may name."""

SOURCES = {"go-git": Path("/usr/share/gocode/src/github.com/go-git/go-git/go.mod")}
"""What is no program: the file that shows it is installed."""
MODULES = {"giftless"}
"""What is a Python package: tox's end-to-end environments install it."""

_MISSING = re.compile(rf"{NOT_SHOWN}: needs (.+)")


def found(tool: str) -> str | None:
    """Return where a tool is, or None. Debian keeps servers in /usr/sbin, which a user's PATH may lack."""
    if tool in MODULES:
        return tool if importlib.util.find_spec(tool) else None
    if tool in SOURCES:
        return str(SOURCES[tool]) if SOURCES[tool].exists() else None
    return shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def missing(tools: Iterable[str]) -> list[str]:
    """Return those that are not installed, sorted."""
    return sorted(tool for tool in set(tools) if found(tool) is None)


def required() -> bool:
    """Whether a missing program is an error."""
    return os.environ.get(REQUIRED, "") not in {"", "0"}


def demand(*tools: str) -> None:
    """Skip the test that runs unless all of these are installed; fail it where they are required."""
    if not (absent := missing(tools)):
        return
    reason = f"{NOT_SHOWN}: needs {', '.join(absent)}"
    if required():
        pytest.fail(f"{reason} ({REQUIRED} is set; Debian: {packages(absent)})", pytrace=False)
    pytest.skip(reason)


def not_here(why: str) -> NoReturn:
    """Skip the test that runs for what no package brings: root, namespaces, a network."""
    pytest.skip(f"{NOT_SHOWN}: {why}")


def needed(value: str, *tools: str) -> object:
    """Make a parameter that needs programs; without any named, the first word of its value."""
    return pytest.param(value, marks=pytest.mark.needs(*(tools or value.split()[:1])))


SHELLS = [needed(one) for one in ("sh", "dash", "busybox sh", "bash --posix")]
"""The shells that the shipped scripts must run under."""


def packages(tools: Iterable[str]) -> str:
    """Name the Debian packages of these tools, once each; a Python package by where it comes from."""
    return " ".join(sorted({PACKAGES.get(tool, f"({tool}: only in tox)") for tool in tools}))


@define
class NotShown:
    """The skips of one run, counted by what was missing."""

    tools: Counter[str] = field(factory=Counter)
    """Tests by each tool that they lacked: a test that lacks two counts for both."""
    others: Counter[str] = field(factory=Counter)
    """Tests by each reason that no package removes, which is told in full."""
    tests: int = 0

    def add(self, reason: str) -> None:
        """Count a skip, whoever asked for it."""
        reason = reason.removeprefix("Skipped: ")
        self.tests += 1
        if told := _MISSING.fullmatch(reason):
            self.tools.update(told[1].split(", "))
        else:
            self.others[reason.removeprefix(f"{NOT_SHOWN}: ")] += 1

    def lines(self) -> list[str]:
        """Return the summary: each tool with its tests and package, then one command that installs them all."""
        if not self.tests:
            return []
        told = [f"Tests that this machine did not show: {self.tests}"]
        told += [f"{number:6} need {tool} (Debian: {packages([tool])})" for tool, number in sorted(self.tools.items())]
        told += [f"{number:6} {reason}" for reason, number in sorted(self.others.items())]
        if installable := [tool for tool in self.tools if tool in PACKAGES]:
            told.append(f"To show them: apt-get install --no-install-recommends {packages(installable)}")
        return told
