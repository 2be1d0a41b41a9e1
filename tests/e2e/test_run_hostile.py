"""A command of ``credgate run`` that attacks the processes that run it: wrapper, supervisor and private gateway.

A process of root can read every other process, so the command drops its capabilities first. Then it has the same access
as a process of an unprivileged caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.canary import traces
from tests.fakes.run_caller import Caller, isolates
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from tests.e2e.conftest import Forge

pytestmark = pytest.mark.needs("setpriv")
AS_A_USER = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
"""Words that run a command without capabilities."""


@pytest.fixture
def alone(caller: Caller, forge: Forge) -> Caller:
    """Return a caller without a gateway, but with a configuration file."""
    made = Caller(caller.folder.parent / "alone", forge.secret)
    (made.folder / "credgate.toml").write_text(
        f"""[forges."github.com"]\nkind = "github"\nurl = "{forge.plain.url}"\ncredential = "env://FORGE_TOKEN"\n"""
    )
    return made


READ = """
family=$(ps -eo pid=,ppid=,args= | awk -v wrapper=$PPID '$1 == wrapper || $2 == wrapper {print $1}')
for parent in $family; do family="$family $(ps -o pid= --ppid $parent)"; done
for pid in $(printf '%s\\n' $family | sort -u); do
    test $pid = $$ && continue
    test -e /proc/$pid && grep -qs credgate /proc/$pid/cmdline || continue
    echo tried
    cat /proc/$pid/environ /proc/$pid/mem 2>/dev/null
    for fd in 0 1 2 3 4 5 6 7 8 9; do readlink /proc/$pid/fd/$fd && echo "REACHED $pid $fd"; done
done
"""


@pytest.mark.needs("ps")
def test_wrapper_supervisor_and_gateway_cannot_be_read(alone: Caller) -> None:
    """Environment, memory, descriptors: an orphan that held the wrapper's pipe open would keep the session valid.

    A positive control reads another process: a shell between them.
    """
    config = str(alone.folder / "credgate.toml")
    ran = alone.wrapped("--config", config, "--", *AS_A_USER, "sh", "-c", READ)
    assert ran.out.split() == ["tried"] * 3, ran
    assert not traces(alone.secret, (ran.out + ran.err).encode())
    between = ("sh", "-c", """sh -c "tr '\\\\0' '\\\\n' < /proc/\\$PPID/environ"; true""")
    control = alone.wrapped("--config", config, "--", *AS_A_USER, *between)
    assert "LC_ALL=C" in control.out


def test_command_inherits_only_the_standard_descriptors(caller: Caller) -> None:
    """The fourth is opened by ``ls``."""
    assert caller.wrapped("--", "sh", "-c", "ls /proc/self/fd").fine().split() == ["0", "1", "2", "3"]
    isolates()
    assert caller.wrapped("--isolate", "--", "sh", "-c", "ls /proc/self/fd").fine().split() == ["0", "1", "2", "3"]


def test_files_of_a_command_are_removed(caller: Caller) -> None:
    """Including read-only directories. The targets of symbolic links are not removed."""
    (caller.project / "kept").mkdir()
    (caller.project / "kept" / "file").write_text("content")
    script = f"""
    mkdir -p ~/go/mod/deep && touch ~/go/mod/deep/file && chmod -R a-w ~/go && chmod 0 ~/go/mod
    ln -s {caller.project}/kept ~/link; ln -s {caller.project}/kept ~/..link; rm -f "$CREDGATE_TOKEN_FILE"
    ln -s {caller.project}/kept/file "$CREDGATE_TOKEN_FILE"; chmod 0 ~
    """
    caller.wrapped("--", *AS_A_USER, "sh", "-c", script).fine()
    assert caller.remaining() == []
    assert (caller.project / "kept" / "file").read_text() == "content"


def test_session_is_revoked_if_the_command_kills_its_wrapper(caller: Caller) -> None:
    """The command continues without a valid session."""
    script = 'kill -9 $PPID; while kill -0 $PPID 2>/dev/null; do sleep 0.05; done; echo "$CREDGATE_SESSION" > on'
    process = caller.begin("--repo", "octo/hello", "--", "sh", "-c", script)
    process.wait(30)
    wait_until(lambda: caller.remaining() == [], "the session's directory is gone")
    wait_until((caller.project / "on").exists, "the command went on")
    process.communicate(timeout=30)
    assert caller.gateway is not None
    session = (caller.project / "on").read_text().strip()
    assert caller.gateway.control("GET", f"/v1/sessions/{session}").status == 404
