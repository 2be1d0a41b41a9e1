"""``credgate explain``: show the gateway's decision about a request, and its rule. No forge is contacted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from credgate.cli import output
from credgate.cli.gateway_options import gateway_options
from credgate.cli.session import parse_grants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.cli.gateway_options import ControlSocket

VERBS = ("fetch", "create", "update", "force", "delete")


@click.command()
@click.argument("repo", metavar="OWNER/REPO")
@click.argument("verb", type=click.Choice(VERBS))
@click.argument("ref", metavar="[REF]", default="")
@click.option("--session", metavar="ID", help="Decide for this session.")
@click.option("--grant", metavar="OWNER/REPO[:read]", help="Decide for a session that has only this grant.")
@click.option("--push", metavar="REFS[:VERBS]", multiple=True, help="With --grant: its push rules (repeatable).")
@click.option("--forge", default="", metavar="NAME", help="The repository's forge, if not the default forge.")
@click.option("--path", default="", help="A path that the push changes.")
@click.option("--option", default="", help="A push option that is sent.")
@gateway_options
def explain(gateway: ControlSocket, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Show how the gateway decides about a request.

    The output has the decision about OWNER/REPO and the rule that makes it.

    Exit status 0: it would be allowed; 1: it would be refused.
    """
    grant, push = options.pop("grant"), options.pop("push")
    if bool(options["session"]) == bool(grant):
        raise click.UsageError("name a session or a grant: --session ID, or --grant OWNER/REPO")
    if grant:
        options["grant"] = parse_grants([grant], push, options["forge"])[0]
    decision = gateway.ask("POST", "/v1/explain", {key: value for key, value in options.items() if value})
    if as_json:
        output.print_json(decision)
    else:
        output.console().print(output.pairs(_rows(decision)))
    raise SystemExit(0 if decision["decision"] == "allow" else output.REFUSED)


def _rows(decision: Mapping[str, Any]) -> list[tuple[str, str | Text]]:
    allowed = decision["decision"] == "allow"
    rows: list[tuple[str, str | Text]] = [
        ("decision", Text("allow", style="green") if allowed else Text("deny", style="bold red")),
        ("reason", decision["reason"]),
        ("rule", decision["rule"]),
    ]
    if decision["text"]:
        rows.append(("git shows", decision["text"]))
    if decision["needs"]:
        rows.append(("depends on", ", ".join(decision["needs"])))
    return rows
