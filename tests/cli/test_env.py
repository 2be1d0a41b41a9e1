"""``credgate env``: how a sandbox is set up, judged by what reads it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import jsonschema
import pytest
import pytest_twisted

from credgate.cli.env import FORMATS, written
from tests.fakes.cli import asked
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.control_gateway import Gateway

GATE = "http://gateway:8080"
ENTRIES = [(f"url.{GATE}/git/.insteadOf", "https://github.com/"), (f"credential.{GATE}.helper", "h --gateway x")]


def leads(environ: dict[str, str]) -> str:
    """Ask git where an address of github.com leads."""
    command = ["git", "ls-remote", "--get-url", "https://github.com/octo/hello"]
    base = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(command, env=base | environ, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("form", FORMATS)
def test_each_form_leads_git_to_the_gateway(form: str, tmp_path: Path) -> None:
    """As a shell, a JSON reader, an --env-file and git itself take it up."""
    text = written(form, ENTRIES, GATE, "/run/token")
    if form == "gitconfig":
        (tmp_path / "gitconfig").write_text(text)
        environ = {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig")}
    elif form == "json":
        environ = json.loads(text)
    elif form == "docker":
        environ = dict(line.split("=", 1) for line in text.splitlines())
    else:
        ran = subprocess.run(["sh", "-c", f"{text}\nenv -0"], env={}, capture_output=True, text=True, check=True)
        environ = dict(line.split("=", 1) for line in ran.stdout.split("\0") if line)
    assert leads(environ) == f"{GATE}/git/octo/hello"
    if form != "gitconfig":
        assert environ["CREDGATE_TOKEN_FILE"] == "/run/token"
        assert (environ["GITHUB_TOKEN"], environ["GH_TOKEN"]) == ("", "")


@pytest_twisted.ensureDeferred
async def test_a_session_s_set_up_holds_no_secret(gateway: Gateway) -> None:
    """It is only ever told by create."""
    made = (await asked("session", "create", "--repo", "octo/hello", "--json")).json
    told = await asked("env", made["id"], "--json", "--gateway", f"{GATE}/")
    jsonschema.validate(told.json, schema("env"))
    assert told.json["CREDGATE_URL"] == GATE
    assert made["secret"] not in told.out
    assert made["token"] not in told.out
    assert "CREDGATE_URL=http://127.0.0.1:8080\n" in (await asked("env", made["id"], "--format", "docker")).out


@pytest_twisted.ensureDeferred
async def test_a_session_that_is_gone_needs_no_sandbox(gateway: Gateway) -> None:
    """Nor is a gateway reached that no URL names."""
    told = await asked("env", "s-0123456789abcdef")
    assert (told.status, told.line) == (1, "Session not found")
    made = (await asked("session", "create", "--json")).json
    told = await asked("env", made["id"], "--gateway", "gateway:8080")
    assert (told.status, told.line[:44]) == (2, "say how the sandbox reaches the gateway: --g")
