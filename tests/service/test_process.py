"""What the process gives up: judged in a process of its own, for nothing of it can be taken back."""

from __future__ import annotations

import ctypes
import json
import resource
import subprocess
import sys
from typing import Any

import pytest

from credgate.errors import ConfigError
from credgate.service import process
from credgate.service.process import SPARE, most_connections

JUDGE = """
import ctypes, json, os, resource
from credgate.service.process import harden
before = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
harden()
print(json.dumps({
    "umask": os.umask(0), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "dumpable": [before, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)],
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
}))
"""


def test_a_hardened_process_dumps_nothing() -> None:
    """The kernel's own word for each; PR_GET_DUMPABLE is 3."""
    ran = subprocess.run([sys.executable, "-c", JUDGE], capture_output=True, check=True, text=True)
    told: dict[str, Any] = json.loads(ran.stdout)
    assert told["umask"] == 0o077
    assert told["core"] == [0, 0]
    assert told["dumpable"] == [1, 0]
    assert told["files"][0] == told["files"][1]


class Kernel:
    """Stands in for libc and the limits, so that this process keeps its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: int = 0, soft: int = 1024) -> None:
        self.calls: list[Any] = []
        self.answer = answer
        self.soft = soft
        monkeypatch.setattr(process.os, "umask", lambda mode: self.calls.append(("umask", mode)))
        monkeypatch.setattr(process.resource, "setrlimit", lambda *what: self.calls.append(what))
        monkeypatch.setattr(process.resource, "getrlimit", lambda _: (self.soft, 4096))
        monkeypatch.setattr(process.ctypes, "CDLL", lambda *_, **__: self)

    def prctl(self, *args: int) -> int:
        """Note it."""
        self.calls.append(("prctl", *args))
        ctypes.set_errno(1)
        return self.answer


def test_everything_is_asked_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """PR_SET_DUMPABLE is 4."""
    kernel = Kernel(monkeypatch)
    process.harden()
    assert kernel.calls == [
        ("umask", 0o077),
        (resource.RLIMIT_CORE, (0, 0)),
        (resource.RLIMIT_NOFILE, (4096, 4096)),
        ("prctl", 4, 0, 0, 0, 0),
    ]


def test_a_kernel_that_refuses_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that can be read must not hold a credential."""
    Kernel(monkeypatch, answer=-1)
    with pytest.raises(OSError, match="PR_SET_DUMPABLE"):
        process.harden()


def test_elsewhere_there_is_no_prctl(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is Linux's."""
    kernel = Kernel(monkeypatch, answer=-1)
    monkeypatch.setattr(process.sys, "platform", "darwin")
    process.harden()
    assert len(kernel.calls) == 3


@pytest.mark.parametrize(
    ("soft", "wanted", "dns", "most"),
    [
        (1024, 1024, 0, (1024 - SPARE) // 3),
        (1024, 1024, 384, (1024 - SPARE - 384) // 3),
        (1024, 100, 0, 100),
        (SPARE + 24, 1024, 0, 8),
        (SPARE + 6, 2, 0, 2),
        (resource.RLIM_INFINITY, 1024, 384, 1024),
    ],
)
def test_connections_leave_descriptors_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, soft: int, wanted: int, dns: int, most: int
) -> None:
    """A judged push needs three: to the sandbox, to the forge, and for the inquiry about its refs."""
    Kernel(monkeypatch, soft=soft)
    assert most_connections(wanted, dns) == most


@pytest.mark.parametrize(
    ("soft", "wanted", "dns", "needed"), [(258, 1024, 0, 344), (SPARE + 23, 1024, 0, 344), (10, 2, 384, 710)]
)
def test_too_few_descriptors_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, soft: int, wanted: int, dns: int, needed: int
) -> None:
    """One line that names the limit, whose it is, and how much is needed."""
    Kernel(monkeypatch, soft=soft)
    with pytest.raises(ConfigError) as caught:
        most_connections(wanted, dns)
    text = f"open files of this process (RLIMIT_NOFILE) is {soft} and at least {needed} are needed"
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
