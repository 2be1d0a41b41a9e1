"""``credgate explain``: what would be decided if git asked, and by which rule; nothing is asked of a forge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from credgate.cli import client, output
from credgate.cli.grants import grants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.cli.client import ControlSocket

VERBS = ("fetch", "create", "update", "force", "delete")


@click.command()
@click.argument("repo", metavar="OWNER/REPO")
@click.argument("verb", type=click.Choice(VERBS))
@click.argument("ref", metavar="[REF]", default="")
@click.option("--session", metavar="ID", help="Judge for this session.")
@click.option("--grant", metavar="OWNER/REPO[:read]", help="Judge for a session with this grant alone.")
@click.option("--push", metavar="REFS[:VERBS]", multiple=True, help="With --grant: its rules (repeatable).")
@click.option("--forge", default="", metavar="NAME", help="Where the repository is, if not on the default forge.")
@click.option("--path", default="", help="A path that the push changes.")
@click.option("--option", default="", help="A push option that it sends.")
@client.talking
def explain(way: ControlSocket, *, as_json: bool, **words: Any) -> None:  # noqa: ANN401 - click's
    """Say what would be decided about OWNER/REPO, and by which rule.

    Exit status 0: it would be allowed; 1: it would be refused.
    """
    told = way.ask("POST", "/v1/explain", question(**words))
    if as_json:
        output.say_json(told)
    else:
        output.console().print(output.pairs(rows(told)))
    raise SystemExit(0 if told["decision"] == "allow" else output.REFUSED)


def question(**words: Any) -> dict[str, Any]:  # noqa: ANN401 - click's
    """Return the body to ask with. Raises click.UsageError."""
    grant, push = words.pop("grant"), words.pop("push")
    if bool(words["session"]) == bool(grant):
        raise click.UsageError("say for whom: --session ID, or --grant OWNER/REPO")
    if grant:
        words["grant"] = grants([grant], push, words["forge"])[0]
    return {key: value for key, value in words.items() if value}


def rows(told: Mapping[str, Any]) -> list[tuple[str, str | Text]]:
    """Return what is shown, as pairs."""
    allowed = told["decision"] == "allow"
    found: list[tuple[str, str | Text]] = [
        ("decision", Text("allow", style="green") if allowed else Text("deny", style="bold red"))
    ]
    found += [("reason", told["reason"]), ("rule", told["rule"])]
    if told["text"]:
        found.append(("git shows", told["text"]))
    if told["needs"]:
        found.append(("if it turns out", ", ".join(told["needs"])))
    return found
