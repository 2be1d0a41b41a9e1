"""``credgate doctor``: what is wrong with this set-up, and the command that mends it.

Looks at the control socket, at what the gateway says of itself, at its ports and resolvers, at the machine's clock, has
the gateway ask each forge whether it accepts its credentials, and looks with ``--container`` into a container. Every
finding is printed; exit status 1 when one of them is wrong. Changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
from attrs import asdict
from rich.text import Text

from credgate.cli import checks, client, output, status
from credgate.cli.checks import OK, UNKNOWN, WRONG, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from credgate.cli.client import ControlSocket
    from credgate.cli.control_client import ControlClient

    Checks = list[dict[str, Any]]

_STYLES = {OK: "green", WRONG: "bold red", UNKNOWN: "yellow"}
_ACCEPTED = {"accepted": OK, "refused": WRONG}
_READY = {
    "git": "restart the gateway; its log says why it cannot accept",
    "sessions": "free space on the store's disk, or give the file to credgate's user",
    "audit": "free space on the audit log's disk, or give the file to credgate's user",
    "dns": "restart the gateway; its log says why it cannot answer",
}


@click.command()
@click.option("--repo", metavar="OWNER/REPO", default="", help="A private repository to ask its forge for.")
@click.option("--forge", default="", metavar="NAME", help="Where that is, if not on the default forge.")
@click.option("--container", "containers", metavar="NAME", multiple=True, help="Look into this one, too (repeatable).")
@client.talking
def doctor(way: ControlSocket, repo: str, forge: str, containers: tuple[str, ...], *, as_json: bool) -> None:
    """Say what is wrong with this set-up, and what mends it.

    Exit status 1 when something is.
    """
    findings = [checks.control_socket(way.socket), *_gateway(way, repo, forge), checks.clock()]
    findings += [checks.container(name) for name in containers]
    if as_json:
        output.say_json({"findings": [asdict(one) for one in findings]})
    else:
        output.console().print(output.table(("WHAT", "STATE", "", "WHAT MENDS IT"), map(_row, findings)))
    raise SystemExit(output.REFUSED if any(one.state == WRONG for one in findings) else 0)


def _gateway(way: ControlSocket, repo: str, forge: str) -> Iterator[Finding]:
    if forge and not repo:
        raise click.UsageError("--forge says where --repo is; name a repository")
    try:
        told, asked = way.run(lambda control: _ask(control, repo, forge))
    except output.CommandError as error:
        yield Finding("gateway", WRONG, error.format_message(), "twistd -n credgate; its last line says what stops it")
        return
    yield Finding("gateway", OK, f"version {told['version']}, up {output.length(told['uptime'])}")
    yield from ready(told["ready"])
    yield checks.port("git port", told["listeners"]["git"])
    if "dns" in told["listeners"]:
        yield checks.port("dns port", told["listeners"]["dns"])
        yield from resolvers(told["dns"]["upstream"])
    if "metrics" in told["listeners"]:
        yield checks.port("metrics port", told["listeners"]["metrics"])
    yield from forges(told["forges"])
    for name, answers in asked.items():
        yield from accepted(name, answers)
    yield room(told["sessions"])


async def _ask(control: ControlClient, repo: str, forge: str) -> tuple[dict[str, Any], dict[str, Checks]]:
    """Ask the gateway for all there is, in one go: the status, and what each forge says of its credentials."""
    told = await status.ask(control)
    where = (forge or told["default_forge"]) if repo else ""
    names = [one["name"] for one in told["forges"] if one["credential"]]
    names += [where] if where and where not in names else []
    return told, {name: await _check(control, name, repo if name == where else "") for name in names}


async def _check(control: ControlClient, forge: str, repo: str) -> Checks:
    try:
        told = await control.ask("POST", f"/v1/forges/{quote(forge, safe='')}/check", {"repo": repo} if repo else {})
    except output.CommandError as error:
        return [{"state": "unknown", "text": error.format_message(), "kind": "", "repositories": []}]
    checks: Checks = told["checks"]
    return checks


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
        yield checks.resolver(server)


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


def accepted(forge: str, checks: Checks) -> Iterator[Finding]:
    """Judge what a forge says of the credentials that it was shown."""
    what, where = f"{forge} accepts it", f'forges."{forge}" in credgate.toml'
    mends = {
        "refused": f"replace the credential of {where}",
        "unknown": f"credgate doctor --forge {forge} --repo OWNER/REPO",
    }
    if not checks:
        yield Finding(what, UNKNOWN, "no credential is for that repository", f"name one: credentials of {where}")
    for one in checks:
        whose = status.credential({"id": "", "expires_at": None, **one}).strip()
        text = f"{whose}: {one['text']}" if whose else one["text"]
        yield Finding(what, _ACCEPTED.get(one["state"], UNKNOWN), text, mends.get(one["state"], ""))


def room(sessions: Mapping[str, int]) -> Finding:
    """Judge whether another session can be made."""
    text = f"{sessions['live']} of at most {sessions['max']}"
    if sessions["live"] < sessions["max"]:
        return Finding("sessions", OK, text)
    return Finding("sessions", WRONG, text, "credgate session revoke ID, or raise [sessions] max_sessions")


def _row(one: Finding) -> tuple[str, Text, str, str]:
    return one.what, Text(one.state, style=_STYLES[one.state]), one.text, one.mend
