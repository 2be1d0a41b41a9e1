"""``credgate run``: a command whose git works through a gateway, with a session of its own, and no container needed.

Uses the gateway that answers at the control socket, or starts one for this command alone. The command finds no
credential in its environment (``cleaned``), git leads everywhere through the gateway (``gitenv``), signals and exit
status pass as if nothing stood between (``passing``), and the session ends with it (``keeper``, which outlives a
``kill -9`` of this process). ``--isolate`` takes the network away but for the gateway (``isolate``).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from credgate.cli import client, gitenv, output
from credgate.cli.run import behind, isolate, syscall_filter
from credgate.cli.run.environment import cleaned, given
from credgate.cli.run.signals import NotRun, SignalForwarder
from credgate.cli.session import request
from credgate.config.load import from_environment, load
from credgate.config.named import Named, named
from credgate.config.secrets import Reference, read_document
from credgate.errors import ConfigError
from credgate.service.process import undumpable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from credgate.cli.client import ControlSocket

END = 30
"""Seconds that the keeper may take to revoke and to clean up."""
_PORT = 1024
IDENTITY = ("user.name", "user.email", "init.defaultBranch")


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--repo", "repos", metavar="OWNER/REPO[:read]", multiple=True, help="A repository (repeatable).")
@click.option("--push", metavar="REFS[:VERBS]", multiple=True, help="What may be pushed (repeatable).")
@click.option("--forge", default="", metavar="NAME", help="Where the repositories are, if not on the default forge.")
@click.option("--for", "lasting", metavar="TIME", help="How long the session lives at most.")
@click.option("--label", metavar="NAME", default="run", show_default=True, help="The session's label.")
@click.option("--private", is_flag=True, help="Start a gateway for this command, even if one runs.")
@click.option("--config", type=click.Path(path_type=Path), help="The private gateway's configuration.")
@click.option("--keep-env", metavar="NAME", multiple=True, help="Pass this variable on, too (repeatable).")
@click.option("--keep-home", is_flag=True, help="Leave HOME as it is, with whatever credentials lie there.")
@click.option("--isolate", "isolated", is_flag=True, help="Take the network away, but for the gateway.")
@click.option(
    "--hide", type=click.Path(path_type=Path, exists=True), multiple=True, help="With --isolate: empty this place, too."
)
@click.argument("command", metavar="[--] CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@client.socket_option
def run(way: ControlSocket, command: tuple[str, ...], *, isolated: bool, hide: tuple[Path, ...], **words: Any) -> None:  # noqa: ANN401 - click's
    """Run CMD with a session of its own; its git works through the gateway only.

    Of the environment CMD gets PATH, the locale, the terminal's variables and others that hold no credential
    (docs/cli.md lists them), and those that --keep-env names.

    The exit status is CMD's: 128+N when signal N ended it, 127 when there is no such command. 2 and 3 may also be
    credgate's own, with a line that says so.
    """
    # Its environment has what the command's has not, and its pipe to the keeper is what ends the session.
    undumpable()
    keep, keep_home = words.pop("keep_env"), words.pop("keep_home")
    config: Path | None = words["config"]
    wanted = _wanted(way, words)
    names = referred(config, private=wanted["socket"] is None)
    build = _builder(hide, names) if isolated else None
    with Supervisor(wanted, isolated=isolated) as keeper:
        told = keeper.told
        box, url = told["box"], f"http://127.0.0.1:{_port_inside(told)}" if build else told["url"]
        entries = gitenv.entries(url, told, gitenv.snippet(f"{box}/token"), everything=True)
        environ = cleaned(os.environ, keep, keep_home=keep_home, never=names.variables, secrets=credentials(names))
        environ |= given(entries, _identity(), box, url, told["id"])
        environ |= {} if keep_home else {"HOME": f"{box}/home"}
        if build:
            status = _isolated(build, command, environ, keeper, [*hide, Path(told["socket"]).parent], names)
        else:
            status = _plain(command, environ)
    raise SystemExit(status)


def _wanted(way: ControlSocket, words: dict[str, Any]) -> dict[str, Any]:
    """Return the keeper's orders. Raises Failed, click.UsageError."""
    private, config = words.pop("private"), words.pop("config")
    body = request(**words)
    if way.named and (private or config):
        raise click.UsageError("--socket names a gateway that runs, --private and --config start one: choose")
    shared = not (private or config) and (way.named or _answers(way.socket))
    return {
        "socket": str(way.socket.absolute()) if shared else None,
        "config": str(config.absolute()) if config else None,
        "session": body,
        "door": None,
    }


def _answers(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def referred(config: Path | None, *, private: bool) -> Named:
    """Return what a private gateway's configuration names; nothing of it is left to the command.

    Raises Failed for a configuration that cannot be used.
    """
    if not private:
        return Named()
    try:
        loaded = load(config, os.environ) if config else from_environment(os.environ)
        return named(loaded, os.environ)
    except ConfigError as error:
        raise output.CommandError(str(error), output.UNUSABLE) from None


def credentials(names: Named) -> set[str]:
    """Return the credentials themselves that lie in those variables and files, so that no other variable passes them.

    One that cannot be read is left out: the gateway does not start without it, and says why.
    """
    references = [*(Reference("env", one) for one in names.variables)]
    references += [Reference("file", str(one)) for one in names.secrets]
    found = set()
    for one in references:
        with suppress(ConfigError):
            found.add(read_document(one, os.environ).strip())
    return found


def _identity() -> gitenv.Entries:
    """Return who the caller is to git, which a command that commits needs, and no more of their configuration."""
    git = shutil.which("git")
    if git is None:
        return []
    found = []
    for key in IDENTITY:
        ran = subprocess.run([git, "config", "--get", key], capture_output=True, text=True, check=False)  # noqa: S603 - git's own answer
        if ran.returncode == 0 and ran.stdout.strip():
            found.append((key, ran.stdout.strip()))
    return found


def _port_inside(told: Mapping[str, Any]) -> int:
    """Return the gateway's port in a network namespace of its own, where those below 1024 cannot be had."""
    port = int(told["address"].rpartition(":")[2])
    return port if port >= _PORT else 8080


def _builder(hide: Sequence[Path], names: Named) -> isolate.Builder:
    """Return what can build the walls here. Raises Failed."""
    isolate.check_descriptors()
    tried = isolate.walls(box=None, cwd=Path.cwd(), home=Path.home(), hide=hide, named=names, share_terminal=True)
    return isolate.builder(tried)


def _plain(command: Sequence[str], environ: Mapping[str, str]) -> int:
    passing = SignalForwarder()
    try:
        child = passing.start(command, environ)
    except NotRun as error:
        return output.complain(str(error), error.status)
    return passing.wait(child, lambda: child.pid)


def _isolated(  # noqa: PLR0913, PLR0917 - one thing each
    build: isolate.Builder,
    command: Sequence[str],
    environ: Mapping[str, str],
    keeper: Supervisor,
    hide: Sequence[Path],
    names: Named,
) -> int:
    shared, box = isolate.same_terminal(), Path(keeper.told["box"])
    # Anew: files that the gateway has made since are there now.
    walls = isolate.walls(box=box, cwd=Path.cwd(), home=Path.home(), hide=hide, named=names, share_terminal=shared)
    try:
        with syscall_filter.opened() as filter_file:
            return behind.run(
                build(walls, filter_file),
                command,
                environ,
                door=keeper.door,
                port=_port_inside(keeper.told),
                inherited=[filter_file],
                started=keeper.close_door,
                share_terminal=shared,
            )
    except NotRun as error:
        return output.complain(str(error), error.status)


class Supervisor:
    """The process that makes and ends the session, between ``with`` and its end."""

    def __init__(self, wanted: dict[str, Any], *, isolated: bool) -> None:
        self._wanted, self._isolated = wanted, isolated
        self.told: dict[str, Any] = {}
        self.door = -1

    def __enter__(self) -> Supervisor:  # noqa: PYI034 - as everywhere here
        """Start it, and wait for what it made. Raises Failed."""
        fds: tuple[int, ...] = ()
        if self._isolated:
            ours, theirs = socket.socketpair()
            self.door, fds = ours.detach(), (theirs.detach(),)
            self._wanted["door"] = fds[0]
        # Its session is its own: a Ctrl-C on the terminal is for the command.
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-c", isolate.START.format("supervisor", ""), str(isolate.ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=fds,
        )
        for one in fds:
            os.close(one)
        self.told = self._ask()
        if "error" in self.told:
            self._let_go()
            self._process.wait(END)
            raise output.CommandError(self.told["error"], self.told["exit"])
        return self

    def _ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.write(json.dumps(self._wanted).encode() + b"\n")
            self._process.stdin.flush()
        try:
            told: dict[str, Any] = json.loads(self._process.stdout.readline())
        except ValueError:
            return {"error": "the process that keeps the session ended before it was made", "exit": output.REFUSED}
        return told

    def close_door(self) -> None:
        """Let go of our end: the command inside has its own."""
        os.close(self.door)
        self.door = -1

    def _let_go(self) -> None:
        """Close what we hold of it: the end of its standard input is what it waits for."""
        if self.door >= 0:
            self.close_door()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def __exit__(self, *_: object) -> None:
        """Let it revoke and clean up; say so if it could not."""
        self._let_go()
        try:
            status = self._process.wait(END)
        except subprocess.TimeoutExpired:
            status = -1
        if status != 0:
            known = self.told.get("id", "")
            output.complain(f"the session may live on: credgate session revoke {known}", output.REFUSED)
