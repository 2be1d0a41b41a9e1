"""``credgate policy``: an operator's own rules tried out, without a gateway, a forge or a secret.

``policy test`` judges fixtures (``docs/policy.md``) with the gateway's own rules, for an operator's own CI. Each
expectation is one line, each file that cannot be used one line on standard error. Exit status: 0 all is as expected, 1
something is not, 2 a fixture or the configuration cannot be used (also if something else is not as expected).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from credgate.cli.output import UNUSABLE, complain, printable
from credgate.config.load import load
from credgate.config.schema import Config
from credgate.errors import ConfigError
from credgate.forges.registry import driver_for
from credgate.git.fixtures import Fixtures, exit_status

if TYPE_CHECKING:
    from credgate.git.fixtures import FixtureOutcome

_PATH = click.Path(path_type=Path)


@click.group()
def policy() -> None:
    """Try out what sessions may push, without pushing."""


@policy.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_PATH)
@click.option("--config", type=_PATH, help="The gateway's configuration: its forges and its [policy].")
@click.option("-q", "--quiet", is_flag=True, help="Print only what is not as expected.")
def test(files: tuple[Path, ...], config: Path | None, *, quiet: bool) -> None:
    """Judge the fixtures in each FILE (TOML) and compare with what they expect.

    A FILE with a [policy] of its own is judged by that; else the configured one holds. Without --config the only forge
    is github.com, and there is no policy.

    \b
        grants = ["octo/hello"]
        [[push]]
        repo = "octo/hello"
        refs = [{ref = "refs/heads/x", verb = "force", expect = "push-verb"}]

    Exit status: 0 all is as expected, 1 something is not, 2 a FILE or the configuration cannot be used. docs/policy.md
    has all keys.
    """  # noqa: D301 - \b is click's: keep these lines as they are
    try:
        fixtures = _fixtures(config)
    except ConfigError as error:
        complain(str(error), UNUSABLE)
        raise SystemExit(UNUSABLE) from None
    raise SystemExit(max(_judge(file, fixtures, quiet=quiet) for file in files))


def _fixtures(file: Path | None) -> Fixtures:
    """Return the judge of a configuration. Raises ConfigError."""
    config = Config() if file is None else load(file, os.environ)
    drivers = {name: driver_for(forge) for name, forge in config.forges.items()}
    return Fixtures(drivers, config.default_forge, config.policy)


def _judge(file: Path, fixtures: Fixtures, *, quiet: bool) -> int:
    """Print what became of one file; return its exit status."""
    try:
        outcomes = fixtures.run(_read(file), str(file))
    except ConfigError as error:
        complain(str(error), UNUSABLE)
        return UNUSABLE
    for outcome in outcomes:
        if not (quiet and outcome.passed):
            click.echo(line(file, outcome))
    return exit_status(outcomes)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", file=str(file)) from None
    except UnicodeDecodeError:
        raise ConfigError("not TOML: it is not UTF-8", file=str(file)) from None


def line(file: Path, outcome: FixtureOutcome) -> str:
    """Return the line for one expectation: in ASCII, for it may be shown in somebody's CI."""
    status, _, told = str(outcome).partition(" ")
    return printable(f"{status:<4} {file}: {told.lstrip()}")
