"""``docs/policy.md`` shows what git prints: every console block is run through the rules and compared."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from credgate.config.schema import Config, PushPolicy
from credgate.config.structure import structure
from credgate.forges.registry import driver_for
from credgate.git.fixtures import Fixtures
from credgate.git.push_rules import DEFAULT
from tests.fakes.kept import make_place

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()


@frozen
class Shown:
    """A console block and the grant or policy that stands before it."""

    command: list[str]
    output: str
    given: dict[str, Any]


def blocks() -> Iterator[tuple[str, str]]:
    """Every fenced block: its language and its text."""
    yield from re.findall(r"^```(json|toml|console)\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def shown() -> Iterator[Shown]:
    """Every console block."""
    given: dict[str, Any] = {}
    for language, text in blocks():
        if language == "json":
            given = {"grant": json.loads(text)}
        elif language == "toml":
            given = {"policy": tomllib.loads(text).get("policy", {})}
        else:
            command, _, output = text.partition("\n")
            yield Shown(shlex.split(command.removeprefix("$ git ")), output.rstrip("\n"), given)


EXAMPLES = list(shown())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: " ".join(example.command))
def test_git_prints_what_the_document_shows(tmp_path: Path, example: Shown) -> None:
    """So that a search for a terminal's output finds the page."""
    place = make_place(tmp_path)
    place.git("push", "-q", "../bare.git", "main~:refs/heads/agent/gone")
    words = [word.replace("gateway", f"file://{place.bare}") for word in example.command]
    status, text = place.run(
        *words[:1], place.through("receive-pack"), *words[1:], GATEKEEPER=json.dumps(example.given)
    )
    said = text.replace(f"file://{place.bare}", "gateway")
    said = re.sub(r"^(fatal: the receiving end .*)\n.*", r"\1", said, flags=re.DOTALL)
    assert said == example.output
    assert (status != 0) == ("rejected" in said or "fatal" in said)


def test_document_has_all_examples() -> None:
    """The expression of the test above finds every block."""
    assert len(EXAMPLES) == 10


def test_shown_defaults_are_the_defaults() -> None:
    """Read from the document, rule by rule."""
    text = DOCUMENT.split("A write grant without `push` has these:")[1].split("So branches")[0]
    assert [(rule["refs"], set(rule["allow"])) for rule in json.loads(text)] == [
        (rule.refs, set(rule.allow)) for rule in DEFAULT
    ]


def test_shown_fixtures_pass() -> None:
    """The example of the document."""
    (text,) = [text for language, text in blocks() if language == "toml" and "[[push]]" in text]
    drivers = {forge.name: driver_for(forge) for forge in Config().forges.values()}
    outcomes = Fixtures(drivers, "github.com", PushPolicy()).run(text)
    assert [outcome.passed for outcome in outcomes] == [True, True, True]


def test_shown_policy_is_valid() -> None:
    """Operators copy it."""
    (text,) = [text for language, text in blocks() if language == "toml" and "[[push]]" not in text]
    assert isinstance(structure(tomllib.loads(text)), Config)
