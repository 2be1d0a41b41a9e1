"""``credgate doctor``: check an installation; for each problem, show the command that repairs it.

It checks the control socket, the gateway's own readiness checks, its ports and resolvers, and the machine's clock
(``checks``). The gateway asks each forge whether it accepts the configured credentials. With ``--container`` it also
checks a container. Nothing is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
from attrs import asdict
from rich.text import Text

from credgate.cli import checks, output
from credgate.cli.checks import OK, UNKNOWN, WRONG, Finding
from credgate.cli.gateway_options import gateway_options
from credgate.cli.status import fetch_status, format_credential

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from credgate.cli.control_client import ControlClient
    from credgate.cli.gateway_options import ControlSocket

    ForgeChecks = list[dict[str, Any]]

_STYLES = {OK: "green", WRONG: "bold red", UNKNOWN: "yellow"}
_REPAIRS = {
    "git": "restart the gateway; its log has the reason",
    "sessions": "free space on the store's disk, or make credgate's user the owner of the file",
    "audit": "free space on the audit log's disk, or make credgate's user the owner of the file",
    "dns": "restart the gateway; its log has the reason",
}


@click.command()
@click.option("--repo", metavar="OWNER/REPO", default="", help="A private repository for the credential check.")
@click.option("--forge", default="", metavar="NAME", help="With --repo: its forge, if not the default forge.")
@click.option(
    "--container", "containers", metavar="NAME", multiple=True, help="Also check this container (repeatable)."
)
@gateway_options
def doctor(gateway: ControlSocket, repo: str, forge: str, containers: tuple[str, ...], *, as_json: bool) -> None:
    """Check this installation, and show what repairs each problem.

    Exit status 1 if a check failed.
    """
    findings = [checks.control_socket(gateway.socket), *_check_gateway(gateway, repo, forge), checks.clock()]
    findings += [checks.container(name) for name in containers]
    if as_json:
        output.print_json({"findings": [asdict(one) for one in findings]})
    else:
        rows = ((one.what, Text(one.state, style=_STYLES[one.state]), one.text, one.mend) for one in findings)
        output.console().print(output.table(("WHAT", "STATE", "", "REPAIR"), rows))
    raise SystemExit(output.REFUSED if any(one.state == WRONG for one in findings) else 0)


def _check_gateway(gateway: ControlSocket, repo: str, forge: str) -> Iterator[Finding]:
    if forge and not repo:
        raise click.UsageError("--forge is the forge of --repo: name a repository")
    try:
        state, forge_checks = gateway.run(lambda control: _fetch(control, repo, forge))
    except output.CommandError as error:
        # No gateway is what people run this command for, so it is a finding and not an error.
        yield Finding("gateway", WRONG, error.format_message(), "twistd -n credgate; see the last line of its log")
        return
    yield Finding("gateway", OK, f"version {state['version']}, up {output.duration(state['uptime'])}")
    yield from judge_readiness(state["ready"])
    yield checks.port("git port", state["listeners"]["git"])
    if "dns" in state["listeners"]:
        yield checks.port("dns port", state["listeners"]["dns"])
        yield from check_resolvers(state["dns"]["upstream"])
    if "metrics" in state["listeners"]:
        yield checks.port("metrics port", state["listeners"]["metrics"])
    yield from judge_credentials(state["forges"])
    for name, answers in forge_checks.items():
        yield from judge_acceptance(name, answers)
    yield judge_sessions(state["sessions"])


async def _fetch(control: ControlClient, repo: str, forge: str) -> tuple[dict[str, Any], dict[str, ForgeChecks]]:
    """Fetch the gateway's status, and for each forge its answer about the credentials."""
    state = await fetch_status(control)
    repo_forge = (forge or state["default_forge"]) if repo else ""
    names = [one["name"] for one in state["forges"] if one["credential"]]
    # Also if it has no credential: then the finding says that none applies.
    names += [repo_forge] if repo_forge and repo_forge not in names else []
    return state, {name: await _check_forge(control, name, repo if name == repo_forge else "") for name in names}


async def _check_forge(control: ControlClient, forge: str, repo: str) -> ForgeChecks:
    try:
        answer = await control.ask("POST", f"/v1/forges/{quote(forge, safe='')}/check", {"repo": repo} if repo else {})
    except output.CommandError as error:
        return [{"state": "unknown", "text": error.format_message(), "kind": "", "repositories": []}]
    results: ForgeChecks = answer["checks"]
    return results


def judge_readiness(ready: Mapping[str, bool]) -> Iterator[Finding]:
    """Return the findings for ``/v1/ready``."""
    for name, works in ready.items():
        if works:
            yield Finding(f"ready: {name}", OK, "works")
        else:
            yield Finding(f"ready: {name}", WRONG, "does not work", _REPAIRS.get(name, ""))
    if not ready:
        yield Finding("ready", WRONG, "the gateway's own checks timed out", "restart the gateway; see its log")


def check_resolvers(servers: list[str]) -> Iterator[Finding]:
    """Check the resolvers that the gateway uses."""
    if not servers:
        repair = "name one: [dns] upstream in credgate.toml"
        yield Finding("resolver", WRONG, "none is known: only static names are answered", repair)
    for server in servers:
        yield checks.resolver(server)


def judge_credentials(forges: list[dict[str, Any]]) -> Iterator[Finding]:
    """Return the findings for the credentials of each forge, from what the gateway reports."""
    for forge in forges:
        what = f"credential of {forge['name']}"
        if not forge["credential"]:
            repair = f'configure one: forges."{forge["name"]}".credential in credgate.toml'
            yield Finding(what, UNKNOWN, "none: anonymous reads only, pushes are refused", repair)
        for credential in forge["credentials"]:
            text = format_credential(credential)
            if credential["trouble"]:
                repair = "repair or replace it; the gateway reads it again by itself"
                yield Finding(what, WRONG, f"{text}: {credential['trouble']}", repair)
            else:
                yield Finding(what, OK, text)


def judge_acceptance(forge: str, results: ForgeChecks) -> Iterator[Finding]:
    """Return the findings for a forge's answers about the credentials that the gateway sent to it."""
    what, key = f"{forge} accepts it", f'forges."{forge}" in credgate.toml'
    states = {"accepted": OK, "refused": WRONG}
    repairs = {
        "refused": f"replace the credential of {key}",
        "unknown": f"credgate doctor --forge {forge} --repo OWNER/REPO",
    }
    if not results:
        yield Finding(what, UNKNOWN, "no credential applies to this repository", f"configure one: credentials of {key}")
    for one in results:
        credential = format_credential({"id": "", "expires_at": None, **one}).strip()
        text = f"{credential}: {one['text']}" if credential else one["text"]
        yield Finding(what, states.get(one["state"], UNKNOWN), text, repairs.get(one["state"], ""))


def judge_sessions(sessions: Mapping[str, int]) -> Finding:
    """Return the finding for the number of sessions."""
    text = f"{sessions['live']} of at most {sessions['max']}"
    if sessions["live"] < sessions["max"]:
        return Finding("sessions", OK, text)
    return Finding("sessions", WRONG, text, "credgate session revoke ID, or raise [sessions] max_sessions")
