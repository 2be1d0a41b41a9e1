"""``credgate env``: print the settings with which a sandbox's git uses the gateway; also the settings themselves.

Every usual spelling of a forge's address is rewritten to the gateway's (``url.<base>.insteadOf``, git-config(1)). A
credential helper gives the session's secret to git for the gateway only; it reads the secret from a file. The output
has the path of that file. The secret itself is printed by ``session create`` only.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from credgate.cli.gateway_options import gateway_options
from credgate.cli.session import SESSIONS, valid_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from credgate.cli.control_client import ControlClient
    from credgate.cli.gateway_options import ControlSocket

FORMATS = ("sh", "json", "docker", "gitconfig")
HELPER = "/usr/local/bin/git-credential-credgate"
TOKEN_FILE = "/run/secrets/gateway_token"  # noqa: S105 - a path
# git applies the longest matching prefix, so these do not override the rules of configured forges.
ANY_ADDRESS = ("https://", "http://", "ssh://git@", "ssh://", "git://", "git@")
"""Prefixes of all remote addresses."""
_HTTPS_PORT, _SSH_PORT = 443, 22

GitSettings = list[tuple[str, str]]
"""Keys and values of git-config(1)."""


@click.command()
@click.argument("session_id", metavar="ID")
@click.option("--format", "form", type=click.Choice(FORMATS), default="sh", show_default=True, help="Output format.")
@click.option("--gateway", "url", metavar="URL", help="The gateway's URL for the sandbox (default: its git listener).")
@click.option("--token-file", default=TOKEN_FILE, show_default=True, help="The sandbox's file with TOKEN:SECRET.")
@click.option("--helper", default=HELPER, show_default=True, help="The sandbox's credential helper.")
@gateway_options
def env(  # noqa: PLR0913 - one option each
    gateway: ControlSocket, session_id: str, *, form: str, url: str | None, token_file: str, helper: str, as_json: bool
) -> None:
    """Print a sandbox's settings for a session.

    These are environment variables, or a gitconfig. The output does not contain the secret: --token-file is the file in
    the sandbox that contains it.
    """
    status = gateway.run(lambda control: _status(control, valid_id(session_id)))
    url = (url or listener_url(status["listeners"]["git"])).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise click.UsageError("the sandbox needs the gateway's URL: --gateway http://HOST:PORT")
    settings = git_settings(url, status, f"{helper} --gateway {url}")
    click.echo(formatted("json" if as_json else form, settings, url, token_file), nl=False)


async def _status(control: ControlClient, session_id: str) -> dict[str, Any]:
    await control.ask("GET", f"{SESSIONS}/{session_id}")  # an error if there is no such session
    return await control.ask("GET", "/v1/status")


# git's settings.


def git_settings(url: str, status: Mapping[str, Any], helper: str, *, everything: bool = False) -> GitSettings:
    """Return git's settings for the gateway at ``url`` (without a trailing slash).

    ``status`` has the forges as in ``GET /v1/status``, ``helper`` is the value of ``credential.<url>.helper``.
    ``everything`` rewrites all other remote addresses, too; the gateway refuses these.
    """
    settings: GitSettings = []
    for forge in status["forges"]:
        default = forge["name"] == status["default_forge"]
        base = f"{url}/git/" if default else f"{url}/forge/{forge['name']}/"
        prefixes = dict.fromkeys(forge_prefixes(forge["name"], forge["url"]))
        settings += [(f"url.{base}.insteadOf", prefix) for prefix in prefixes]
    if everything:
        settings += [(f"url.{url}/forge/.insteadOf", prefix) for prefix in ANY_ADDRESS]
        settings += [(f"url.{url}/.insteadOf", f"{url}/")]
    # The empty value clears the list of helpers configured before: none of them may store the session's secret.
    settings += [(f"credential.{url}.helper", ""), (f"credential.{url}.helper", helper)]
    # Without this, git-lfs sends a first request without a login and then writes the setting into the configuration of
    # each repository.
    return [*settings, (f"http.{url}.proxy", ""), (f"lfs.{url}/.access", "basic")]


def forge_prefixes(name: str, url: str) -> Iterator[str]:
    """Yield the usual spellings of the address of forge ``name`` at ``url``, up to the repository's path."""
    yield f"{url}/"
    parts = urlsplit(url)
    hosts = [parts.hostname or "", name] if "." in name else [parts.hostname or ""]
    plain = parts.port in {None, _HTTPS_PORT} and not parts.path.strip("/")
    for host in hosts:
        if host and (plain or host == name):
            yield from (f"https://{host}/", f"http://{host}/", f"git@{host}:", f"git://{host}/")
            yield from (f"ssh://git@{host}/", f"ssh://git@{host}:{_SSH_PORT}/", f"ssh://{host}/")
    if "github.com" in hosts:
        # GitHub's ssh over the HTTPS port, for networks that block port 22.
        yield f"ssh://git@ssh.github.com:{_HTTPS_PORT}/"


def credential_helper(token_file: str) -> str:
    """Return a credential helper that needs no installed program: a shell function (gitcredentials(7))."""
    # It reads its whole input: git would be killed by SIGPIPE otherwise.
    answer = f"printf 'username=x-gateway-token\\npassword=%s\\n' \"$(cat {shlex.quote(token_file)})\""
    return f'!f() {{ cat >/dev/null; if [ "$1" = get ]; then {answer}; fi; }}; f'


def listener_url(address: str) -> str:
    """Return the URL of a git listener for programs on this machine; "" if it is not a TCP address."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return ""
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - not bound here
    return f"http://{loopback.get(host, host)}:{port}"


# Output formats.


def formatted(form: str, settings: GitSettings, url: str, token_file: str) -> str:
    """Return a sandbox's settings in one of ``FORMATS``."""
    if form == "gitconfig":
        return as_gitconfig(settings)
    variables = git_variables(settings) | {"CREDGATE_URL": url, "CREDGATE_TOKEN_FILE": token_file}
    variables |= {"GITHUB_TOKEN": "", "GH_TOKEN": "", "GIT_TERMINAL_PROMPT": "0"}
    if form == "json":
        return json.dumps(variables) + "\n"
    return as_env_file(variables) if form == "docker" else as_shell(variables)


def git_variables(settings: GitSettings) -> dict[str, str]:
    """Return settings as the variables ``GIT_CONFIG_*`` (git(1)), which override git's configuration files."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def as_gitconfig(settings: GitSettings) -> str:
    """Return settings as a configuration file of git."""
    lines, current = ["# Written by credgate env: git uses the gateway."], ""
    for key, value in settings:
        section, _, name = key.rpartition(".")
        if section != current:
            kind, _, subsection = section.partition(".")
            lines.append(f"[{kind} {_quoted(subsection)}]" if subsection else f"[{kind}]")
            current = section
        lines.append(f"\t{name} = {_quoted(value)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def as_shell(variables: Mapping[str, str]) -> str:
    """Return variables as commands for a POSIX shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def as_env_file(variables: Mapping[str, str]) -> str:
    """Return variables in the format of ``docker run --env-file``, which has no quoting. Raises ValueError."""
    if any("\n" in value for value in variables.values()):
        raise ValueError("an --env-file cannot contain a value of more than one line")
    return "".join(f"{name}={value}\n" for name, value in variables.items())
