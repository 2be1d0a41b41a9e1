"""Commands that need no gateway: ``credgate check-config`` and ``credgate policy test``.

They read the configuration with the gateway's own code, its forges and DNS entries included. They read no secret and
open no socket, so they can run in an operator's CI.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from credgate.cli.gateway_options import json_option
from credgate.cli.output import UNUSABLE, CommandError, print_error, print_json, printable
from credgate.config.schema import Config
from credgate.errors import ConfigError
from credgate.forges.registry import driver_for
from credgate.git.fixtures import Fixtures, exit_status
from credgate.loading.load import config_hash, load, policy_hash

if TYPE_CHECKING:
    from credgate.git.fixtures import FixtureOutcome

_PATH = click.Path(path_type=Path)


@click.command("check-config")
@click.argument("file", type=_PATH)
@json_option
def check_config(file: Path, *, as_json: bool) -> None:
    """Check whether the configuration in FILE is valid.

    Exit status 2 if it is not, with the error message of the gateway's start.
    """
    try:
        config = load(file, os.environ)
        # The driver of a forge checks its own keys.
        for forge in config.forges.values():
            driver_for(forge)
    except ConfigError as error:
        if as_json:
            print_json({"file": str(file), "usable": False, "error": printable(str(error))})
            raise SystemExit(UNUSABLE) from None
        raise CommandError(str(error), UNUSABLE) from None
    if as_json:
        hashes = {"configuration": config_hash(config), "policy": policy_hash(config.policy)}
        print_json({"file": str(file), "usable": True, **hashes, "forges": list(config.forges)})
    else:
        click.echo(printable(f"{file}: configuration {config_hash(config)}, forges: {', '.join(config.forges)}"))


@click.group()
def policy() -> None:
    """Test push rules without a push."""


@policy.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_PATH)
@click.option("--config", type=_PATH, help="The gateway's configuration: its forges and its [policy].")
@click.option("-q", "--quiet", is_flag=True, help="Print only failed expectations.")
def test(files: tuple[Path, ...], config: Path | None, *, quiet: bool) -> None:
    """Evaluate the pushes and fetches in each FILE (TOML) and compare the decisions with the expected ones.

    A [policy] in FILE replaces the configured one. Without --config the only forge is github.com, and there is no
    policy.

    \b
        grants = ["octo/hello"]
        [[push]]
        repo = "octo/hello"
        refs = [{ref = "refs/heads/x", verb = "force", expect = "push-verb"}]

    Exit status: 0 all decisions are as expected, 1 one is not, 2 a FILE or the configuration is invalid.
    docs/policy.md describes all keys.
    """  # noqa: D301 - \b is click's: keep these lines as they are
    try:
        loaded = Config() if config is None else load(config, os.environ)
        drivers = {name: driver_for(forge) for name, forge in loaded.forges.items()}
        fixtures = Fixtures(drivers, loaded.default_forge, loaded.policy)
    except ConfigError as error:
        raise CommandError(str(error), UNUSABLE) from None
    # Each file is evaluated, also after an invalid one.
    raise SystemExit(max(_test_file(file, fixtures, quiet=quiet) for file in files))


def _test_file(file: Path, fixtures: Fixtures, *, quiet: bool) -> int:
    """Print one line for each expectation of a file; return the exit status."""
    try:
        outcomes = fixtures.run(_read(file), str(file))
    except ConfigError as error:
        return print_error(str(error), UNUSABLE)
    for outcome in outcomes:
        if not (quiet and outcome.passed):
            click.echo(result_line(file, outcome))
    return exit_status(outcomes)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", file=str(file)) from None
    except UnicodeDecodeError:
        raise ConfigError("not TOML: it is not UTF-8", file=str(file)) from None


def result_line(file: Path, outcome: FixtureOutcome) -> str:
    """Return the output line for one expectation."""
    status, _, text = str(outcome).partition(" ")
    return printable(f"{status:<4} {file}: {text.lstrip()}")
