"""The command line on a real terminal: colours, a prompt, a live table, Ctrl-C and Ctrl-Z."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.run_caller import BUILDERS, CREDGATE, Caller, only
from tests.fakes.terminal import Terminal
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.needs("tmux", "bash")


@pytest.fixture
def terminal(caller: Caller) -> Iterator[Terminal]:
    """Open a terminal."""
    made = Terminal(caller.folder, caller.environ)
    yield made
    made.end()


def test_top_follows_changes_and_restores_the_screen(caller: Caller, terminal: Terminal) -> None:
    """Ctrl-C is not a failure."""
    assert caller.gateway is not None
    terminal.start(*CREDGATE, "top", "--interval", "0.1")
    terminal.shows("SESSION", "REPOSITORIES", "requests running")
    lease = caller.gateway.grant(["octo/hello"], label="comes-and-goes")
    terminal.shows(lease.id, "comes-and-goes", "octo/hello")
    terminal.resize(100, 30)
    terminal.shows(lease.id)
    caller.gateway.revoke(lease)
    wait_until(lambda: lease.id not in terminal.screen(), "the session is off the screen")
    terminal.press("C-c")
    screen = terminal.shows("exit=0")
    assert "REPOSITORIES" not in screen
    assert "Traceback" not in screen


def test_revoke_all_asks_for_confirmation(caller: Caller, terminal: Terminal) -> None:
    """The answer no revokes nothing."""
    assert caller.gateway is not None
    lease = caller.gateway.grant(["octo/hello"])
    terminal.start(*CREDGATE, "session", "revoke", "--all")
    terminal.shows("Revoke all sessions and abort their transfers? [y/N]:")
    terminal.type("n")
    terminal.shows("credgate: no session was revoked", "exit=1")
    assert caller.gateway.control("GET", f"/v1/sessions/{lease.id}").status == 200
    caller.gateway.revoke(lease)


def test_states_are_coloured_unless_no_color_is_set(terminal: Terminal) -> None:
    """See no-color.org."""
    terminal.start(*CREDGATE, "status")
    terminal.shows("ready", "exit=0")
    (line,) = [line for line in terminal.screen(colours=True).splitlines() if line.startswith("ready")]
    assert "\x1b[32myes" in line
    terminal.type(f"clear; NO_COLOR=1 {' '.join(CREDGATE)} status; echo done=$?")
    terminal.shows("done=0")
    (line,) = [line for line in terminal.screen(colours=True).splitlines() if line.startswith("ready")]
    assert "\x1b[32m" not in line


def test_interrupt_prints_no_traceback(terminal: Terminal) -> None:
    """The exit status is that of a shell."""
    terminal.start(*CREDGATE, "session", "revoke", "--all")
    terminal.shows("[y/N]")
    terminal.press("C-c")
    screen = terminal.shows("exit=130")
    assert "Traceback" not in screen


JOB = """
trap 'echo caught; exit 6' INT
test -t 0 && read -r line && echo "got $line"
while :; do sleep 0.1; done
"""


@pytest.mark.parametrize("builder", ["", *BUILDERS])
def test_command_of_run_has_the_terminal(
    caller: Caller, terminal: Terminal, builder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads from it, and gets Ctrl-C once. Its exit status is passed on."""
    if builder:
        monkeypatch.setenv("PATH", only(builder, caller.folder / "bin"))
        terminal.environ = caller.environ
    options = ["--isolate"] if builder else []
    (caller.project / "job").write_text(JOB)
    job = str(caller.project / "job")
    terminal.start("env", "-C", str(caller.project), *CREDGATE, "run", *options, "--", "bash", job)
    wait_until(caller.remaining, "the session is made")
    terminal.type("hello")
    terminal.shows("got hello")
    terminal.press("C-c")
    screen = terminal.shows("caught", "exit=6")
    assert screen.count("caught") == 1
    assert caller.remaining() == []


def test_command_of_run_can_be_stopped_and_continued(caller: Caller, terminal: Terminal) -> None:
    """With Ctrl-Z and ``fg``."""
    # No history file: bash would write it after the end of the terminal, while the directory is removed.
    terminal.start("env", "HISTFILE=/dev/null", "bash", "--norc", "-i")
    (caller.project / "job").write_text("read -r line; echo got $line")
    terminal.type(f"cd {caller.project}; {' '.join(CREDGATE)} run -- sh job; echo left=$?")
    wait_until(caller.remaining, "the session is being created")
    terminal.press("C-z")
    terminal.shows("Stopped", "left=148")
    before = terminal.screen().count("run -- sh job")
    terminal.type("fg")
    # The shell prints the job's command line when it gives it the terminal; it may read what is typed before that.
    wait_until(lambda: terminal.screen().count("run -- sh job") > before, "the command is in the foreground")
    terminal.type("hello")
    terminal.shows("got hello")
    wait_until(lambda: caller.remaining() == [], "the session is ended")
