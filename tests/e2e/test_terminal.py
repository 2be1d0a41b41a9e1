"""The command line in a real terminal: colours, a prompt, a live table, Ctrl-C and Ctrl-Z."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.terminal import Terminal
from tests.fakes.waiting import wait_until
from tests.fakes.wrapped import BUILDERS, CREDGATE, Caller, only

if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.needs("tmux", "bash")


@pytest.fixture
def terminal(caller: Caller) -> Iterator[Terminal]:
    """Open one; close it."""
    made = Terminal(caller.folder, caller.environ)
    yield made
    made.end()


def test_top_draws_what_there_is_and_leaves_the_screen_as_it_was(caller: Caller, terminal: Terminal) -> None:
    """Sessions come and go while it runs; Ctrl-C is no failure."""
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


def test_revoking_everything_asks_first(caller: Caller, terminal: Terminal) -> None:
    """And no is no; what is there is asked about once."""
    assert caller.gateway is not None
    lease = caller.gateway.grant(["octo/hello"])
    terminal.start(*CREDGATE, "session", "revoke", "--all")
    terminal.shows("Revoke every session, and cut what they transfer? [y/N]:")
    terminal.type("n")
    terminal.shows("credgate: nothing was revoked", "exit=1")
    assert caller.gateway.control("GET", f"/v1/sessions/{lease.id}").status == 200
    caller.gateway.revoke(lease)


def test_a_state_has_its_colour_and_none_where_none_is_wanted(terminal: Terminal) -> None:
    """Green for what works; NO_COLOR (no-color.org) is heard."""
    terminal.start(*CREDGATE, "status")
    terminal.shows("ready", "exit=0")
    (line,) = [line for line in terminal.screen(colours=True).splitlines() if line.startswith("ready")]
    assert "\x1b[32myes" in line
    terminal.type(f"clear; NO_COLOR=1 {' '.join(CREDGATE)} status; echo done=$?")
    terminal.shows("done=0")
    (line,) = [line for line in terminal.screen(colours=True).splitlines() if line.startswith("ready")]
    assert "\x1b[32m" not in line


def test_an_interrupt_is_no_traceback(terminal: Terminal) -> None:
    """A command that is asked to stop says nothing and has the shell's status."""
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
def test_a_command_that_is_run_has_the_terminal(
    caller: Caller, terminal: Terminal, builder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked and answers; its size is told; Ctrl-C is the command's, once, and its status passes."""
    if builder:
        monkeypatch.setenv("PATH", only(builder, caller.folder / "bin"))
        terminal.environ = caller.environ
    walls = ["--isolate"] if builder else []
    (caller.project / "job").write_text(JOB)
    job = str(caller.project / "job")
    terminal.start("env", "-C", str(caller.project), *CREDGATE, "run", *walls, "--", "bash", job)
    wait_until(caller.left, "the session is made")
    terminal.type("hello")
    terminal.shows("got hello")
    terminal.press("C-c")
    screen = terminal.shows("caught", "exit=6")
    assert screen.count("caught") == 1
    assert caller.left() == []


def test_a_command_that_is_run_can_be_stopped_and_taken_up(caller: Caller, terminal: Terminal) -> None:
    """Ctrl-Z gives the shell back; fg goes on."""
    terminal.start("bash", "--norc", "-i")
    (caller.project / "job").write_text("read -r line; echo got $line")
    terminal.type(f"cd {caller.project}; {' '.join(CREDGATE)} run -- sh job; echo left=$?")
    wait_until(caller.left, "the session is being made")
    terminal.press("C-z")
    terminal.shows("Stopped", "left=148")
    before = terminal.screen().count("run -- sh job")
    terminal.type("fg")
    # The shell names the job when the terminal is the job's; what is typed earlier may be the shell's.
    wait_until(lambda: terminal.screen().count("run -- sh job") > before, "the command is in the foreground")
    terminal.type("hello")
    terminal.shows("got hello")
    wait_until(lambda: caller.left() == [], "the session is ended")
