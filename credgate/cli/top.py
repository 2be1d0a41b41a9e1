"""``credgate top``: a live view of sessions and running transfers.

It fetches them every ``--interval`` seconds and redraws its tables on the terminal's alternate screen, so that Ctrl-C
restores what was there before. Without a terminal, or with ``--once`` or ``--json``, it prints one snapshot. A transfer
rate is computed from two snapshots. A transfer is identified by its session, repository, operation and client address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from credgate.cli import output
from credgate.cli.gateway_options import gateway_options
from credgate.cli.session import HEADS, SESSIONS, now, row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.cli.control_client import ControlClient
    from credgate.cli.gateway_options import ControlSocket

Snapshot = dict[str, list[dict[str, Any]]]
TransferKey = tuple[Any, ...]
TRANSFERS = ("SESSION", "REPOSITORY", "OPERATION", "FROM", "FOR", "UP", "DOWN", "RATE")


@click.command()
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=0.5, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Print one snapshot and exit.")
@gateway_options
def top(gateway: ControlSocket, interval: float, *, once: bool, as_json: bool) -> None:
    """Show sessions and running transfers until Ctrl-C is pressed."""
    if as_json:
        output.print_json(gateway.run(fetch_snapshot))
    elif once or not output.console().is_terminal:
        output.console().print(render(gateway.run(fetch_snapshot), {}, 0.0))
    else:
        try:
            gateway.run(lambda control: _watch(control, interval))
        except click.Abort:
            return  # Ctrl-C is the normal end


async def fetch_snapshot(control: ControlClient) -> Snapshot:
    """Fetch the sessions and the running transfers."""
    sessions = await control.ask("GET", SESSIONS)
    return {"sessions": sessions["sessions"], "transfers": (await control.ask("GET", "/v1/transfers"))["transfers"]}


async def _watch(control: ControlClient, interval: float) -> None:
    fetched_at, snapshot = now(), await fetch_snapshot(control)
    with Live(render(snapshot, {}, 0.0), console=output.console(), screen=True, auto_refresh=False) as live:
        before = bytes_moved(snapshot)
        while True:
            await control.wait(interval)
            snapshot, moment = await fetch_snapshot(control), now()
            live.update(render(snapshot, before, moment - fetched_at), refresh=True)
            before, fetched_at = bytes_moved(snapshot), moment


def bytes_moved(snapshot: Snapshot) -> dict[TransferKey, int]:
    """Return the number of bytes that each transfer has moved in both directions."""
    return {_key(one): one["bytes_up"] + one["bytes_down"] for one in snapshot["transfers"]}


def _key(transfer: Mapping[str, Any]) -> TransferKey:
    return (transfer["session"], transfer["repo"], transfer["operation"], transfer["peer"])


def render(snapshot: Snapshot, before: Mapping[TransferKey, int], seconds: float) -> Group:
    """Return the tables. ``before`` is ``bytes_moved`` of the snapshot that was fetched ``seconds`` ago."""
    # Most recently used first: a terminal window may show only the top of a long list.
    sessions = sorted(snapshot["sessions"], key=lambda one: str(one["used_at"]), reverse=True)
    transfers, moment = snapshot["transfers"], now()
    return Group(
        Text(f"credgate: {len(sessions)} sessions, {len(transfers)} requests running", style="bold"),
        output.table(
            TRANSFERS,
            (
                (
                    *_key(one),
                    output.duration(one["seconds"]),
                    output.size(one["bytes_up"]),
                    output.size(one["bytes_down"]),
                    rate(one, before, seconds),
                )
                for one in transfers
            ),
        ),
        output.table(HEADS, (row(one, moment) for one in sessions)),
    )


def rate(transfer: Mapping[str, Any], before: Mapping[TransferKey, int], seconds: float) -> str:
    """Format the rate of a transfer; "" if the earlier snapshot does not have it."""
    known = before.get(_key(transfer))
    if known is None or seconds <= 0:
        return ""
    # Another transfer with the same key may have begun: then the difference is negative.
    return f"{output.size(max(0, transfer['bytes_up'] + transfer['bytes_down'] - known) / seconds)}/s"
