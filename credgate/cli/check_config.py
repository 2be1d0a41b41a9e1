"""``credgate check-config``: whether a gateway could be started with a file, as far as the file decides it.

Reads it as the gateway does, its drivers and DNS entries included; no secret is read, nothing is bound and nothing
asked, so that it runs in an operator's CI. Exit status 2 when it cannot be used, with the line that the start would
end with.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from credgate.cli import client, output
from credgate.config.load import config_hash, load, policy_hash
from credgate.errors import ConfigError
from credgate.forges.registry import driver_for

if TYPE_CHECKING:
    from credgate.config.schema import Config


@click.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
@client.json_option
def check_config(file: Path, *, as_json: bool) -> None:
    """Say whether the configuration in FILE can be used."""
    try:
        config = _read(file)
    except ConfigError as error:
        if as_json:
            output.say_json({"file": str(file), "usable": False, "error": output.printable(str(error))})
            raise SystemExit(output.UNUSABLE) from None
        raise output.CommandError(str(error), output.UNUSABLE) from None
    if as_json:
        output.say_json(_told(file, config))
    else:
        forges = ", ".join(config.forges)
        click.echo(output.printable(f"{file}: configuration {config_hash(config)}, forges: {forges}"))


def _read(file: Path) -> Config:
    config = load(file, os.environ)
    for forge in config.forges.values():
        driver_for(forge)
    return config


def _told(file: Path, config: Config) -> dict[str, Any]:
    hashes = {"configuration": config_hash(config), "policy": policy_hash(config.policy)}
    return {"file": str(file), "usable": True, **hashes, "forges": list(config.forges)}
