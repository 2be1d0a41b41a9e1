"""``credgate run`` with git: the command has a session of its own and none of its caller's credentials."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.canary import traces
from tests.fakes.run_caller import BUILDERS, NAMED, Caller, appears, finish, only
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Door, Forge
    from tests.fakes.repositories import Repositories


@pytest.fixture
def folder() -> Iterator[Path]:
    """Create a directory with a short path, because it contains sockets."""
    made = Path(tempfile.mkdtemp(prefix="cg-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def caller(folder: Path, door: Door, forge: Forge) -> Caller:
    """Return a caller whose gateway is running."""
    return Caller(folder / "caller", forge.secret, door.gateway)


@pytest.fixture
def alone(folder: Path, forge: Forge) -> Caller:
    """Return a caller without a gateway, but with a configuration file."""
    made = Caller(folder / "alone", forge.secret)
    config = (
        f"""[forges."github.com"]\nkind = "github"\nurl = "{forge.plain.url}"\ncredential = "env://FORGE_TOKEN"\n"""
    )
    (made.folder / "credgate.toml").write_text(config)
    return made


@pytest.fixture(params=list(BUILDERS))
def builder(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Select a way in which bubblewrap works. Inside, PATH is that of the machine: the directory is hidden."""
    name: str = request.param
    monkeypatch.setenv("PATH", only(name, folder / "bin"))
    return name


def private(caller: Caller, *words: str) -> tuple[str, ...]:
    """Return the options that start a private gateway."""
    return ("--config", str(caller.folder / "credgate.toml"), *words)


JOB = """
set -e
git clone -q https://github.com/{path}.git work
cd work
echo changed > README
git commit -qam 'a change'
git push -q origin HEAD:refs/heads/agent/x
git ls-remote git@github.com:{path} refs/heads/agent/x
git rev-parse HEAD
"""


@pytest.mark.parametrize("kind", ["shared", "private"])
def test_command_clones_commits_and_pushes(caller: Caller, alone: Caller, repos: Repositories, kind: str) -> None:
    """With a shared and with a private gateway. The author of the commit is the caller."""
    path = repos.seeded()
    words = ("--repo", path, "--", "bash", "-c", JOB.format(path=path))
    who = caller if kind == "shared" else alone
    out = who.wrapped(*(words if kind == "shared" else private(who, *words))).fine()
    assert out.splitlines()[-1] == repos.head(path, "refs/heads/agent/x")
    assert who.remaining() == []


@pytest.mark.needs("curl")
def test_private_gateway_ends_with_its_command(alone: Caller, repos: Repositories) -> None:
    """Its port is closed and its files are removed. While it ran, all files were in one directory."""
    path = repos.seeded()
    script = 'echo "$CREDGATE_URL"; ls "$(dirname "$CREDGATE_TOKEN_FILE")/.."'
    url, *names = alone.wrapped(*private(alone, "--repo", path, "--", "sh", "-c", script)).fine().splitlines()
    assert set(names) >= {"command", "gateway", "gateway.log"}
    assert alone.remaining() == []
    ran = alone.wrapped(*private(alone, "--", "curl", "-sS", f"{url}/health"))
    assert "Failed to connect" in ran.refused()


def test_command_does_not_inherit_credentials(caller: Caller, forge: Forge) -> None:
    """Neither by name nor by value. Other variables are inherited."""
    out = caller.wrapped("--repo", "octo/hello", "--", "env").fine()
    assert not traces(forge.secret, out.encode())
    names = {line.partition("=")[0] for line in out.splitlines()}
    assert "LC_ALL=C" in out.splitlines()
    assert not names & {*NAMED, "SSH_AUTH_SOCK", "GIT_ASKPASS", "XDG_RUNTIME_DIR", "CREDGATE_SOCKET", "PLAIN"}
    kept = caller.wrapped("--repo", "octo/hello", "--keep-env", "GITLAB_TOKEN", "--", "printenv", "GITLAB_TOKEN").fine()
    assert kept == forge.secret


@pytest.mark.parametrize("name", ["FORGE_TOKEN", "DATABASE_URL"])
def test_credential_variable_of_a_private_gateway_is_never_inherited(alone: Caller, name: str) -> None:
    """Even with ``--keep-env``, by its name or by its value. Another variable is kept."""
    ran = alone.wrapped(*private(alone, "--keep-env", name, "--keep-env", "PLAIN", "--", "printenv", name, "PLAIN"))
    assert (ran.code, ran.out) == (1, "stays\n")


def test_netrc_credential_helpers_and_ssh_cannot_bypass_the_gateway(caller: Caller, repos: Repositories) -> None:
    """Each is configured and would work. The refusals are credgate's, in git's output."""
    path = repos.seeded()
    script = """
    git ls-remote https://github.com/octo/other; git ls-remote https://gitlab.example/a/b
    git ls-remote git@gitlab.example:a/b; git ls-remote ssh://git@gitlab.example/a/b
    git ls-remote other@gitlab.example:a/b
    cat ~/.netrc; printf 'protocol=https\\nhost=github.com\\n\\n' | git credential fill
    """
    ran = caller.wrapped("--repo", path, "--", "sh", "-c", script)
    assert "is outside this session" in ran.err
    assert ran.err.count("no forge of this name is configured") >= 2
    assert "credgate: ssh is disabled; git reaches forges through the gateway only" in ran.err
    assert "No such file or directory" in ran.err
    assert caller.secret not in ran.out + ran.err


def test_push_is_limited_by_the_push_option(caller: Caller, repos: Repositories) -> None:
    """A permitted push is accepted."""
    path = repos.seeded()
    script = f"git clone -q https://github.com/{path} w && cd w && git push -q origin HEAD:refs/heads/$0"
    words = ("--repo", path, "--push", "refs/heads/agent/*", "--", "sh", "-c", script)
    assert "push-ref" in caller.wrapped(*words, "other").refused() or not repos.head(path, "refs/heads/other")
    shutil.rmtree(caller.project / "w")
    caller.wrapped(*words, "agent/x").fine()
    assert repos.head(path, "refs/heads/agent/x")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_exit_status_is_that_of_the_command(caller: Caller, command: list[str], status: int) -> None:
    """As in a shell. The session is revoked in every case."""
    ran = caller.wrapped("--repo", "octo/hello", *command)
    assert ran.code == status
    assert ran.err == ("" if status < 126 or status > 127 else f"credgate: {command[0]}: {_why(status)}\n")
    assert _sessions(caller) == []
    assert caller.remaining() == []


def _why(status: int) -> str:
    return "command not found" if status == 127 else "Permission denied"


def _sessions(caller: Caller) -> list[str]:
    assert caller.gateway is not None
    sessions = caller.gateway.control("GET", "/v1/sessions").json["sessions"]
    return [one["id"] for one in sessions if one["label"] == "run"]


TRAP = """
for s in TERM INT HUP USR1 WINCH; do trap "echo $s >> got" $s; done
echo $$ > ready
while [ "$(wc -l < got)" -lt 5 ]; do sleep 0.05; done
exit 9
"""


def test_signals_are_forwarded_to_the_command(caller: Caller) -> None:
    """Each is forwarded once, and the command's traps handle them."""
    (caller.project / "got").touch()
    process = caller.begin("--repo", "octo/hello", "--", "bash", "-c", TRAP)
    appears(caller.project / "ready")
    for number, name in enumerate(("TERM", "INT", "HUP", "USR1", "WINCH"), 1):
        process.send_signal(signal.Signals[f"SIG{name}"])
        wait_until(lambda so_far=number: (caller.project / "got").read_text().count("\n") == so_far, f"{name} arrived")
    assert finish(process).code == 9
    assert (caller.project / "got").read_text().split() == ["TERM", "INT", "HUP", "USR1", "WINCH"]


@pytest.mark.parametrize(
    ("ignored", "script", "code", "out"),
    [
        ("HUP", "kill -HUP $$; echo lives; exit 3", 3, "lives\n"),  # as with nohup
        ("CHLD", "exit 3", 3, ""),  # sent when the command ends
        ("INT", "exit 3", 3, ""),
    ],
)
def test_command_inherits_ignored_signals(caller: Caller, ignored: str, script: str, code: int, out: str) -> None:
    """Its exit status is passed on. SIGCHLD is not inherited as ignored."""
    words = ("--repo", "octo/hello", "--", "sh", "-c", script)
    ran = finish(caller.begin(*words, before=("env", f"--ignore-signal={ignored}")))
    assert (ran.code, ran.out, ran.err) == (code, out, "")
    assert caller.remaining() == []


@pytest.mark.parametrize("kind", ["shared", "private"])
def test_session_of_a_killed_wrapper_is_revoked(caller: Caller, alone: Caller, kind: str) -> None:
    """The wrapper cannot clean up after ``kill -9``. The command continues without a valid session."""
    who = caller if kind == "shared" else alone
    script = ("sh", "-c", 'echo "$CREDGATE_SESSION $CREDGATE_URL $$" > ready; exec sleep 60')
    process = who.begin(*(("--repo", "octo/hello", *script) if kind == "shared" else private(who, *script)))
    session_id, url, pid = appears(who.project / "ready").split()
    if kind == "shared":
        assert _sessions(who) == [session_id]
    process.kill()
    try:
        wait_until(lambda: who.remaining() == [], "the session's directory is gone")
        if kind == "shared":
            assert _sessions(who) == []
        else:
            wait_until(lambda: not _listens(url), "the gateway has ended")
    finally:
        os.kill(int(pid), signal.SIGKILL)
        process.communicate()


def _listens(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("--repo", "hello", "--", "true"), 1, "Invalid repo format: hello"),
        (("--for", "99d", "--", "true"), 1, "absolute_ttl must be"),
        (("--socket", "none.sock", "--", "true"), 3, "no gateway answers at"),
    ],
)
def test_start_failure_is_one_line(caller: Caller, words: tuple[str, ...], status: int, text: str) -> None:
    """No files remain."""
    ran = caller.wrapped(*words)
    assert (ran.code, ran.out, ran.err.count("\n")) == (status, "", 1)
    assert ran.err.startswith(f"credgate: {text}")
    assert caller.remaining() == []


def test_private_gateway_start_failure_has_the_gateways_message(alone: Caller) -> None:
    """On one line."""
    config = alone.folder / "credgate.toml"
    config.write_text(config.read_text().replace("FORGE_TOKEN", "NOT_SET"))
    ran = alone.wrapped(*private(alone, "--", "true"))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert ran.err.startswith("credgate: the gateway did not start: ")
    assert "env://NOT_SET cannot be read: the variable is not set" in ran.err
    assert alone.remaining() == []


# --isolate.

WAYS_OUT = """
echo control-ok; git ls-remote https://github.com/{path} refs/heads/main
for host in 1.1.1.1 {forge} 127.0.0.1:{port}; do curl -sS -m 5 "http://$host/" && echo "REACHED $host"; done
curl -sS -m 5 --unix-socket {control} http://localhost/v1/sessions && echo 'REACHED control'
curl -sS -m 5 --unix-socket {gateway} http://localhost/v1/sessions && echo 'REACHED its own control'
for name in getent; do $name hosts github.com && echo 'REACHED dns'; done
ps ax -o pid= | wc -l; cat /proc/*/environ | tr '\\0' '\\n' | grep -c '^GITHUB_TOKEN='
cat {home}/.netrc {home}/.ssh/id_ed25519 2>/dev/null
touch /etc/credgate-was-here {home}/x 2>/dev/null && echo 'REACHED the file system'
ip link 2>/dev/null | grep -c '^[0-9]'
echo written > here
exit 5
"""


@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize("kind", ["shared", "private"])
def test_isolated_command_reaches_the_gateway_only(
    caller: Caller, alone: Caller, forge: Forge, repos: Repositories, kind: str
) -> None:
    """No other network address, control socket, process or file. git works, and the exit status is the command's."""
    path, who = repos.seeded(), caller if kind == "shared" else alone
    control = who.environ.get("CREDGATE_SOCKET", "/nonexistent")
    script = WAYS_OUT.format(
        path=path,
        forge=forge.plain.url.removeprefix("http://"),
        port=caller.gateway.port + 1 if caller.gateway else 1,
        control=control,
        gateway="$(dirname $CREDGATE_TOKEN_FILE)/../gateway/control.sock",
        home=who.home,
    )
    words = ("--isolate", "--repo", path, "--", "bash", "-c", script)
    ran = who.wrapped(*(words if kind == "shared" else private(who, *words)))
    assert ran.code == 5, ran.err
    control_ok, listed, processes, tokens, *_ = ran.out.splitlines()
    assert (control_ok, listed.split()[0]) == ("control-ok", repos.head(path))
    assert "REACHED" not in ran.out
    assert int(processes) < 8
    assert int(tokens) == 0
    assert not traces(forge.secret, (ran.out + ran.err).encode())
    assert (who.project / "here").read_text() == "written\n"
    assert who.remaining() == []


CALLS = """
import socket, sys
tcp, dns, name, path = sys.argv[1:]
for family, kind, where in (
    (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(tcp))),
    (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", int(dns))),
    (socket.AF_UNIX, socket.SOCK_STREAM, chr(0) + name),
    (socket.AF_UNIX, socket.SOCK_STREAM, path),
):
    try:
        with socket.socket(family, kind) as called:
            called.connect(where)
            called.send(b"called")
    except OSError as error:
        print(error)
print("done")
"""


@pytest.fixture
def listening(caller: Caller) -> Iterator[dict[str, socket.socket]]:
    """Listen on ports, and on UNIX sockets with a path (in the project) and without."""
    places = {
        "tcp": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
        "dns": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, f"\0credgate-test-{os.getpid()}"),
        "path": (socket.AF_UNIX, socket.SOCK_STREAM, str(caller.project / "socket")),
    }
    with ExitStack() as stack:
        made = {}
        for name, (family, kind, where) in places.items():
            made[name] = stack.enter_context(socket.socket(family, kind))
            made[name].bind(where)
            if kind == socket.SOCK_STREAM:
                made[name].listen()
            made[name].settimeout(0)
        yield made


def reached(listening: dict[str, socket.socket]) -> set[str]:
    """Return the names of the listeners that were connected to."""
    found = set()
    for name, one in listening.items():
        with suppress(BlockingIOError):
            one.recv(16) if one.type == socket.SOCK_DGRAM else one.accept()[0].close()
            found.add(name)
    return found


@pytest.mark.usefixtures("builder")
def test_isolated_command_reaches_no_listener_of_the_machine(
    caller: Caller, listening: dict[str, socket.socket]
) -> None:
    """Checked by the listeners. Without ``--isolate`` all of them are reached."""
    ports = [str(listening[name].getsockname()[1]) for name in ("tcp", "dns")]
    words = (sys.executable, "-c", CALLS, *ports, f"credgate-test-{os.getpid()}", str(caller.project / "socket"))
    assert "done" in caller.wrapped("--isolate", "--", *words).fine()
    assert reached(listening) == set()
    assert caller.wrapped("--", *words).fine() == "done"
    assert reached(listening) == set(listening)


HELD = """
grep -E '^(Cap(Inh|Prm|Eff|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | awk '{{print $2}}' | sort -u | paste -sd ' '
cd /proc/sys/kernel; cat core_pattern 2>/dev/null > core_pattern && echo 'WROTE core_pattern'
ls -A /run /var/tmp | grep -v :
cd /; umount /run 2>/dev/null && echo UNMOUNTED; mount -o remount,rw / 2>/dev/null && echo REMOUNTED
echo x 2>/dev/null > {home}/x
echo x 2>/dev/null > {project}/x && echo wrote; echo x 2>/dev/null > ~/x && echo wrote
find /dev -type b -o -type c ! -name null ! -name zero ! -name full ! -name random ! -name urandom ! -name tty \
    ! -path '/dev/pts/*' ! -name console
"""


@pytest.mark.usefixtures("builder")
def test_isolation_cannot_be_undone(caller: Caller) -> None:
    """No capability, also for root. Files are written to the project and to the command's HOME only.

    Without a user namespace root's bounding set stays full; NoNewPrivs keeps every program from gaining capabilities.
    """
    script = HELD.format(home=caller.home, project=caller.project)
    ran = caller.wrapped("--isolate", "--", "sh", "-c", script)
    assert ran.out.split("\n") == ["0000000000000000 1 2", "", "wrote", "wrote", ""], ran
    assert (caller.project / "x").read_text() == "x\n"
    assert not (caller.home / "x").exists()


@pytest.mark.usefixtures("builder")
def test_isolated_command_gets_signals_and_is_killed_with_its_wrapper(caller: Caller) -> None:
    """TERM runs its trap. After ``kill -9`` of the wrapper no process remains."""
    (caller.project / "got").touch()
    script = "trap 'echo TERM >> got; exit 4' TERM; echo x > ready; while :; do sleep 0.05; done"
    process = caller.begin("--isolate", "--repo", "octo/hello", "--", "bash", "-c", script)
    appears(caller.project / "ready")
    process.terminate()
    assert finish(process).code == 4
    (caller.project / "ready").unlink()
    process = caller.begin("--isolate", "--repo", "octo/hello", "--", "bash", "-c", script + " # " + str(caller.folder))
    appears(caller.project / "ready")
    process.kill()
    process.communicate()
    wait_until(lambda: caller.remaining() == [] and _sessions(caller) == [], "all is ended")
    wait_until(lambda: not _running(str(caller.folder)), "the command is gone")


def _running(words: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_text(errors="replace")
        except OSError:
            continue
        if f"# {words}" in line:
            found.append(line)
    return found


@pytest.mark.usefixtures("builder")
def test_isolation_refuses_a_directory_that_contains_hidden_paths(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current directory stays writable and visible."""
    monkeypatch.setattr(Caller, "project", caller.folder.parent.parent)
    ran = caller.wrapped("--isolate", "--repo", "octo/hello", "--", "true")
    assert ran.code == 2
    assert "change to the project's directory" in ran.err


def test_isolation_without_bubblewrap_is_one_line(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the package. The command is not run."""
    monkeypatch.setenv("PATH", "/nonexistent")
    ran = caller.wrapped("--isolate", "--repo", "octo/hello", "--", "/bin/touch", "ran")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "--isolate needs bubblewrap: bwrap is not in PATH (apt-get install bubblewrap)" in ran.err
    assert not (caller.project / "ran").exists()
