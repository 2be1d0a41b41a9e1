"""The invocation of bubblewrap, and running a command with it (its effect: ``tests/e2e/test_run.py``)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from credgate.cli.output import CommandError
from credgate.cli.run import isolate
from credgate.cli.run.mounts import FileSystem
from credgate.cli.run.signals import CommandStartError

if TYPE_CHECKING:
    from pathlib import Path

FILES = FileSystem(
    (("empty", "/run"), ("nothing", "/home/me/.netrc"), ("read", "/proc/sys"), ("write", "/srv")), "/srv"
)


def test_bubblewrap_gets_every_option() -> None:
    """Each of them is needed for the isolation."""
    words = isolate.bubblewrap("bwrap", FILES, 7, share_terminal=True)
    assert words[words.index("--seccomp") + 1] == "7"
    assert {"--unshare-net", "--unshare-pid", "--unshare-user", "--unshare-ipc", "--die-with-parent"} <= set(words)
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert (
        " --tmpfs /run --ro-bind /dev/null /home/me/.netrc --ro-bind /proc/sys /proc/sys --bind /srv /srv "
        in " ".join(words)
    )
    assert words[-3:] == ["--chdir", "/srv", "--"]


def test_terminal_is_not_shared_if_the_command_could_type_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TIOCSTI it would send commands to the caller's shell."""
    assert "--new-session" not in isolate.bubblewrap("bwrap", FILES, 7, share_terminal=True)
    assert "--new-session" in isolate.bubblewrap("bwrap", FILES, 7, share_terminal=False)
    setting = tmp_path / "legacy_tiocsti"
    monkeypatch.setattr(isolate, "LEGACY_TIOCSTI", setting)
    assert not isolate.can_share_terminal()
    for text, shared in (("1\n", False), ("0\n", True)):
        setting.write_text(text)
        assert isolate.can_share_terminal() is shared


FAILS = '#!/bin/sh\necho "$(basename $0): not permitted" >&2\nexit 1\n'


def programs(tmp_path: Path, **scripts: str) -> str:
    """Create programs; return a PATH with only these and ``true``."""
    for name, script in scripts.items():
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    for name in ("true", "basename"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    return str(tmp_path)


def test_root_works_without_a_user_namespace_if_none_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried with one first. Other users have no second way."""
    path = programs(tmp_path, bwrap="#!/bin/sh\nexit 0\n")
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert isolate.find_bubblewrap(FILES)(FILES, 7, True)[:2] == [f"{path}/bwrap", "--unshare-user"]  # noqa: FBT003 - as Bubblewrap has it
    (tmp_path / "bwrap").write_text(FAILS.replace("echo", 'case "$*" in *--unshare-user*) ;; *) exit 0;; esac\necho'))
    assert "--unshare-user" not in isolate.find_bubblewrap(FILES)(FILES, 7, True)  # noqa: FBT003 - as above
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CommandError, match="not permitted"):
        isolate.find_bubblewrap(FILES)


def test_failure_of_bubblewrap_is_one_line_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If bubblewrap is missing, the message names the package."""
    monkeypatch.setenv("PATH", programs(tmp_path, bwrap=FAILS))
    with pytest.raises(CommandError) as caught:
        isolate.find_bubblewrap(FILES)
    assert caught.value.format_message() == "--isolate: bubblewrap failed: not permitted"
    (tmp_path / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(CommandError, match="exit status 1, no error message"):
        isolate.find_bubblewrap(FILES)
    (tmp_path / "bwrap").unlink()
    with pytest.raises(CommandError, match=r"bwrap is not in PATH \(apt-get install bubblewrap\)"):
        isolate.find_bubblewrap(FILES)


def test_standard_descriptors_that_lead_out_are_refused(tmp_path: Path) -> None:
    """Directories, and sockets that can be connected again. Files, pipes and connected streams are allowed."""
    with ExitStack() as stack:
        opened = [os.open(tmp_path, os.O_RDONLY)]
        stack.callback(os.close, opened[0])
        for family, kind in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM)):
            opened.append(stack.enter_context(socket.socket(family, kind)).fileno())
        opened.append(stack.enter_context(socket.socket(socket.AF_UNIX)).fileno())
        pairs = [socket.socketpair(socket.AF_UNIX, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
        for one in (end for pair in pairs for end in pair):
            stack.enter_context(one)
        for descriptor in (*opened, pairs[0][0].fileno()):
            with pytest.raises(CommandError, match=f"standard descriptor {descriptor} is a (directory|socket)"):
                isolate.check_descriptors([descriptor])
        read, write = os.pipe()
        isolate.check_descriptors([read, write, pairs[1][0].fileno(), os.open("/dev/null", os.O_RDONLY)])
        for descriptor in (read, write):
            os.close(descriptor)
        isolate.check_descriptors([read])


# Running a command. In a process of its own, because another thread of the tests would receive its signals.

RUN = """
import os, sys
from credgate.cli.run import isolate
channel, port, *bwrap = sys.argv[1:]
started = lambda: print("started", flush=True)
sys.exit(isolate.run(
    bwrap, ["sh", "-c", "exit 7"], os.environ, channel=int(channel), port=int(port), started=started,
    share_terminal=True,
))
"""


def begin(channel: socket.socket, port: int, *bwrap: str) -> subprocess.Popen[str]:
    """Start the command with ``bwrap`` as the words that precede it."""
    command = [sys.executable, "-c", RUN, str(channel.fileno()), str(port), *bwrap]
    return subprocess.Popen(command, pass_fds=(channel.fileno(),), stdout=subprocess.PIPE, text=True)


def test_supervisor_receives_the_listening_socket() -> None:
    """It listens on the port that the command was given. The exit status is the command's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    supervisor, channel = socket.socketpair()
    supervisor.settimeout(30)
    with supervisor, channel, begin(channel, port) as process:
        _, received, _, _ = socket.recv_fds(supervisor, 16, 1)
        with socket.socket(fileno=received[0]) as listener:
            assert listener.getsockname() == ("127.0.0.1", port)
        supervisor.send(b"1")
        assert process.communicate(timeout=30) == ("started\n", None)
    assert process.returncode == 7


def test_failure_before_process_1_starts_has_bubblewraps_exit_status() -> None:
    """Nothing waits for a process 1 that does not start."""
    ours, theirs = socket.socketpair()
    with ours, theirs, begin(theirs, 1, "sh", "-c", "exit 2", "--") as process:
        assert process.communicate(timeout=30) == ("started\n", None)
    assert process.returncode == 2


def test_missing_bubblewrap_raises_an_error() -> None:
    """No command was started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(CommandStartError):
        isolate.run(["/no/such/program"], ["true"], {}, channel=0, port=1, started=lambda: None, share_terminal=True)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
