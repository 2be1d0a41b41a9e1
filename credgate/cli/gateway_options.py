"""Which gateway a command uses, and the command-line options of every command that uses one.

The control socket is that of ``--socket``, else of ``CREDGATE_SOCKET``, else the default: where a gateway of this user
that has no configuration file listens. This module does not import Twisted.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen

from credgate.cli.output import UNUSABLE, CommandError
from credgate.errors import ConfigError
from credgate.loading.load import from_environment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from credgate.cli.control_client import ControlClient

T = TypeVar("T")
C = TypeVar("C", bound="Callable[..., Any]")

VARIABLE = "CREDGATE_SOCKET"


@frozen
class ControlSocket:
    """The address of a gateway's control API. ``named``: the user named it, so no other gateway may be used."""

    socket: Path
    named: bool = False

    def run(self, work: Callable[[ControlClient], Awaitable[T]]) -> T:
        """Run ``work`` with a client of the control API. This can be called once in a process."""
        # Not at the top: this imports Twisted, and that takes longer than many commands.
        from credgate.cli import control_client  # noqa: PLC0415 - as said above

        return control_client.run_reactor(lambda: work(control_client.ControlClient(self.socket)))

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Make one request and return its result. Raises CommandError, GatewayUnreachableError."""
        return self.run(lambda control: control.ask(method, path, body))


def default_socket() -> Path:
    """Return the path of the control socket of a gateway of this user. Raises CommandError."""
    try:
        return Path(from_environment(os.environ).listen.control)
    except ConfigError as error:
        raise CommandError(f"{error} (or name the control socket: --socket, {VARIABLE})", UNUSABLE) from None


def _control_socket(context: click.Context, _parameter: click.Parameter, value: str | None) -> ControlSocket:
    # Not click's ``envvar``: then the variable would take precedence over the option before the command.
    named = value or context.find_root().params.get("socket") or os.environ.get(VARIABLE)
    return ControlSocket(Path(named), named=True) if named else ControlSocket(default_socket())


# Both options are also accepted before the name of the command (``main``): these callbacks look there.
socket_option = click.option(
    "--socket",
    "gateway",
    metavar="PATH",
    callback=_control_socket,
    help=f"The gateway's control socket (or {VARIABLE}; default: that of this user's gateway).",
)
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=lambda context, _parameter, value: value or bool(context.find_root().params.get("as_json")),
    help="Print JSON.",
)


def gateway_options(command: C) -> C:
    """Add ``--socket`` and ``--json`` to a command: its arguments ``gateway`` and ``as_json``."""
    return socket_option(json_option(command))
