"""The gateway that a command uses: ``--socket``, the variable, or the default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from credgate.cli import gateway_options
from credgate.cli.output import CommandError
from tests.fakes.cli import credgate
from tests.fakes.run_processes import SOURCE

if TYPE_CHECKING:
    from credgate.cli.gateway_options import ControlSocket


@pytest.fixture
def shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[ControlSocket, bool]]:
    """Add a command that records its gateway."""
    from credgate.cli.main import main  # noqa: PLC0415 - changed below

    monkeypatch.delenv(gateway_options.VARIABLE, raising=False)
    found: list[tuple[ControlSocket, bool]] = []

    @gateway_options.gateway_options
    def note(gateway: ControlSocket, *, as_json: bool) -> None:
        found.append((gateway, as_json))

    monkeypatch.setitem(main.commands, "note", click.command("note")(note))
    return found


def test_default_is_the_socket_of_this_users_gateway(shown: list[tuple[ControlSocket, bool]]) -> None:
    """It is not marked as named, so no gateway needs to run there."""
    assert credgate("note").status == 0
    (gateway, as_json) = shown[0]
    assert (gateway.socket, gateway.named, as_json) == (gateway_options.default_socket(), False, False)


@pytest.mark.parametrize("words", [["--socket", "/s", "note"], ["note", "--socket", "/s"]])
def test_socket_option_works_before_and_after_the_command(
    shown: list[tuple[ControlSocket, bool]], words: list[str]
) -> None:
    """A gateway that was named is marked as named."""
    assert credgate(*words).status == 0
    assert shown[0][0] == gateway_options.ControlSocket(Path("/s"), named=True)


def test_socket_option_overrides_the_variable(
    shown: list[tuple[ControlSocket, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after the command."""
    monkeypatch.setenv(gateway_options.VARIABLE, "/of-the-variable")
    credgate("note")
    credgate("note", "--socket", "/after")
    credgate("--socket", "/before", "note")
    assert [(str(gateway.socket), gateway.named) for gateway, _ in shown] == [
        ("/of-the-variable", True),
        ("/after", True),
        ("/before", True),
    ]


@pytest.mark.parametrize("words", [["--json", "note"], ["note", "--json"]])
def test_json_option_works_before_and_after_the_command(
    shown: list[tuple[ControlSocket, bool]], words: list[str]
) -> None:
    """Like the socket option."""
    credgate(*words)
    assert shown[0][1]


def test_invalid_environment_error_names_the_socket_option(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the socket the rest of the environment is not needed."""
    monkeypatch.setenv("GATEWAY_MAX_SESSIONS", "nonsense")
    with pytest.raises(CommandError, match=r"\(or name the control socket: --socket, CREDGATE_SOCKET\)") as caught:
        gateway_options.default_socket()
    assert caught.value.status == 2


def test_commands_without_a_request_do_not_import_twisted() -> None:
    """Its import takes longer than ``--help`` and ``check-config``."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from credgate.cli import main; print('twisted' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code, str(SOURCE)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "False\n"
