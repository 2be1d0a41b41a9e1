"""``credgate run``: run a command whose git uses the gateway, with a session of its own. No container is needed.

The wrapper is the process that the caller starts. It uses the gateway that listens on the control socket, or has a
private gateway started for this command. Its parts:

- ``supervisor``: a second process, which creates the session and revokes it even if the wrapper is killed.
- ``environment``: the command's environment variables, without the caller's credentials.
- ``signals``: signals, terminal and exit status, as without the wrapper.
- ``isolate``, for ``--isolate``: namespaces whose only connection to the outside is the gateway.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from credgate.cli import gateway_options, output
from credgate.cli.env import credential_helper, git_settings
from credgate.cli.run import isolate, mounts, syscall_filter
from credgate.cli.run.environment import added_variables, inherited_variables
from credgate.cli.run.signals import CommandStartError, SignalForwarder
from credgate.cli.session import create_request
from credgate.config.secret_locations import SecretLocations, secret_locations
from credgate.config.secrets import Reference, read_document
from credgate.errors import ConfigError
from credgate.loading.load import from_environment, load
from credgate.service.process import undumpable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from credgate.cli.env import GitSettings
    from credgate.cli.gateway_options import ControlSocket

END_TIMEOUT = 30
"""Seconds that the supervisor may take to revoke the session and to remove its files."""
_FIRST_UNPRIVILEGED_PORT = 1024
IDENTITY = ("user.name", "user.email", "init.defaultBranch")
"""git settings of the caller that the command keeps: git refuses to commit without an identity."""


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--repo", "repos", metavar="OWNER/REPO[:read]", multiple=True, help="A repository (repeatable).")
@click.option("--push", metavar="REFS[:VERBS]", multiple=True, help="What may be pushed (repeatable).")
@click.option("--forge", default="", metavar="NAME", help="The repositories' forge, if not the default forge.")
@click.option("--for", "lifetime", metavar="TIME", help="The session's maximum lifetime.")
@click.option("--label", metavar="NAME", default="run", show_default=True, help="The session's label.")
@click.option("--private", is_flag=True, help="Start a gateway for this command, even if one is running.")
@click.option("--config", type=click.Path(path_type=Path), help="The private gateway's configuration file.")
@click.option("--keep-env", metavar="NAME", multiple=True, help="Also pass this environment variable (repeatable).")
@click.option("--keep-home", is_flag=True, help="Keep the caller's HOME, including any credentials in it.")
@click.option("--isolate", "isolated", is_flag=True, help="Allow network access to the gateway only.")
@click.option(
    "--hide", type=click.Path(path_type=Path, exists=True), multiple=True, help="With --isolate: also hide this path."
)
@click.argument("command", metavar="[--] CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@gateway_options.socket_option
def run(
    gateway: ControlSocket,
    command: tuple[str, ...],
    *,
    isolated: bool,
    hide: tuple[Path, ...],
    **options: Any,  # noqa: ANN401 - click's
) -> None:
    """Run CMD with a session of its own. Its git works through the gateway only.

    CMD gets PATH, the locale, the terminal's variables and others that hold no credential (docs/cli.md lists them),
    and the variables that --keep-env names.

    The exit status is that of CMD: 128+N if signal N ended it, 127 if there is no such command. An exit status of 2 or
    3 may also be credgate's own; then a message on standard error says so.
    """
    # The command must not read our environment, nor hold our pipe to the supervisor open, whose end ends the session.
    undumpable()
    keep, keep_home = options.pop("keep_env"), options.pop("keep_home")
    config: Path | None = options["config"]
    request = _supervisor_request(gateway, options)
    locations = configured_locations(config, private=request["socket"] is None)
    bwrap = None
    if isolated:
        # Before anything is created: with what can be known before the session exists.
        isolate.check_descriptors()
        bwrap = isolate.find_bubblewrap(_file_system(None, hide, locations))
    with Supervisor(request, isolated=isolated) as supervisor:
        session = supervisor.session
        directory = session["directory"]
        url = f"http://127.0.0.1:{_port_inside(session)}" if bwrap else session["url"]
        settings = git_settings(url, session, credential_helper(f"{directory}/token"), everything=True)
        environ = inherited_variables(
            os.environ,
            keep,
            keep_home=keep_home,
            never=locations.variables,
            secrets=read_secrets(locations),
        )
        environ |= added_variables(settings, git_identity(), directory, url, session["id"])
        environ |= {} if keep_home else {"HOME": f"{directory}/home"}
        try:
            if bwrap:
                # Once more: the private gateway has created files since, such as its store and its audit log.
                files = _file_system(Path(directory), [*hide, Path(session["socket"]).parent], locations)
                status = _run_isolated(bwrap, files, command, environ, supervisor)
            else:
                forwarder = SignalForwarder()
                child = forwarder.start(command, environ)
                status = forwarder.wait(child, lambda: child.pid)
        except CommandStartError as error:
            status = output.print_error(str(error), error.status)
    raise SystemExit(status)


def _supervisor_request(gateway: ControlSocket, options: dict[str, Any]) -> dict[str, Any]:
    """Return the supervisor's request. Raises CommandError, click.UsageError."""
    private, config = options.pop("private"), options.pop("config")
    session = create_request(**options)
    if gateway.named and (private or config):
        raise click.UsageError("--socket selects a running gateway, --private and --config start one: use one of them")
    # A gateway that was named must be used, and its absence is an error: another one has other grants and credentials.
    shared = not (private or config) and (gateway.named or _accepts_connections(gateway.socket))
    return {
        "socket": str(gateway.socket.absolute()) if shared else None,
        "config": str(config.absolute()) if config else None,
        "session": session,
        "channel": None,
    }


def _accepts_connections(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def configured_locations(config: Path | None, *, private: bool) -> SecretLocations:
    """Return the secrets and files that a private gateway's configuration names; the command must not get them.

    Raises CommandError for an invalid configuration. Of a shared gateway nothing is known.
    """
    if not private:
        return SecretLocations()
    try:
        loaded = load(config, os.environ) if config else from_environment(os.environ)
        return secret_locations(loaded, os.environ)
    except ConfigError as error:
        raise output.CommandError(str(error), output.UNUSABLE) from None


def read_secrets(locations: SecretLocations) -> set[str]:
    """Return the credentials in these variables and files, so that no other variable passes one to the command."""
    references = [*(Reference("env", name) for name in locations.variables)]
    references += [Reference("file", str(path)) for path in locations.secrets]
    secrets = set()
    for reference in references:
        # A reference that cannot be read: the gateway does not start either, and its error message has the reason.
        with suppress(ConfigError):
            secrets.add(read_document(reference, os.environ).strip())
    return secrets


def git_identity() -> GitSettings:
    """Return the caller's git identity. No other setting is taken over: a credential helper would be one."""
    git = shutil.which("git")
    if git is None:
        return []
    settings = []
    for key in IDENTITY:
        completed = subprocess.run([git, "config", "--get", key], capture_output=True, text=True, check=False)  # noqa: S603 - git
        if completed.returncode == 0 and completed.stdout.strip():
            settings.append((key, completed.stdout.strip()))
    return settings


def _port_inside(session: Mapping[str, Any]) -> int:
    """Return the gateway's port in the isolated network namespace."""
    port = int(session["address"].rpartition(":")[2])
    # The command has no capability, so process 1 cannot listen on a privileged port.
    return port if port >= _FIRST_UNPRIVILEGED_PORT else 8080


def _file_system(own: Path | None, hide: Sequence[Path], locations: SecretLocations) -> mounts.FileSystem:
    return mounts.file_system(own=own, cwd=Path.cwd(), home=Path.home(), hide=hide, locations=locations)


def _run_isolated(
    bwrap: isolate.Bubblewrap,
    files: mounts.FileSystem,
    command: Sequence[str],
    environ: Mapping[str, str],
    supervisor: Supervisor,
) -> int:
    share_terminal = isolate.can_share_terminal()
    with syscall_filter.opened() as filter_fd:
        return isolate.run(
            bwrap(files, filter_fd, share_terminal),
            command,
            environ,
            channel=supervisor.channel,
            port=_port_inside(supervisor.session),
            inherited=[filter_fd],
            started=supervisor.close_channel,
            share_terminal=share_terminal,
        )


class Supervisor:
    """The supervisor process as the wrapper sees it. It runs, and the session exists, while the context is active."""

    def __init__(self, request: dict[str, Any], *, isolated: bool) -> None:
        self._request, self._isolated = request, isolated
        self.session: dict[str, Any] = {}
        """The supervisor's result: session id, gateway address, directories."""
        self.channel = -1
        """With ``--isolate``: our end of a socket pair, on which process 1 sends its listening socket."""

    def __enter__(self) -> Supervisor:  # noqa: PYI034 - no subclass
        """Start the process and wait for its result. Raises CommandError."""
        fds: tuple[int, ...] = ()
        if self._isolated:
            ours, theirs = socket.socketpair()
            self.channel, fds = ours.detach(), (theirs.detach(),)
            self._request["channel"] = fds[0]
        # In a process session of its own: Ctrl-C on the terminal is for the command.
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-c", isolate.START.format("supervisor", ""), str(mounts.ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=fds,
        )
        for descriptor in fds:
            os.close(descriptor)
        self.session = self._exchange()
        if "error" in self.session:
            self._close_pipes()
            self.process.wait(END_TIMEOUT)
            raise output.CommandError(self.session["error"], self.session["exit"])
        return self

    def _exchange(self) -> dict[str, Any]:
        """Send the request and return the result."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(OSError):  # the process has ended; the missing result reports it
            self.process.stdin.write(json.dumps(self._request).encode() + b"\n")
            self.process.stdin.flush()
        try:
            result: dict[str, Any] = json.loads(self.process.stdout.readline())
        except ValueError:
            return {"error": "the supervisor process ended before it created a session", "exit": output.REFUSED}
        return result

    def close_channel(self) -> None:
        """Close our end of the channel: process 1 has a copy, and the supervisor must see when that one is closed."""
        os.close(self.channel)
        self.channel = -1

    def _close_pipes(self) -> None:
        """Close the pipes; the supervisor ends at the end of its standard input."""
        if self.channel >= 0:
            self.close_channel()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def __exit__(self, *_: object) -> None:
        """Wait until the session is revoked; print a message if it may still be valid."""
        self._close_pipes()
        try:
            status = self.process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            status = -1
        if status != 0:
            session_id = self.session.get("id", "")
            output.print_error(
                f"the session may still be valid; revoke it: credgate session revoke {session_id}", output.REFUSED
            )
