"""``credgate env``: how a sandbox's git is set up for a session, in the form that sets it up.

Everything but the secret, which only ``session create`` ever tells: what is printed names the file that holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from credgate.cli import client, gitenv, output
from credgate.cli.session import SESSIONS, checked

if TYPE_CHECKING:
    from credgate.cli.client import ControlSocket
    from credgate.cli.control_client import ControlClient

FORMATS = ("sh", "json", "docker", "gitconfig")
HELPER = "/usr/local/bin/git-credential-credgate"
TOKEN_FILE = "/run/secrets/gateway_token"  # noqa: S105 - a path


@click.command()
@click.argument("session_id", metavar="ID")
@click.option("--format", "form", type=click.Choice(FORMATS), default="sh", show_default=True)
@click.option("--gateway", metavar="URL", help="The gateway as the sandbox reaches it (default: its git listener).")
@click.option("--token-file", default=TOKEN_FILE, show_default=True, help="Where the sandbox has TOKEN:SECRET.")
@click.option("--helper", default=HELPER, show_default=True, help="The credential helper in the sandbox.")
@client.talking
def env(  # noqa: PLR0913 - one word each
    way: ControlSocket, session_id: str, *, form: str, gateway: str | None, token_file: str, helper: str, as_json: bool
) -> None:
    """Print how a sandbox is set up for the session ID: variables, or a gitconfig.

    It holds no secret: --token-file names the file that the sandbox finds it in.
    """
    status = way.run(lambda control: _asked(control, checked(session_id)))
    url = (gateway or gitenv.reached(status["listeners"]["git"])).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise click.UsageError("say how the sandbox reaches the gateway: --gateway http://HOST:PORT")
    told = f"{helper} --gateway {url}"
    click.echo(written("json" if as_json else form, gitenv.entries(url, status, told), url, token_file), nl=False)


async def _asked(control: ControlClient, session_id: str) -> dict[str, Any]:
    await control.ask("GET", f"{SESSIONS}/{session_id}")  # one that is gone needs no sandbox
    return await control.ask("GET", "/v1/status")


def written(form: str, entries: gitenv.Entries, url: str, token_file: str) -> str:
    """Return the set-up in one of ``FORMATS``."""
    if form == "gitconfig":
        return gitenv.gitconfig(entries)
    variables = gitenv.counted(entries) | {"CREDGATE_URL": url, "CREDGATE_TOKEN_FILE": token_file}
    variables |= {"GITHUB_TOKEN": "", "GH_TOKEN": "", "GIT_TERMINAL_PROMPT": "0"}
    if form == "json":
        return output.as_json(variables) + "\n"
    return gitenv.docker(variables) if form == "docker" else gitenv.shell(variables)
