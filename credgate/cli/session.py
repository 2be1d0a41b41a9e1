"""``credgate session``: make, list, show, extend and revoke sessions.

A session's token and secret are told once, by ``create``: to a new file of mode 0400 (``--token-file``) or on standard
output, never as an argument of anything. Without ``--json`` standard output holds just what a script would capture
(the secret's line, or the id where the secret went to a file); the words for people go to standard error.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from credgate.cli import client, output
from credgate.cli.grants import grants, spelled
from credgate.cli.tokenfile import TokenFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from credgate.cli.client import ControlSocket
    from credgate.cli.control_client import ControlClient

SESSIONS = "/v1/sessions"
HEADS = ("ID", "LABEL", "BOUND TO", "REPOSITORIES", "USED", "ENDS IN")


@click.group()
def session() -> None:
    """Make, list, show, extend and revoke sessions."""


@session.command()
@click.option("--repo", "repos", metavar="OWNER/REPO[:read]", multiple=True, help="A repository (repeatable).")
@click.option("--push", metavar="REFS[:VERBS]", multiple=True, help="What may be pushed (repeatable).")
@click.option("--forge", default="", metavar="NAME", help="Where the repositories are, if not on the default forge.")
@click.option("--for", "lasting", metavar="TIME", help='How long it lives, such as "8h"; at most what is configured.')
@click.option("--idle", metavar="TIME", help="How long it lives without being used.")
@click.option("--bind", metavar="ADDRESS", help="The address or network that it may be used from.")
@click.option("--label", metavar="NAME", help="Your own name for the sandbox.")
@click.option("--dns", metavar="NAME", multiple=True, help="A name that it may resolve (repeatable).")
@click.option("--token-file", type=click.Path(path_type=Path), help="Write TOKEN:SECRET to this new file (0400).")
@client.talking
def create(way: ControlSocket, token_file: Path | None, *, as_json: bool, **words: Any) -> None:  # noqa: ANN401 - click's
    """Make a session, and tell its token and secret once.

    Standard output holds the line TOKEN:SECRET, or with --token-file the session's id.
    """
    body = request(**words)
    if token_file is None:
        made = way.ask("POST", SESSIONS, body)
        told = made if as_json else f"{made['token']}:{made['secret']}"
    else:
        with TokenFile(token_file) as file:
            made = way.run(lambda control: _into(control, body, file))
        told = made | {"token_file": str(token_file)} if as_json else made["id"]
    if as_json:
        output.say_json(told)
    else:
        click.echo(sentence(made), err=True)
        click.echo(told)


def request(  # noqa: PLR0913 - one word each
    *,
    repos: Sequence[str],
    push: Sequence[str],
    forge: str,
    lasting: str | None = None,
    idle: str | None = None,
    bind: str | None = None,
    label: str | None = None,
    dns: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the body of a create. Raises click.UsageError."""
    told = {"absolute_ttl": lasting, "idle_ttl": idle, "bind": bind, "label": label, "dns": list(dns) or None}
    return {"repos": grants(repos, push, forge)} | {key: value for key, value in told.items() if value is not None}


async def _into(control: ControlClient, body: dict[str, Any], file: TokenFile) -> dict[str, Any]:
    """Make a session whose secret goes to a file; a session whose secret nobody has is ended at once."""
    made = await control.ask("POST", SESSIONS, body)
    try:
        file.write(made.pop("token"), made.pop("secret"))
    except output.CommandError:
        await control.ask("DELETE", f"{SESSIONS}/{made['id']}")
        raise
    return made


@session.command("list")
@client.talking
def list_(way: ControlSocket, *, as_json: bool) -> None:
    """List the live sessions, the oldest first."""
    found = way.ask("GET", SESSIONS)
    if as_json:
        output.say_json(found)
    elif found["sessions"]:
        output.console().print(output.table(HEADS, (row(one, now()) for one in found["sessions"])))
    else:
        click.echo("no sessions", err=True)


@session.command()
@click.argument("session_id", metavar="ID")
@client.talking
def show(way: ControlSocket, session_id: str, *, as_json: bool) -> None:
    """Show one session."""
    one = way.ask("GET", f"{SESSIONS}/{checked(session_id)}")
    if as_json:
        output.say_json(one)
    else:
        output.console().print(output.pairs(lines(one, now())))


@session.command()
@click.argument("session_id", metavar="ID")
@click.option("--for", "lasting", metavar="TIME", required=True, help='How long it lives from now, such as "8h".')
@client.talking
def extend(way: ControlSocket, session_id: str, lasting: str, *, as_json: bool) -> None:
    """Let a session live longer: never beyond the configured absolute_ttl, counted from its creation."""
    one = way.ask("POST", f"{SESSIONS}/{checked(session_id)}/extend", {"for": lasting})
    if as_json:
        output.say_json(one)
    else:
        click.echo(sentence(one))


@session.command()
@click.argument("session_ids", metavar="[ID...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every session there is.")
@click.option("--yes", is_flag=True, help="Do not ask before --all.")
@client.talking
def revoke(way: ControlSocket, session_ids: tuple[str, ...], *, everything: bool, yes: bool, as_json: bool) -> None:
    """End sessions at once: running transfers are cut."""
    if bool(session_ids) == everything:
        raise click.UsageError("name the sessions to revoke, or say --all")
    for one in session_ids:
        checked(one)
    if everything and not yes:
        _confirm()
    revoked, failed = way.run(lambda control: _revoke(control, session_ids))
    if as_json:
        output.say_json({"revoked": revoked, "failed": failed})
    else:
        for one in revoked:
            click.echo(f"{one} is revoked")
        for one, text in failed.items():
            output.complain(f"{one}: {text}", output.REFUSED)
    raise SystemExit(output.REFUSED if failed else 0)


def _confirm() -> None:
    if not _is_asked():
        raise click.UsageError("nobody is there to ask: say --yes to revoke all sessions")
    if not click.confirm("Revoke every session, and cut what they transfer?", err=True):
        raise output.CommandError("nothing was revoked")


def _is_asked() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


async def _revoke(control: ControlClient, ids: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """End sessions, all there are if none is named; one that cannot be ended keeps no other alive."""
    named = ids or [one["id"] for one in (await control.ask("GET", SESSIONS))["sessions"]]
    revoked, failed = [], {}
    for one in named:
        status, answer = await control.answer("DELETE", f"{SESSIONS}/{one}")
        if status == 200:  # noqa: PLR2004 - HTTP's
            revoked.append(one)
        else:
            failed[one] = str(answer.get("error", status))
    return revoked, failed


def checked(session_id: str) -> str:
    """Return an id that may stand in a path; a token here by mistake is not repeated. Raises click.UsageError."""
    if len(session_id) != 18 or not session_id.startswith("s-") or not session_id[2:].isalnum():  # noqa: PLR2004 - s- and 16 digits
        raise click.UsageError("a session's id is s- and 16 hexadecimal digits (credgate session list)")
    return session_id


# What is shown.


def row(one: Mapping[str, Any], now: float) -> tuple[str, ...]:
    """Return a session's line in the table."""
    repos = ", ".join(spelled(grant) for grant in one["repos"]) or "none"
    used, ends = now - _moment(one["used_at"]), _moment(one["expires_at"]) - now
    return (
        one["id"],
        one["label"],
        one["bind"] or "anywhere",
        repos,
        f"{output.length(used)} ago",
        output.length(ends),
    )


def lines(one: Mapping[str, Any], now: float) -> list[tuple[str, str]]:
    """Return a session as pairs of name and value."""
    _, label, bound, _, used, ends = row(one, now)
    grants_ = [("repository" if not number else "", spelled(grant)) for number, grant in enumerate(one["repos"])]
    head = [("id", one["id"]), ("label", label), ("bound to", bound), *(grants_ or [("repository", "none")])]
    times = [
        ("made", one["created_at"]),
        ("used", f"{one['used_at']} ({used})"),
        ("ends", f"{one['expires_at']} (in {ends})"),
    ]
    limits = f"{output.length(one['absolute_ttl'])} in all, {output.length(one['idle_ttl'])} without use"
    return [*head, ("names", ", ".join(one["dns"]) or "none of its own"), *times, ("lives", limits)]


def sentence(one: Mapping[str, Any]) -> str:
    """Say what a session is, in one line."""
    repos = ", ".join(spelled(grant) for grant in one["repos"]) or "no repository"
    return output.printable(f"session {one['id']} for {repos}, until {one['expires_at']} if it is used")


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def now() -> float:
    """Return the seconds since the epoch."""
    return datetime.now(UTC).timestamp()
