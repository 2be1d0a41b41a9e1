"""``credgate status``: the gateway in one look.

Asks ``/v1/status`` and ``/v1/ready``; exit status 1 when a part does not work, so that a script may ask just for that.
What forges' credentials are, when they end and what is wrong with them is told by ``/v1/forges``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from credgate.cli import client, output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.cli.client import ControlSocket
    from credgate.cli.control_client import ControlClient

Row = tuple[str, str | Text]


@click.command()
@client.talking
def status(way: ControlSocket, *, as_json: bool) -> None:
    """Show listeners, sessions, forges, DNS counters and what is in force.

    Exit status 1 when a part of the gateway does not work.
    """
    told = way.run(ask)
    if as_json:
        output.say_json(told)
    else:
        output.console().print(output.pairs(rows(told)))
    raise SystemExit(0 if works(told) else output.REFUSED)


async def ask(control: ControlClient) -> dict[str, Any]:
    """Return ``/v1/status`` with the checks of ``/v1/ready`` and the credentials of ``/v1/forges`` in it."""
    told = await control.ask("GET", "/v1/status")
    _, ready = await control.answer("GET", "/v1/ready")
    forges = await control.ask("GET", "/v1/forges")
    credentials = {one["name"]: one["credentials"] for one in forges["forges"]}
    told["forges"] = [{**one, "credentials": credentials.get(one["name"], [])} for one in told["forges"]]
    return told | {"ready": ready.get("checks", {})}


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
        ("audit head", told["audit_head"] or "no line yet"),
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
    for number, held in enumerate(one["credentials"]):
        text.append(output.printable(("; " if number else "") + credential(held)))
        if held["trouble"]:
            text.append(output.printable(f" ({held['trouble']})"), style="bold red")
    return text if one["credentials"] else text.append("with a credential")


def credential(held: Mapping[str, Any]) -> str:
    """Say what a credential is, without its value: kind, id, whose, and its end."""
    known = f" {held['id']}" if held["id"] else ""
    whose = f" for {', '.join(held['repositories'])}" if held["repositories"] not in ([], ["**"]) else ""
    return f"{held['kind']}{known}{whose}" + (f" until {held['expires_at']}" if held["expires_at"] else "")
