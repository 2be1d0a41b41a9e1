"""Which gateway a command talks to, and the options that every such command has.

``--socket`` names the control socket; else ``CREDGATE_SOCKET``; else where a gateway with this user's environment and
no file would listen (``config.environment``). No Twisted here: ``wire`` is imported when there is something to ask.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen

from credgate.cli.output import UNUSABLE, CommandError
from credgate.config.load import from_environment
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from credgate.cli.control_client import ControlClient

T = TypeVar("T")
C = TypeVar("C", bound="Callable[..., Any]")

VARIABLE = "CREDGATE_SOCKET"


@frozen
class ControlSocket:
    """The way to a gateway. ``named``: somebody said which, so that no other will do."""

    socket: Path
    named: bool = False

    def run(self, work: Callable[[ControlClient], Awaitable[T]]) -> T:
        """Run ``work`` with the control API at hand; once a process."""
        from credgate.cli import control_client  # noqa: PLC0415 - Twisted takes a while, and the reactor is for who needs it

        return control_client.drive(lambda: work(control_client.ControlClient(self.socket)))

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask one thing. Raises Failed, Unreachable."""
        return self.run(lambda control: control.ask(method, path, body))


def default_socket() -> Path:
    """Return where a gateway of this user would listen. Raises Failed."""
    try:
        return Path(from_environment(os.environ).listen.control)
    except ConfigError as error:
        raise CommandError(f"{error} (or name the socket: --socket, {VARIABLE})", UNUSABLE) from None


def _way(context: click.Context, _parameter: click.Parameter, value: str | None) -> ControlSocket:
    named = value or context.find_root().params.get("socket")
    return ControlSocket(Path(named), named=True) if named else ControlSocket(default_socket())


def _json(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:  # noqa: FBT001 - click's own signature
    return value or bool(context.find_root().params.get("as_json"))


socket_option = click.option(
    "--socket",
    "way",
    metavar="PATH",
    envvar=VARIABLE,
    callback=_way,
    help=f"The gateway's control socket (also {VARIABLE}; default: where this user's gateway listens).",
)
json_option = click.option("--json", "as_json", is_flag=True, callback=_json, help="Print JSON, for scripts.")


def talking(command: C) -> C:
    """Add the options of a command that asks a gateway: ``way`` and ``as_json``."""
    return socket_option(json_option(command))
