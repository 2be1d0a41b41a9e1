"""A command of ``credgate run --isolate`` that tries to reach sockets and to read files with credentials."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes import inside_calls
from tests.fakes.canary import traces
from tests.fakes.run_caller import Caller, appears, finish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Forge

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")

REFUSED = {
    **dict.fromkeys(("stream", "datagram", "raw unix", "upper half", "vsock", "alg", "netlink audit"), "EAFNOSUPPORT"),
    **dict.fromkeys(("datagram pair", "raw pair", "io_uring", "keyctl", "TIOCSTI"), "EPERM"),
    "stream pair": "EISCONN",
}
WORKS = ("pair", "netlink route", "inet", "inet6")


@pytest.fixture
def listeners(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, socket.socket]]:
    """Listen in the project: on paths that are then linked and renamed, on a relative path, and for datagrams."""
    monkeypatch.chdir(caller.project)
    made = {}
    for name in ("linked", "renamed", "relative"):
        made[name] = socket.socket(socket.AF_UNIX)
        made[name].bind(name if name == "relative" else str(caller.project / f"{name}.old"))
        made[name].listen()
    os.link("linked.old", "linked")
    Path("renamed.old").rename("renamed")
    made["datagram"] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made["datagram"].bind("linked.dgram")
    for one in made.values():
        one.settimeout(0)
    yield made
    for one in made.values():
        one.close()


def reached(listeners: dict[str, socket.socket]) -> set[str]:
    """Return the names of the listeners that were reached."""
    found = set()
    for name, one in listeners.items():
        try:
            one.recv(16) if one.type == socket.SOCK_DGRAM else one.accept()[0].close()
        except BlockingIOError:
            continue
        found.add(name)
    return found


def test_no_socket_is_reached_by_any_name_or_system_call(caller: Caller, listeners: dict[str, socket.socket]) -> None:
    """Hard links, new names, relative paths, pairs, io_uring, other system call tables.

    Without ``--isolate`` the sockets are reached.
    """
    places = [str(caller.project / name) for name in ("linked", "renamed", "relative")]
    words = (sys.executable, str(inside_calls.__file__), *places)
    found = dict(line.split(": ") for line in caller.wrapped("--isolate", "--", *words).fine().splitlines())
    expected = REFUSED | dict.fromkeys(WORKS, "done")
    assert {name: found.get(name) for name in expected} == expected
    if platform.machine() == "x86_64":
        # SIGSYS for the system call table of i386; SIGSEGV where the kernel has none.
        assert found["x32"] == "ENOSYS"
        assert found["int 80"] in {"-31", "-11"}
    assert reached(listeners) == set()
    outside = dict(line.split(": ") for line in caller.wrapped("--", *words).fine().splitlines())
    assert {outside[name] for name in (*WORKS, "stream", "datagram", "datagram pair")} == {"done"}
    assert reached(listeners) == set(listeners)


ODD = "t\u00f6k#en?%20 .txt"
"""Not ASCII, and with the characters that end a path in a URL. The directory's name has a double quote."""


@pytest.fixture
def configured(caller: Caller, forge: Forge) -> Iterator[Caller]:
    """Return a caller whose configuration names files in the project, through a symbolic link."""
    made = Caller(caller.folder.parent / "configured", forge.secret)
    place = made.project / 'a"b'
    place.mkdir()
    (made.project / "link").symlink_to(place)
    for name in (ODD, "second", "argument", "audit.log"):
        (place / name).write_text(made.secret + "\n")
        (place / name).chmod(0o600)
    (made.project / "credgate.toml").write_text(
        f"""[forges."github.com"]
kind = "github"
url = "{forge.plain.url}"
credential = 'file://{made.project}/link/{ODD}'
credentials = {{ "octo/x" = 'cmd://cat "{made.project}/a\\"b/argument"', "octo/y" = 'file://{place}/second' }}
[audit]
to = '{place}/audit.log'
"""
    )
    yield made
    shutil.rmtree(made.folder)


READ = (
    "find . /proc/self/root/$PWD/ -type f -size +0 -exec grep -l ghs_ {} + ; cat a?b/* link/* credgate.toml; echo read"
)


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_files_of_the_configuration_cannot_be_read(configured: Caller, mode: int) -> None:
    """By their path or by a link. Other files of the project are readable, and without ``--isolate`` these are, too."""
    (configured.project / 'a"b').chmod(mode)
    (configured.project / "mine").write_text("mine\n")
    words = ("--config", "credgate.toml", "--repo", "octo/x", "--isolate", "--", "sh", "-c")
    ran = configured.wrapped(*words, READ + "; cat mine")
    assert ran.out.split() == ["read", "mine"], ran
    assert not traces(configured.secret, (ran.out + ran.err).encode())
    assert configured.secret in configured.wrapped(*(word for word in words if word != "--isolate"), READ).out


def test_secret_that_is_replaced_meanwhile_stays_hidden(configured: Caller) -> None:
    """In a private directory: replacing a file removes the mount over the file, but not that over its directory."""
    place = configured.project / 'a"b'
    place.chmod(0o700)
    script = "echo x > ready; while test ! -e go; do sleep 0.05; done; cat a?b/* link/*; echo read"
    process = configured.begin("--config", "credgate.toml", "--isolate", "--", "sh", "-c", script)
    appears(configured.project / "ready")
    (place / "new").write_text(configured.secret)
    (place / "new").rename(place / ODD)
    (configured.project / "go").touch()
    ran = finish(process)
    assert ran.out == "read\n"


def test_secret_with_a_second_name_is_an_error(configured: Caller) -> None:
    """Without that name the same configuration works."""
    os.link(configured.project / 'a"b' / ODD, configured.project / "second")
    words = ("--config", "credgate.toml", "--isolate", "--", "cat", "second")
    ran = configured.wrapped(*words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("credgate: --isolate cannot hide ")
    assert ran.err.endswith("it has 2 names (hard links)\n")
    (configured.project / "second").unlink()
    assert "No such file" in configured.wrapped(*words).err
