"""``cmd://`` through real processes: hanging, talking without end, forking, failing; and what they see of us."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from credgate.errors import CredentialError
from credgate.service.credentials import credential_command
from credgate.service.credentials.credential_command import MAX_OUTPUT, run

ENVIRON = {"PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "GITHUB_TOKEN": "ghp_CANARY", "LD_PRELOAD": ""}


def shell(script: str, *words: str) -> Deferred[bytes]:
    """Run a script, as an operator's wrapper would be run."""
    return run("/bin/sh", ["sh", "-c", script, "sh", *words], ENVIRON, reactor).addTimeout(30, reactor)


def python(script: str) -> Deferred[bytes]:
    """Run a script of Python."""
    return run(sys.executable, ["python", "-I", "-S", "-c", script], ENVIRON, reactor).addTimeout(30, reactor)


async def said_of(running: Deferred[bytes]) -> str:
    """Return what is said of a command that fails."""
    with pytest.raises(CredentialError) as caught:
        await running
    return caught.value.text


def ended(pid: int) -> bool:
    """Whether a process is no more, or only a zombie that its new parent has still to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def shown(pid: int) -> bytes:
    """Return what ``ps`` can show of a process."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


def number_in(path: Path) -> int:
    """Return the number that a process has written; 0: not yet."""
    return int(path.read_text()) if path.exists() and path.read_text().endswith("\n") else 0


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    for _ in range(600):
        if ended(pid):
            return
        await deferLater(reactor, 0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("it still runs")


async def written(path: Path) -> int:
    """Wait for a process to have written its number."""
    for _ in range(600):
        if number := number_in(path):
            return number
        await deferLater(reactor, 0.05)
    pytest.fail("it never began")


@ensureDeferred
async def test_the_output_of_a_command_is_returned() -> None:
    """Its arguments are its own: no shell looks at them."""
    assert await run("/bin/echo", ["echo", "a b", "$HOME;`id`"], ENVIRON, reactor) == b"a b $HOME;`id`\n"


@ensureDeferred
async def test_a_command_sees_three_variables_and_no_descriptor(tmp_path: Path) -> None:
    """No token, no descriptor, no input, no terminal; a session and a group of its own, and signals as usual."""
    ours = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(ours, True)  # noqa: FBT003 - positional by its definition
    try:
        script = (
            "import os, signal, sys\n"
            "for name in sorted(os.environ): print(name, os.environ[name])\n"
            "print(sorted(int(one) for one in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + one)))\n"
            "print(os.getsid(0) == os.getpid() == os.getpgrp(), repr(sys.stdin.read()), os.getcwd())\n"
            "print(signal.pthread_sigmask(signal.SIG_BLOCK, []) == set())\n"
        )
        printed = (await python(script)).decode().splitlines()
    finally:
        os.close(ours)
    assert printed[:3] == ["HOME /root", "LANG C.UTF-8", "PATH /usr/bin:/bin"]
    assert printed[3:] == ["[0, 1, 2]", "True '' /", "True"]


@ensureDeferred
async def test_python_leaves_no_trace_in_the_command() -> None:
    """Without a locale it would make one up for its children."""
    printed = await run("/usr/bin/env", ["env"], {"PATH": "/bin"}, reactor)
    assert printed == b"PATH=/bin\n"


@ensureDeferred
async def test_a_command_gets_the_default_signal_for_a_broken_pipe() -> None:
    """Python ignores that signal and another, and what it starts would inherit that."""
    ignored = int((await shell("grep SigIgn /proc/self/status")).split()[1], 16)
    # Whoever started this run may have left others ignored: glibc's posix_spawn does so with one of its own.
    assert [one for one in (signal.SIGPIPE, signal.SIGXFSZ) if ignored >> (one - 1) & 1] == []
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo ghp_CANARY; echo ghp_CANARY >&2; exit 3", "it ended with status 3"),
        ("kill -TERM $$", "it was ended by signal 15"),
        ("exec /nonexistent", "it cannot be run"),
        ("cat /dev/zero", f"it printed more than {MAX_OUTPUT} bytes"),
    ],
)
@ensureDeferred
async def test_a_failure_reports_the_status_and_no_output(script: str, said: str) -> None:
    """What a failing program prints may be the secret."""
    assert await said_of(shell(script)) == said


@ensureDeferred
async def test_a_program_removed_after_the_start_is_reported() -> None:
    """It was there at the start."""
    assert await said_of(run("/nonexistent/gh", ["gh"], ENVIRON, reactor)) == "it cannot be run"


@pytest.mark.parametrize("size", [0, 1, MAX_OUTPUT])
@ensureDeferred
async def test_output_up_to_the_limit_is_taken(size: int) -> None:
    assert await python(f"print('x' * {size}, end='')") == b"x" * size


@ensureDeferred
async def test_a_hanging_command_is_killed_with_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vault that does not answer must not hold requests for ever, nor leave processes behind."""
    monkeypatch.setattr(credential_command, "TIME_LIMIT", 1.0)
    running = shell(
        '(echo $$; trap "" TERM HUP; sleep 300) & sh -c \'echo $$ > "$1"; sleep 300\' sh "$1"', f"{tmp_path}/pid"
    )
    pid = await written(tmp_path / "pid")
    assert await said_of(running) == "it did not end within 1 s"
    await gone(pid)


@ensureDeferred
async def test_the_rest_of_the_process_group_is_killed(tmp_path: Path) -> None:
    """A child that keeps the output open would be waited for until the limit."""
    printed = await shell(
        'sh -c \'echo $$ > "$1"; sleep 300\' sh "$1" & while ! test -s "$1"; do :; done; echo ghp_1', f"{tmp_path}/pid"
    )
    assert printed == b"ghp_1\n"
    await gone(await written(tmp_path / "pid"))


@ensureDeferred
async def test_a_descendant_in_another_session_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A descendant with a session of its own is not ended with the group; nobody waits for it."""
    monkeypatch.setattr(credential_command, "TIME_LIMIT", 1.0)
    pid = tmp_path / "pid"
    script = (
        "import os, time\n"
        "if not os.fork():\n"
        "    os.setsid()\n"
        f"    open({str(pid)!r}, 'w').write(str(os.getpid()) + '\\n')\n"
        "    time.sleep(300)\n"
        f"while not (os.path.exists({str(pid)!r}) and os.path.getsize({str(pid)!r})): pass\n"
    )
    assert await said_of(python(script)) == "it did not end within 1 s"
    os.kill(await written(pid), signal.SIGKILL)


@ensureDeferred
async def test_leaving_ends_it(tmp_path: Path) -> None:
    """A gateway that stops leaves nothing behind."""
    running = shell('echo $$ > "$1"; sleep 300', f"{tmp_path}/pid")
    results: list[Any] = []
    running.addBoth(results.append)
    pid = await written(tmp_path / "pid")
    running.cancel()
    assert results[0].check(CancelledError)
    await gone(pid)


@ensureDeferred
async def test_no_secret_is_in_an_argument_or_a_variable(tmp_path: Path) -> None:
    """``ps`` shows both to others; the secret goes through a pipe."""
    running = shell('echo $$ > "$1"; read x < "$2"; echo "ghp_CAN""ARY"', f"{tmp_path}/pid", f"{tmp_path}/go")
    os.mkfifo(tmp_path / "go")
    pid = await written(tmp_path / "pid")
    assert b"CANARY" not in shown(pid)
    (tmp_path / "go").write_text("\n")
    assert await running == b"ghp_CANARY\n"


class Refusing:
    """A reactor that starts no processes."""

    def spawnProcess(self, *args: object, **more: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")


@ensureDeferred
async def test_a_failed_fork_is_reported() -> None:
    """It is a failure like any other, and the next one may go well."""
    text = await said_of(run("/bin/echo", ["echo"], ENVIRON, Refusing()))
    assert text == "it cannot be started: Resource temporarily unavailable"
