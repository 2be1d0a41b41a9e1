"""Which gateway a command talks to: what was named, wherever it was named, else where this user's would listen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from credgate.cli import client
from credgate.cli.output import CommandError
from tests.fakes.cli import credgate
from tests.fakes.keeping import SOURCE

if TYPE_CHECKING:
    from credgate.cli.client import ControlSocket


@pytest.fixture
def shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[ControlSocket, bool]]:
    """Add a command that only notes which gateway it was to ask."""
    from credgate.cli.main import main  # noqa: PLC0415 - the program, before it is changed

    monkeypatch.delenv(client.VARIABLE, raising=False)
    found: list[tuple[ControlSocket, bool]] = []

    @client.talking
    def note(way: ControlSocket, *, as_json: bool) -> None:
        found.append((way, as_json))

    monkeypatch.setitem(main.commands, "note", click.command("note")(note))
    return found


def test_where_nothing_is_named_it_is_this_user_s(shown: list[tuple[ControlSocket, bool]]) -> None:
    """And it need not be there: nobody said that it is."""
    assert credgate("note").status == 0
    (way, as_json) = shown[0]
    assert (way.socket, way.named, as_json) == (client.default_socket(), False, False)


@pytest.mark.parametrize("words", [["--socket", "/s", "note"], ["note", "--socket", "/s"]])
def test_a_socket_is_named_before_or_behind_the_command(
    shown: list[tuple[ControlSocket, bool]], words: list[str]
) -> None:
    """People try both; a gateway that was named is the one, and no other will do."""
    assert credgate(*words).status == 0
    assert shown[0][0] == client.ControlSocket(Path("/s"), named=True)


def test_a_variable_names_it_unless_an_option_does(
    shown: list[tuple[ControlSocket, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is typed now is meant more than what was exported once."""
    monkeypatch.setenv(client.VARIABLE, "/of-the-variable")
    credgate("note")
    credgate("note", "--socket", "/typed")
    assert [(str(way.socket), way.named) for way, _ in shown] == [("/of-the-variable", True), ("/typed", True)]


@pytest.mark.parametrize("words", [["--json", "note"], ["note", "--json"]])
def test_json_is_asked_for_before_or_behind_the_command(
    shown: list[tuple[ControlSocket, bool]], words: list[str]
) -> None:
    """As the socket is."""
    credgate(*words)
    assert shown[0][1]


def test_an_environment_that_cannot_be_read_says_how_to_go_on(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket alone would be enough; so it says how to name it."""
    monkeypatch.setenv("GATEWAY_MAX_SESSIONS", "nonsense")
    with pytest.raises(CommandError, match=r"\(or name the socket: --socket, CREDGATE_SOCKET\)") as caught:
        client.default_socket()
    assert caught.value.status == 2


def test_what_asks_nobody_needs_no_reactor() -> None:
    """Importing Twisted takes longer than ``--help`` and ``check-config`` do."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import credgate.cli.client; print('twisted' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code, str(SOURCE)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "False\n"
