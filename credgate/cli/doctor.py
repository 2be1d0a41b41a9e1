"""``credgate doctor``: what is wrong with this set-up, and the command that mends it.

Looks at the control socket, at what the gateway says of itself, at its ports and resolvers, at the machine's clock, and
with ``--container`` into a container. Every finding is printed; exit status 1 when one of them is wrong. Only reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from attrs import asdict
from rich.text import Text

from credgate.cli import checkup, client, output, status
from credgate.cli.checkup import OK, UNKNOWN, WRONG, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from credgate.cli.client import Way

_STYLES = {OK: "green", WRONG: "bold red", UNKNOWN: "yellow"}
_READY = {
    "git": "restart the gateway; its log says why it cannot accept",
    "sessions": "free space on the store's disk, or give the file to credgate's user",
    "audit": "free space on the audit log's disk, or give the file to credgate's user",
    "dns": "restart the gateway; its log says why it cannot answer",
}


@click.command()
@click.option("--container", "containers", metavar="NAME", multiple=True, help="Look into this one, too (repeatable).")
@client.talking
def doctor(way: Way, containers: tuple[str, ...], *, as_json: bool) -> None:
    """Say what is wrong with this set-up, and what mends it.

    Exit status 1 when something is.
    """
    findings = [checkup.control_socket(way.socket), *_gateway(way), checkup.clock()]
    findings += [checkup.container(name) for name in containers]
    if as_json:
        output.say_json({"findings": [asdict(one) for one in findings]})
    else:
        output.console().print(output.table(("WHAT", "STATE", "", "WHAT MENDS IT"), map(_row, findings)))
    raise SystemExit(output.REFUSED if any(one.state == WRONG for one in findings) else 0)


def _gateway(way: Way) -> Iterator[Finding]:
    try:
        told = way.run(status.ask)
    except output.Failed as error:
        yield Finding("gateway", WRONG, error.format_message(), "twistd -n credgate; its last line says what stops it")
        return
    yield Finding("gateway", OK, f"version {told['version']}, up {output.length(told['uptime'])}")
    yield from ready(told["ready"])
    yield checkup.port("git port", told["listeners"]["git"])
    if "dns" in told["listeners"]:
        yield checkup.port("dns port", told["listeners"]["dns"])
        yield from resolvers(told["dns"]["upstream"])
    yield from forges(told["forges"])
    yield room(told["sessions"])


def ready(checks: Mapping[str, bool]) -> Iterator[Finding]:
    """Judge what ``/v1/ready`` says."""
    for name, works in checks.items():
        state = OK if works else WRONG
        yield Finding(
            f"ready: {name}", state, "works" if works else "does not work", "" if works else _READY.get(name, "")
        )
    if not checks:
        yield Finding("ready", WRONG, "the gateway's own checks did not end", "restart the gateway; see its log")


def resolvers(servers: list[str]) -> Iterator[Finding]:
    """Ask those that the gateway asks."""
    if not servers:
        mend = "name one: [dns] upstream in credgate.toml"
        yield Finding("resolver", WRONG, "none is known: only static names are answered", mend)
    for server in servers:
        yield checkup.resolver(server)


def forges(known: list[dict[str, Any]]) -> Iterator[Finding]:
    """Judge each forge's credentials by what the gateway knows of them."""
    for one in known:
        if not one["credential"]:
            mend = f'name it: forges."{one["name"]}".credential in credgate.toml'
            text = "none: anonymous reads only, pushes are refused"
            yield Finding(f"credential of {one['name']}", UNKNOWN, text, mend)
        for held in one["credentials"]:
            what, mend = f"credential of {one['name']}", "mend or replace it; the gateway looks again by itself"
            told = status.credential(held)
            yield (
                Finding(what, WRONG, f"{told}: {held['trouble']}", mend) if held["trouble"] else Finding(what, OK, told)
            )


def room(sessions: Mapping[str, int]) -> Finding:
    """Judge whether another session can be made."""
    text = f"{sessions['live']} of at most {sessions['max']}"
    if sessions["live"] < sessions["max"]:
        return Finding("sessions", OK, text)
    return Finding("sessions", WRONG, text, "credgate session revoke ID, or raise [sessions] max_sessions")


def _row(one: Finding) -> tuple[str, Text, str, str]:
    return one.what, Text(one.state, style=_STYLES[one.state]), one.text, one.mend
