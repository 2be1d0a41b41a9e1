"""``docs/policy.md`` shows what git prints through the real gateway: every console block is run here and compared.

The blocks that ask nothing of the pack are also run without a network (tests/git/test_policy_document.py); those marked
``forge``, and ``filterless`` for a forge that cannot send history alone, need this one.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from tests.fakes.pushing import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Door, Enter, StartGateway
    from tests.fakes.repositories import Repositories

DOCUMENT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
BLOCK = re.compile(r"^```(json|toml|console|console forge|console filterless)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SESSION = "s-0123456789abcdef"
FLOW = ".github/workflows/ci.yml"


@frozen
class Shown:
    """A console block, and the grant or policy that stands before it."""

    kind: str
    command: list[str]
    output: str
    grant: dict[str, Any]
    policy: dict[str, Any]


def shown() -> Iterator[Shown]:
    """Every console block."""
    grant: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    for kind, text in BLOCK.findall(DOCUMENT):
        if kind == "json":
            grant, policy = json.loads(text), {}
        elif kind == "toml":
            grant, policy = {}, tomllib.loads(text).get("policy", {})
        else:
            command, _, output = text.partition("\n")
            yield Shown(kind, shlex.split(command.removeprefix("$ git push ")), output.rstrip("\n"), grant, policy)


EXAMPLES = list(shown())


def desk_of(example: Shown, enter: Enter, door: Door, repos: Repositories) -> Desk:
    """Set the scene: branches of the sandbox, and what the forge has of them."""
    visit = enter([{"repo": (path := repos.seeded()), **example.grant}], login="bearer", door=door)
    desk = Desk(visit.box, visit.lease, door.gateway, repos, path)
    desk.behind("config", "receive.advertisePushOptions", "true")
    old = desk.local("rev-parse", "main")
    topic = desk.commit(old, files={"file": b"topic\n"})
    desk.commit(old, files={"file": b"new\n"}, name="refs/heads/main")
    desk.commit(old, files={"file": b"rewritten\n"}, name="refs/heads/rewritten")
    desk.commit("main", files={"file": b"new\n", FLOW: b"on: push\n"}, name="refs/heads/workflow")
    later = desk.commit(topic, files={"file": b"later\n"})
    desk.commit("main", later, files={"file": b"merged\n"}, name="refs/heads/merged")
    desk.give({f"refs/heads/agent/{name}": old for name in ("old", "gone")})
    desk.give({"refs/heads/agent/topic": topic, "refs/heads/later": later})
    if example.kind == "console filterless":
        desk.behind("config", "uploadpack.allowFilter", "false")
    return desk


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: " ".join(example.command))
def test_git_prints_what_the_document_shows(
    repos: Repositories, enter: Enter, door: Door, start_gateway: StartGateway, example: Shown
) -> None:
    """Whoever searches for what their terminal says finds it; and nothing moves but what is shown to."""
    if example.policy:
        door = start_gateway(settings={"policy": example.policy})
    desk = desk_of(example, enter, door, repos)
    before = desk.refs()
    ran = desk.push(*("origin" if word == "gateway" else word for word in example.command))
    said = re.sub(r"http://127\.0\.0\.1:[0-9]+/git/octo/r[0-9]+\.git", "gateway", ran.out + ran.err)
    said = "\n".join(line.rstrip() for line in said.replace(desk.lease.id, SESSION).splitlines())
    said = re.sub(r"^(fatal: the receiving end [^\n]*)\n.*", r"\1", said, flags=re.DOTALL)
    assert said == example.output
    assert (ran.code != 0) == ("rejected" in said or "fatal" in said)
    assert len(desk.refs().items() ^ before.items()) == said.count(" * [new branch]")


def test_the_document_shows_enough() -> None:
    """The test above is about something."""
    assert [example.kind for example in EXAMPLES].count("console") == 10
    assert len(EXAMPLES) == 13
