"""``credgate``: commands for the operator, beside the gateway itself (``twistd credgate``).

Only names and arranges; each command has a file of its own. Exit statuses and the form of errors are ``output``'s.
"""

from __future__ import annotations

import click

from credgate import __version__
from credgate.cli import dns_check
from credgate.cli.audit import audit
from credgate.cli.audit_verify import verify
from credgate.cli.check_config import check_config
from credgate.cli.doctor import doctor
from credgate.cli.env import env
from credgate.cli.explain import explain
from credgate.cli.output import Program
from credgate.cli.policy import policy
from credgate.cli.run.command import run
from credgate.cli.session import session
from credgate.cli.status import status
from credgate.cli.top import top

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=Program, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="credgate", message="%(prog)s %(version)s")
@click.option("--socket", metavar="PATH", help="The gateway's control socket, for every command that asks one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
def main(socket: str | None, *, as_json: bool) -> None:
    """Tools beside the gateway, which itself is started by "twistd credgate".

    Exit status: 0 done; 1 refused, not found, or a finding that is not good; 2 the command line, a file or the
    configuration cannot be used; 3 no gateway answers.
    """


@main.command("dns-check", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def check_dns(words: tuple[str, ...]) -> None:
    """Say what the DNS policy does with a name (credgate-dns-check)."""
    raise SystemExit(dns_check.main(words))


audit.add_command(verify)
for _command in (session, env, status, top, explain, audit, doctor, run, check_config, policy):
    main.add_command(_command)

if __name__ == "__main__":
    main()
