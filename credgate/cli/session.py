"""``credgate session``: create, list, show, extend and revoke sessions; also grants and token files.

The secret of a session is output once, by ``create``: to a new file of mode 0400 (``--token-file``) or to standard
output. It is never an argument of a program. Without ``--json`` standard output has only what a script would capture:
the line with the secret, or the session id if the secret was written to a file. Messages for people go to standard
error.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from credgate.cli import output
from credgate.cli.gateway_options import gateway_options
from credgate.rules.parse import VERBS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from credgate.cli.control_client import ControlClient
    from credgate.cli.gateway_options import ControlSocket

SESSIONS = "/v1/sessions"
HEADS = ("ID", "LABEL", "BOUND TO", "REPOSITORIES", "USED", "ENDS IN")
DEFAULT_VERBS = ["create", "update"]
_ID = re.compile(r"s-[0-9A-Za-z]{16}", re.ASCII)
_OK = 200


@click.group()
def session() -> None:
    """Create, list, show, extend and revoke sessions."""


@session.command()
@click.option("--repo", "repos", metavar="OWNER/REPO[:read]", multiple=True, help="A repository (repeatable).")
@click.option("--push", metavar="REFS[:VERBS]", multiple=True, help="What may be pushed (repeatable).")
@click.option("--forge", default="", metavar="NAME", help="The repositories' forge, if not the default forge.")
@click.option("--for", "lifetime", metavar="TIME", help='Maximum lifetime, such as "8h"; limited by the configuration.')
@click.option("--idle", metavar="TIME", help="Maximum time without use.")
@click.option("--bind", metavar="ADDRESS", help="The address or network from which the session may be used.")
@click.option("--label", metavar="NAME", help="A name for the sandbox.")
@click.option("--dns", metavar="NAME", multiple=True, help="A name that the sandbox may resolve (repeatable).")
@click.option("--token-file", type=click.Path(path_type=Path), help="Write TOKEN:SECRET to this new file (mode 0400).")
@gateway_options
def create(gateway: ControlSocket, token_file: Path | None, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's
    """Create a session, and print its token and secret.

    Standard output has the line TOKEN:SECRET, or with --token-file the id of the session.
    """
    request = create_request(**options)
    if token_file is None:
        created = gateway.ask("POST", SESSIONS, request)
        result = created if as_json else f"{created['token']}:{created['secret']}"
    else:
        # The file first: a path that cannot be used must not leave a session without a secret.
        with TokenFile(token_file) as file:
            created = gateway.run(lambda control: _create_with_file(control, request, file))
        result = created | {"token_file": str(token_file)} if as_json else created["id"]
    if as_json:
        output.print_json(result)
    else:
        click.echo(summary(created), err=True)
        click.echo(result)


def create_request(  # noqa: PLR0913 - one option each
    *,
    repos: Sequence[str],
    push: Sequence[str],
    forge: str,
    lifetime: str | None = None,
    idle: str | None = None,
    bind: str | None = None,
    label: str | None = None,
    dns: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the body of a create request. Raises click.UsageError."""
    body = {"absolute_ttl": lifetime, "idle_ttl": idle, "bind": bind, "label": label, "dns": list(dns) or None}
    return {"repos": parse_grants(repos, push, forge)} | {k: value for k, value in body.items() if value is not None}


async def _create_with_file(control: ControlClient, request: dict[str, Any], file: TokenFile) -> dict[str, Any]:
    created = await control.ask("POST", SESSIONS, request)
    try:
        file.write(created.pop("token"), created.pop("secret"))
    except output.CommandError:
        # Nobody has the secret, so nobody can use the session.
        await control.ask("DELETE", f"{SESSIONS}/{created['id']}")
        raise
    return created


@session.command("list")
@gateway_options
def list_(gateway: ControlSocket, *, as_json: bool) -> None:
    """List the active sessions, oldest first."""
    found = gateway.ask("GET", SESSIONS)
    if as_json:
        output.print_json(found)
    elif found["sessions"]:
        output.console().print(output.table(HEADS, (row(one, now()) for one in found["sessions"])))
    else:
        click.echo("no sessions", err=True)


@session.command()
@click.argument("session_id", metavar="ID")
@gateway_options
def show(gateway: ControlSocket, session_id: str, *, as_json: bool) -> None:
    """Show the grants, the lifetime and the last use of a session."""
    found = gateway.ask("GET", f"{SESSIONS}/{valid_id(session_id)}")
    if as_json:
        output.print_json(found)
    else:
        output.console().print(output.pairs(details(found, now())))


@session.command()
@click.argument("session_id", metavar="ID")
@click.option("--for", "lifetime", metavar="TIME", required=True, help='New lifetime from now on, such as "8h".')
@gateway_options
def extend(gateway: ControlSocket, session_id: str, lifetime: str, *, as_json: bool) -> None:
    """Extend the lifetime of a session.

    It cannot exceed the configured absolute_ttl, counted from the session's creation.
    """
    extended = gateway.ask("POST", f"{SESSIONS}/{valid_id(session_id)}/extend", {"for": lifetime})
    if as_json:
        output.print_json(extended)
    else:
        click.echo(summary(extended))


@session.command()
@click.argument("session_ids", metavar="[ID...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Revoke every session.")
@click.option("--yes", is_flag=True, help="With --all: do not ask for confirmation.")
@gateway_options
def revoke(gateway: ControlSocket, session_ids: tuple[str, ...], *, everything: bool, yes: bool, as_json: bool) -> None:
    """Revoke sessions at once. Their running transfers are aborted."""
    if bool(session_ids) == everything:
        raise click.UsageError("name the sessions to revoke, or use --all")
    for session_id in session_ids:
        valid_id(session_id)
    if everything and not yes:
        if not is_interactive():
            raise click.UsageError("standard input is not a terminal: use --yes to revoke all sessions")
        if not click.confirm("Revoke all sessions and abort their transfers?", err=True):
            raise output.CommandError("no session was revoked")
    revoked, failed = gateway.run(lambda control: _revoke(control, session_ids))
    if as_json:
        output.print_json({"revoked": revoked, "failed": failed})
    else:
        for session_id in revoked:
            click.echo(f"{session_id} revoked")
        for session_id, text in failed.items():
            output.print_error(f"{session_id}: {text}", output.REFUSED)
    raise SystemExit(output.REFUSED if failed else 0)


def is_interactive() -> bool:
    """Whether standard input is a terminal, so that a question can be answered."""
    return sys.stdin.isatty()


async def _revoke(control: ControlClient, ids: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Revoke these sessions, or all. A failure does not stop it: the other sessions are revoked all the same."""
    named = ids or [one["id"] for one in (await control.ask("GET", SESSIONS))["sessions"]]
    revoked, failed = [], {}
    for session_id in named:
        status, answer = await control.request("DELETE", f"{SESSIONS}/{session_id}")
        if status == _OK:
            revoked.append(session_id)
        else:
            failed[session_id] = str(answer.get("error", status))
    return revoked, failed


def valid_id(session_id: str) -> str:
    """Return a session id that can be part of a path. Raises click.UsageError."""
    if not _ID.fullmatch(session_id):
        # The value is not repeated: it may be a token that was given by mistake.
        raise click.UsageError("a session id is s- and 16 hexadecimal digits (credgate session list)")
    return session_id


# Grants on the command line.


def parse_grants(repos: Sequence[str], push: Sequence[str], forge: str) -> list[dict[str, Any]]:
    """Return the ``repos`` list of a create request. Raises click.UsageError.

    ``--push`` rules apply to all repositories with write access; without any, the default push rules apply. The gateway
    checks repository names and patterns.
    """
    rules = [_parse_rule(text) for text in push]
    grants = [_parse_grant(text, forge) for text in repos]
    writable = [grant for grant in grants if grant["access"] == "write"]
    if rules and not writable:
        raise click.UsageError("--push needs a repository with write access: --repo OWNER/REPO")
    for grant in writable if rules else []:
        grant["push"] = rules
    return grants


def _parse_grant(text: str, forge: str) -> dict[str, Any]:
    repo, colon, access = text.rpartition(":")
    if not colon:
        repo, access = text, "write"
    if access not in {"read", "write"} or not repo:
        raise click.UsageError(f"--repo must be OWNER/REPO, OWNER/REPO:read or OWNER/REPO:write, not {text}")
    return {"repo": repo, "access": access} | ({"forge": forge} if forge else {})


def _parse_rule(text: str) -> dict[str, Any]:
    # No ref contains a colon (git-check-ref-format(1)).
    refs, _, verbs = text.partition(":")
    allow = verbs.split(",") if verbs else DEFAULT_VERBS
    if unknown := [verb for verb in allow if verb not in VERBS]:
        raise click.UsageError(
            f"--push must be REFS or REFS:VERB,... with the verbs {', '.join(VERBS)}, not {unknown[0]}"
        )
    return {"refs": refs, "allow": allow}


def format_grant(grant: Mapping[str, Any], default_forge: str = "github.com") -> str:
    """Format a grant: ``octo/hello``, ``octo/docs (read)``, ``octo/x (push refs/heads/agent/*)``."""
    name = grant["repo"] if grant.get("forge", default_forge) == default_forge else f"{grant['forge']}/{grant['repo']}"
    if grant["access"] == "read":
        return f"{name} (read)"
    if "push" not in grant:
        return str(name)
    return f"{name} (push {', '.join(rule['refs'] for rule in grant['push']) or 'nothing'})"


# The token file.


class TokenFile:
    """A new file for one line ``TOKEN:SECRET``, in the format of the credential helper.

    It exists, empty, while the context is active, and is removed at the end unless ``write`` was called.
    """

    # O_EXCL: an existing file or link is not written to. Mode 0400 from the start: no other user can open it first.
    _FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1
        self._written = False

    def __enter__(self) -> Self:
        """Create the file. Raises CommandError."""
        try:
            self._fd = os.open(self.path, self._FLAGS, 0o400)
        except FileExistsError:
            raise output.CommandError(
                f"{self.path} exists; the secret is only written to a new file", output.UNUSABLE
            ) from None
        except OSError as error:
            raise output.CommandError(f"{self.path} cannot be created: {error.strerror}", output.UNUSABLE) from None
        return self

    def write(self, token: str, secret: str) -> None:
        """Write the line. Raises CommandError."""
        try:
            os.write(self._fd, f"{token}:{secret}\n".encode())
            os.fsync(self._fd)
        except OSError as error:
            raise output.CommandError(f"{self.path} cannot be written: {error.strerror}", output.UNUSABLE) from None
        self._written = True

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Close the file; remove it if nothing was written."""
        os.close(self._fd)
        if not self._written:
            with suppress(OSError):
                self.path.unlink()


# Output.


def row(one: Mapping[str, Any], now: float) -> tuple[str, ...]:
    """Return the table row of a session."""
    repos = ", ".join(format_grant(grant) for grant in one["repos"]) or "none"
    used, ends = now - _timestamp(one["used_at"]), _timestamp(one["expires_at"]) - now
    bound = one["bind"] or "any address"
    return (one["id"], one["label"], bound, repos, f"{output.duration(used)} ago", output.duration(ends))


def details(one: Mapping[str, Any], now: float) -> list[tuple[str, str]]:
    """Return the details of a session as pairs of name and value."""
    _, label, bound, _, used, ends = row(one, now)
    grants = [("repository" if not number else "", format_grant(grant)) for number, grant in enumerate(one["repos"])]
    return [
        ("id", one["id"]),
        ("label", label),
        ("bound to", bound),
        *(grants or [("repository", "none")]),
        ("dns names", ", ".join(one["dns"]) or "none"),
        ("created", one["created_at"]),
        ("used", f"{one['used_at']} ({used})"),
        ("ends", f"{one['expires_at']} (in {ends})"),
        ("limits", f"{output.duration(one['absolute_ttl'])} in total, {output.duration(one['idle_ttl'])} without use"),
    ]


def summary(one: Mapping[str, Any]) -> str:
    """Return a one-line description of a session."""
    repos = ", ".join(format_grant(grant) for grant in one["repos"]) or "no repository"
    return output.printable(f"session {one['id']} for {repos}, valid until {one['expires_at']} if it is used")


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def now() -> float:
    """Return the time in seconds since the epoch."""
    return datetime.now(UTC).timestamp()
