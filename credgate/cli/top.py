"""``credgate top``: sessions and what they transfer, as it moves.

Asks twice a second or as ``--interval`` says, and draws the tables anew on the terminal's other screen, which Ctrl-C
leaves as it was found. Where there is no terminal, or with ``--once`` or ``--json``, one look is printed. Rates are
reckoned from two looks; a transfer is told from another by its session, repository, operation and address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from credgate.cli import client, output
from credgate.cli.session import HEADS, SESSIONS, now, row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.cli.client import ControlSocket
    from credgate.cli.control_client import ControlClient

Look = dict[str, list[dict[str, Any]]]
TRANSFERS = ("SESSION", "REPOSITORY", "OPERATION", "FROM", "FOR", "UP", "DOWN", "RATE")


@click.command()
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=0.5, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Print one look and end.")
@client.talking
def top(way: ControlSocket, interval: float, *, once: bool, as_json: bool) -> None:
    """Show sessions and running transfers; Ctrl-C ends it."""
    if as_json:
        output.say_json(way.run(look))
    elif once or not output.console().is_terminal:
        output.console().print(drawing(way.run(look), {}, 0.0))
    else:
        try:
            way.run(lambda control: _watch(control, interval))
        except click.Abort:
            return


async def look(control: ControlClient) -> Look:
    """Ask once."""
    sessions = await control.ask("GET", SESSIONS)
    return {"sessions": sessions["sessions"], "transfers": (await control.ask("GET", "/v1/transfers"))["transfers"]}


async def _watch(control: ControlClient, interval: float) -> None:
    before: dict[tuple[Any, ...], int] = {}
    seen, first = now(), await look(control)
    with Live(drawing(first, {}, 0.0), console=output.console(), screen=True, auto_refresh=False) as live:
        before = moved(first)
        while True:
            await control.wait(interval)
            found, moment = await look(control), now()
            live.update(drawing(found, before, moment - seen), refresh=True)
            before, seen = moved(found), moment


# What is shown.


def moved(found: Look) -> dict[tuple[Any, ...], int]:
    """Return how many bytes each transfer has moved."""
    return {_which(one): one["bytes_up"] + one["bytes_down"] for one in found["transfers"]}


def _which(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return (one["session"], one["repo"], one["operation"], one["peer"])


def drawing(found: Look, before: Mapping[tuple[Any, ...], int], seconds: float) -> Group:
    """Return the tables; ``before`` is what transfers had moved ``seconds`` ago."""
    # Those used last come first: a window shows the top of a long list only.
    sessions, transfers = sorted(found["sessions"], key=_used, reverse=True), found["transfers"]
    moment = now()
    return Group(
        Text(f"credgate: {len(sessions)} sessions, {len(transfers)} requests running", style="bold"),
        output.table(TRANSFERS, (_transfer(one, before, seconds) for one in transfers)),
        output.table(HEADS, (row(one, moment) for one in sessions)),
    )


def _used(one: Mapping[str, Any]) -> str:
    return str(one["used_at"])


def _transfer(one: Mapping[str, Any], before: Mapping[tuple[Any, ...], int], seconds: float) -> tuple[str, ...]:
    where = (one["session"], one["repo"], one["operation"], one["peer"], output.length(one["seconds"]))
    return (*where, output.size(one["bytes_up"]), output.size(one["bytes_down"]), rate(one, before, seconds))


def rate(one: Mapping[str, Any], before: Mapping[tuple[Any, ...], int], seconds: float) -> str:
    """Say how fast a transfer moves; "" while only one look has seen it."""
    known = before.get(_which(one))
    if known is None or seconds <= 0:
        return ""
    return f"{output.size(max(0, one['bytes_up'] + one['bytes_down'] - known) / seconds)}/s"
