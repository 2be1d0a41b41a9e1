"""``credgate``: commands for the operator, beside the gateway itself (``twistd credgate``).

``policy test`` judges fixtures (``docs/policy.md``) with the gateway's own rules, for an operator's own CI. It asks no
forge, needs no gateway that runs and reads no secret. Each expectation is one line, each file that cannot be used one
line on standard error. Exit status: 0 all is as expected, 1 something is not, 2 a fixture or the configuration cannot
be used (also if something else is not as expected).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from credgate import __version__
from credgate.cli import dns_check
from credgate.config.load import load
from credgate.config.schema import Config
from credgate.errors import ConfigError
from credgate.forges.registry import driver_for
from credgate.git.fixtures import Fixtures, exit_status

if TYPE_CHECKING:
    from credgate.git.fixtures import Outcome

UNUSABLE = 2
_PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="credgate", message="%(prog)s %(version)s")
def main() -> None:
    """Tools beside the gateway, which itself is started by "twistd credgate"."""


@main.group()
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
        _complain(error)
        raise SystemExit(UNUSABLE) from None
    raise SystemExit(max(_judge(file, fixtures, quiet=quiet) for file in files))


@main.command("dns-check", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def check_dns(words: tuple[str, ...]) -> None:
    """Say what the DNS policy does with a name (credgate-dns-check)."""
    raise SystemExit(dns_check.main(words))


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
        _complain(error)
        return UNUSABLE
    for outcome in outcomes:
        if not (quiet and outcome.passed):
            click.echo(_line(file, outcome))
    return exit_status(outcomes)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(error.strerror or "cannot be read", file=str(file)) from None
    except UnicodeDecodeError:
        raise ConfigError("not TOML: it is not UTF-8", file=str(file)) from None


def _line(file: Path, outcome: Outcome) -> str:
    status, _, told = str(outcome).partition(" ")
    return _printable(f"{status:<4} {file}: {told.lstrip()}")


def _complain(error: ConfigError) -> None:
    click.echo(_printable(f"credgate: {error}"), err=True)


def _printable(text: str) -> str:
    """Keep a line one line, in ASCII: its texts may be those of whoever wrote the pull request that CI tries out."""
    return "".join(char if char.isascii() and char.isprintable() else ascii(char)[1:-1] for char in text)


if __name__ == "__main__":
    main()
