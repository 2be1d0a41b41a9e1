"""``docs/cli.md`` documents every option, and its examples print what it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
import pytest_twisted

from credgate.cli.main import main
from tests.fakes.cli import asked
from tests.fakes.schemas import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.control_gateway import Gateway

Words = tuple[str, ...]

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
ID, UNKNOWN = "s-0123456789abcdef", "s-00000000000000ff"
VARYING = [
    (r"s-[0-9a-f]{16}", ID),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "2026-01-31T12:00:00Z"),
    (r"\d+s ago", "1s ago"),
    (r"\d+h( \d+m)?(?= *$|\))", "7h 59m"),
    (r", up \d+s", ", up 1s"),
    (r"\b\d+:[0-9a-f]{64}\b", "12:" + "ab" * 32),
    (r"\b[0-9a-f]{12}\b", "0123456789ab"),
    (r"(?<=[ (])/\S*/run/control.sock", "/run/credgate/control.sock"),
    (r"at most \d+s left", "at most 604799s left"),
    (r"─+", "─"),
    (r" +", " "),
]


def commands(
    group: click.Command = main, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its words."""
    if isinstance(group, click.Group):
        for name, one in group.commands.items():
            yield from commands(one, (*before, name))
    else:
        yield before, group


def normalised(text: str) -> list[str]:
    """Return the lines of an output, with values that differ between runs replaced."""
    for pattern, instead in VARYING:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return [line.strip() for line in text.splitlines() if line.strip(" ─")]


def examples() -> list[tuple[str, str]]:
    """Return the ``$`` lines of the document, each with what is shown below it."""
    found: list[tuple[str, str]] = []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("    $ "):
            found.append((line.removeprefix("    $ "), ""))
        elif line.startswith("    ") and found and not found[-1][1].endswith("\0"):
            found[-1] = (found[-1][0], f"{found[-1][1]}{line[4:]}\n")
        elif found and line.strip() and not found[-1][1].endswith("\0"):
            found[-1] = (found[-1][0], found[-1][1] + "\0")
    return [(command, shown.rstrip("\0")) for command, shown in found]


@pytest.mark.parametrize(("words", "command"), [pytest.param(*one, id=" ".join(one[0])) for one in commands()])
def test_every_option_is_documented(words: tuple[str, ...], command: click.Command) -> None:
    """In the section of its command. Common options are at the top."""
    text = DOCUMENT.read_text(encoding="utf-8")
    heading = re.search(rf"^## .*`credgate {re.escape(words[0])}\b.*$", text, re.MULTILINE)
    assert heading is not None, f"{words[0]} has no section"
    section = text[heading.end() :].partition("\n## ")[0]
    options = [name for parameter in command.params if isinstance(parameter, click.Option) for name in parameter.opts]
    missing = [name for name in options if f"{name}" not in section and name not in {"--socket", "--json"}]
    assert missing == []


def test_every_json_output_has_a_schema() -> None:
    """Under the name of the command."""
    for words, command in commands():
        if any("--json" in parameter.opts for parameter in command.params):
            assert " ".join(words) in names() or words[0] in names(), words


@pytest_twisted.ensureDeferred
async def test_examples_print_the_documented_output(gateway: Gateway) -> None:
    """In the order of the document, with one gateway."""
    _configuration()
    real = UNKNOWN
    for command, shown in examples():
        words = [word.replace(ID, real) for word in shlex.split(command)]
        assert words[0] == "credgate"
        result = await asked(*words[1:])
        if words[1:3] == ["session", "create"]:
            real = result.out.strip()
        assert normalised(result.err + result.out) == normalised(shown), f"$ {command}\n{result.err}{result.out}"


def _configuration() -> None:
    Path("credgate.toml").write_text('[forges."github.com"]\nkind = "github"\nurl = "https://github.com"\n')
