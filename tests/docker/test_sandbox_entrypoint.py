"""The sandbox's entry point, with the real ``credgate-sandbox``, in each shell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from attrs import define

from tests.docker.shipped import DOCKER, ROOT
from tests.fakes.needs import SHELLS
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@define
class Start:
    """The start of a sandbox."""

    shell: list[str]
    folder: Path

    @property
    def gitconfig(self) -> Path:
        """The file that the image's gitconfig includes."""
        return self.folder / "gitconfig"

    def begin(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        """Start the entry point."""
        given = {"PATH": f"{ROOT}/helpers:{os.environ['PATH']}", "CREDGATE_GITCONFIG": str(self.gitconfig)} | environ
        words = [*self.shell, str(DOCKER / "sandbox-entrypoint"), *command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, env=given, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload, no-any-return]  # mypy cannot follow **

    def run(self, *command: str, **environ: str) -> tuple[int, str, str]:
        """Start the entry point and wait for its end."""
        process = self.begin(*command, **environ)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err


@pytest.fixture(params=SHELLS)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Select each installed shell."""
    return Start(str(request.param).split(), tmp_path)


def test_git_is_configured_and_the_command_runs(start: Start) -> None:
    """With its arguments; its exit status is returned."""
    code, out, _ = start.run("sh", "-c", 'echo "$1"; exit 7', "sh", "a b", SANDBOX_GATEWAY_ENABLED="true")
    assert (code, out) == (7, "a b\n")
    assert "http://gateway:8080/git/" in start.gitconfig.with_name("gitconfig.credgate").read_text()


@pytest.mark.parametrize("enabled", ["", "false", "1"])
def test_git_is_not_configured_without_the_variable(start: Start, enabled: str) -> None:
    """Files of an earlier start are removed."""
    start.run("true", SANDBOX_GATEWAY_ENABLED="true")
    assert start.run("echo", "ran", SANDBOX_GATEWAY_ENABLED=enabled)[:2] == (0, "ran\n")
    assert list(start.folder.iterdir()) == []


def test_sandbox_does_not_start_if_git_cannot_be_configured(start: Start) -> None:
    """Its git would connect to forges directly."""
    code, out, err = start.run("echo", "ran", SANDBOX_GATEWAY_ENABLED="true", CREDGATE_URL="nonsense")
    assert (code != 0, out) == (True, "")
    assert "credgate-sandbox: " in err


def test_entry_point_without_a_command_waits_for_sigterm(start: Start) -> None:
    """``compose stop`` sends it; process 1 without a handler would ignore it."""
    process = start.begin(SANDBOX_GATEWAY_ENABLED="true")
    wait_until(start.gitconfig.exists, "the entry point has set git up")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(20) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # it may have received the signal before it slept
            os.killpg(process.pid, signal.SIGKILL)  # its sleep; in a container that ends with process 1
        process.communicate()


@pytest.mark.needs("shellcheck")
def test_shellcheck_finds_no_problem() -> None:
    """With the rules of POSIX sh."""
    command = ["shellcheck", "--shell=sh", str(DOCKER / "sandbox-entrypoint")]
    ran = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")
