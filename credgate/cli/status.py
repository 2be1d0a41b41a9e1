"""``credgate status``: the gateway in one look.

Asks ``/v1/status`` and ``/v1/ready``; exit status 1 when a part does not work, so that a script may ask just for that.
What forges' credentials are and when they end is told by ``/v1/forges``, where the gateway has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from credgate.cli import client, output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.cli.client import Way
    from credgate.cli.wire import Control

_FOUND = 200
Row = tuple[str, str | Text]


@click.command()
@client.talking
def status(way: Way, *, as_json: bool) -> None:
    """Show listeners, sessions, forges, DNS counters and what is in force.

    Exit status 1 when a part of the gateway does not work.
    """
    told = way.run(ask)
    if as_json:
        output.say_json(told)
    else:
        output.console().print(output.pairs(rows(told)))
    raise SystemExit(0 if works(told) else output.REFUSED)


async def ask(control: Control) -> dict[str, Any]:
    """Return ``/v1/status`` with the checks of ``/v1/ready`` in it, and what ``/v1/forges`` knows."""
    told = await control.ask("GET", "/v1/status")
    _, ready = await control.answer("GET", "/v1/ready")
    status_code, forges = await control.answer("GET", "/v1/forges")
    if status_code == _FOUND:
        known = {one.get("name"): one for one in forges.get("forges", []) if isinstance(one, dict)}
        told["forges"] = [{**known.get(one["name"], {}), **_basic(one, known)} for one in told["forges"]]
    return told | {"ready": ready.get("checks", {})}


def _basic(one: dict[str, Any], known: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    """Keep the status's own keys, and what is known of the credential under a key of its own."""
    more = known.get(one["name"], {}).get("credential")
    return one | ({"detail": more} if isinstance(more, dict) else {})


def works(told: Mapping[str, Any]) -> bool:
    """Whether every part does; no checks at all is no."""
    return bool(told["ready"]) and all(told["ready"].values())


def rows(told: Mapping[str, Any]) -> list[Row]:
    """Return what is shown, as pairs."""
    sessions, dns = told["sessions"], told["dns"]
    found: list[Row] = [
        ("credgate", f"{told['version']}, up {output.length(told['uptime'])}"),
        ("ready", _readiness(told["ready"])),
        *((f"{name} listener", place or "not bound") for name, place in told["listeners"].items()),
        ("configuration", f"{told['configuration']}, policy {told['policy']}"),
        ("audit", told["audit"]),
        ("sessions", f"{sessions['live']} of at most {sessions['max']}"),
        ("connections", f"{told['connections']}, {told['transfers']} requests running"),
    ]
    found += [(f"forge {one['name']}", _forge(one, told["default_forge"])) for one in told["forges"]]
    counters = ", ".join(f"{name} {count}" for name, count in dns["counters"].items())
    return [*found, ("dns", counters or "off"), ("dns upstream", ", ".join(dns["upstream"]) or "none")]


def _readiness(checks: Mapping[str, bool]) -> Text:
    wrong = [name for name, state in checks.items() if not state]
    if not checks:
        return Text("no: the checks did not end", style="bold red")
    return Text(f"no: {', '.join(wrong)}", style="bold red") if wrong else Text("yes", style="green")


def _forge(one: Mapping[str, Any], default: str) -> Text:
    text = Text(output.printable(f"{one['kind']}, {one['url']}{', the default' if one['name'] == default else ''}, "))
    if not one["credential"]:
        return text.append("no credential: anonymous reads only", style="yellow")
    expires, trouble = one.get("expires_at"), one.get("trouble")
    text.append(output.printable(f"credential until {expires}" if expires else "with a credential"))
    return text.append(output.printable(f": {trouble}"), style="bold red") if trouble else text
