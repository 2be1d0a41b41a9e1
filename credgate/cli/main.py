"""``credgate``: the command-line program of the operator. The gateway itself is ``twistd credgate``.

This module only assembles the commands; each is in a module of its own. Exit statuses and the format of errors are in
``output``.
"""

from __future__ import annotations

import click

from credgate import __version__
from credgate.cli import dns_check
from credgate.cli.audit import audit
from credgate.cli.audit_verify import verify
from credgate.cli.doctor import doctor
from credgate.cli.env import env
from credgate.cli.explain import explain
from credgate.cli.offline import check_config, policy
from credgate.cli.output import Program
from credgate.cli.run import signals
from credgate.cli.run.wrapper import run
from credgate.cli.session import session
from credgate.cli.status import status
from credgate.cli.top import top

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=Program, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="credgate", message="%(prog)s %(version)s")
@click.option("--socket", metavar="PATH", help="The gateway's control socket.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(socket: str | None, *, as_json: bool) -> None:  # noqa: ARG001 - the commands read these options
    """Manage a gateway, which is started with "twistd credgate".

    Exit status: 0 success; 1 refused, not found, or a check failed; 2 invalid command line, file or configuration; 3 no
    gateway answers.
    """
    signals.prepare()


@main.command("dns-check", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def check_dns(words: tuple[str, ...]) -> None:
    """Show how the DNS policy answers a query.

    The same as credgate-dns-check.
    """
    raise SystemExit(dns_check.main(words))


audit.add_command(verify)
for _command in (session, env, status, top, explain, audit, doctor, run, check_config, policy):
    main.add_command(_command)

if __name__ == "__main__":
    main()
