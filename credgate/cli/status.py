"""``credgate status``: the state of the gateway.

Combines ``/v1/status``, ``/v1/ready`` and ``/v1/forges``. The exit status is 1 if a part of the gateway does not work,
so that scripts can use the command as a check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from credgate.cli import output
from credgate.cli.gateway_options import gateway_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from credgate.cli.control_client import ControlClient
    from credgate.cli.gateway_options import ControlSocket

Row = tuple[str, str | Text]


@click.command()
@gateway_options
def status(gateway: ControlSocket, *, as_json: bool) -> None:
    """Show the state of the gateway.

    The output has listeners, sessions, forges, DNS counters and digests of the configuration.

    Exit status 1 if a part of the gateway does not work.
    """
    state = gateway.run(fetch_status)
    if as_json:
        output.print_json(state)
    else:
        output.console().print(output.pairs(rows(state)))
    raise SystemExit(0 if is_ready(state) else output.REFUSED)


async def fetch_status(control: ControlClient) -> dict[str, Any]:
    """Return ``/v1/status`` with the checks of ``/v1/ready`` and the credentials of ``/v1/forges``."""
    state = await control.ask("GET", "/v1/status")
    _, ready = await control.request("GET", "/v1/ready")  # not ask: status 503 is an answer here
    forges = await control.ask("GET", "/v1/forges")
    credentials = {one["name"]: one["credentials"] for one in forges["forges"]}
    state["forges"] = [{**one, "credentials": credentials.get(one["name"], [])} for one in state["forges"]]
    return state | {"ready": ready.get("checks", {})}


def is_ready(state: Mapping[str, Any]) -> bool:
    """Whether every part works."""
    # No checks: they timed out, so the answer is no.
    return bool(state["ready"]) and all(state["ready"].values())


def rows(state: Mapping[str, Any]) -> list[Row]:
    """Return the output as pairs of name and value."""
    sessions, dns = state["sessions"], state["dns"]
    counters = ", ".join(f"{name} {count}" for name, count in dns["counters"].items())
    return [
        ("credgate", f"{state['version']}, up {output.duration(state['uptime'])}"),
        ("ready", _readiness(state["ready"])),
        *((f"{name} listener", address or "not bound") for name, address in state["listeners"].items()),
        ("configuration", f"{state['configuration']}, policy {state['policy']}"),
        ("audit", state["audit"]),
        ("audit head", state["audit_head"] or "no lines yet"),
        ("sessions", f"{sessions['live']} of at most {sessions['max']}"),
        ("connections", f"{state['connections']}, {state['transfers']} requests running"),
        *((f"forge {one['name']}", _forge(one, state["default_forge"])) for one in state["forges"]),
        ("dns", counters or "off"),
        ("dns upstream", ", ".join(dns["upstream"]) or "none"),
    ]


def _readiness(checks: Mapping[str, bool]) -> Text:
    failed = [name for name, works in checks.items() if not works]
    if not checks:
        return Text("no: the checks timed out", style="bold red")
    return Text(f"no: {', '.join(failed)}", style="bold red") if failed else Text("yes", style="green")


def _forge(forge: Mapping[str, Any], default: str) -> Text:
    is_default = ", the default" if forge["name"] == default else ""
    text = Text(output.printable(f"{forge['kind']}, {forge['url']}{is_default}, "))
    if not forge["credential"]:
        return text.append("no credential: anonymous reads only", style="yellow")
    for number, credential in enumerate(forge["credentials"]):
        text.append(output.printable(("; " if number else "") + format_credential(credential)))
        if credential["trouble"]:
            text.append(output.printable(f" ({credential['trouble']})"), style="bold red")
    return text if forge["credentials"] else text.append("with a credential")


def format_credential(credential: Mapping[str, Any]) -> str:
    """Describe a credential without its value: kind, id, repositories and expiry."""
    known = f" {credential['id']}" if credential["id"] else ""
    repositories = credential["repositories"]
    scope = f" for {', '.join(repositories)}" if repositories not in ([], ["**"]) else ""
    expiry = f" until {credential['expires_at']}" if credential["expires_at"] else ""
    return f"{credential['kind']}{known}{scope}{expiry}"
