"""The images as they came out, and what the containers may do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.containers.stand import IMAGES, Stand, engine

if TYPE_CHECKING:
    import pytest

MOST = 150_000_000
GATEWAY, SANDBOX = IMAGES["CREDGATE_IMAGE"], IMAGES["CREDGATE_SANDBOX_IMAGE"]


def size(image: str) -> int:
    """Ask how many bytes an image has."""
    return int(engine("image", "inspect", "-f", "{{.Size}}", image).fine())


def test_the_gateways_image_is_small(built: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond its base, which is the operator's choice."""
    beyond = size(GATEWAY) - size(built.base)
    with capsys.disabled():
        print(f"\ngateway image: {beyond / 1e6:.0f} MB beyond its base", end=" ")  # noqa: T201 - the figure is the result
    assert 0 < beyond < MOST


def test_the_images_are_not_roots(built: Stand) -> None:
    """Without compose, too; and the health check came along."""
    told = {image: json.loads(engine("image", "inspect", image).fine())[0] for image in (GATEWAY, SANDBOX)}
    assert told[GATEWAY]["Config"]["User"] == "10001:10001"
    assert told[SANDBOX]["Config"]["User"] == "1000:1000"
    assert told[GATEWAY]["Healthcheck"]["Test"][-1] == "/opt/credgate/healthcheck.py"


def test_the_gateway_has_no_tools(stand: Stand) -> None:
    """Neither compiler nor installer; Python is the positive control."""
    look = 'for tool in gcc cc g++ make pip git curl; do ! command -v "$tool" || exit 1; done; command -v python'
    assert stand.inside("gateway", "sh", "-c", look).fine() == "/opt/credgate/bin/python"


def test_the_gateway_may_nothing(stand: Stand) -> None:
    """No root, no capability, no new ones, and no place to write but its own."""
    status = dict(line.split(":\t", 1) for line in stand.inside("gateway", "cat", "/proc/1/status").fine().splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    write = 'echo x 2> /dev/null > "$1/x" && rm "$1/x" && echo yes || echo no'
    for place, may in (("/opt/credgate", "no"), ("/etc/credgate/credentials", "no"), ("/tmp", "yes")):
        assert stand.inside("gateway", "sh", "-c", write, "sh", place).fine() == may, place
    assert stand.inside("gateway", "sh", "-c", write, "sh", "/", user="0").fine() == "no"


def test_the_gateway_starts_without_complaint(stand: Stand) -> None:
    """A read-only root is what it expects."""
    log = stand.audit()
    assert '"event":"started"' in log
    for word in ("Unable to write", "Traceback", "Permission denied"):
        assert word not in log


def test_without_the_variable_git_is_left_as_it_is(built: Stand, stand: Stand) -> None:
    """``compose up`` with it unset, in a project of its own: addresses go where they say, and no session helps."""
    variables = {"SANDBOX_SUBNET": "10.77.4.0/24", "GATEWAY_ADDRESS": "10.77.4.2", "SANDBOX_ADDRESS": "10.77.4.9"}
    folder = built.folder / "plain"
    folder.mkdir()
    variables |= {"EGRESS": "10.78.4.0/24"}
    plain = Stand(folder, built.base, built.outside, f"{built.project}-plain", second=False, variables=variables)
    plain.lay_out()
    try:
        plain.compose("up", "-d", SANDBOX_GATEWAY_ENABLED="").fine()
        url = "https://github.com/octo/hello.git"
        ask = ["git", "ls-remote", "--get-url", url]
        assert plain.inside("dev", *ask).fine() == url
        assert stand.inside("dev", *ask).fine() == "http://gateway:8080/git/octo/hello.git"
        listed = plain.inside("dev", "git", "config", "--system", "--includes", "--list").fine()
        assert not [line for line in listed.splitlines() if line.startswith(("url.", "credential.", "http."))]
        assert plain.inside("dev", "credgate-sandbox", "status").out == "disabled\n"
        environ = plain.inside("dev", "env").fine().splitlines()
        assert {"GITHUB_TOKEN=", "GH_TOKEN="} <= set(environ)
    finally:
        plain.compose("down", "--timeout", "5").fine()
