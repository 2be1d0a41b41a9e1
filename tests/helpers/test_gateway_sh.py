"""``gateway.sh`` under each shell, against a real gateway process and a ``docker`` that notes what it is asked."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.canary import traces
from tests.fakes.gateway import Gateway
from tests.fakes.host import ADDRESS, MANAGEMENT_KEY, SCRIPT, Host, publish
from tests.fakes.needs import SHELLS, needed, not_here

if TYPE_CHECKING:
    from collections.abc import Iterator

BOX = "box-dev-1"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """Start the gateway that these tests share; its folder's name is short, as its socket's must be."""
    with tempfile.TemporaryDirectory(prefix="cg-") as folder:
        started = Gateway(Path(folder), "http://127.0.0.1:9", "ghp_nobody")
        try:
            yield started.start()
        finally:
            started.stop(signal.SIGKILL)


@pytest.fixture(params=[*SHELLS, needed("bash")])
def host(request: pytest.FixtureRequest, tmp_path: Path, gateway: Gateway) -> Iterator[Host]:
    """Make a host; its sessions are ended afterwards."""
    made = Host(str(request.param).split(), tmp_path, gateway)
    made.equip()
    yield made
    for session in gateway.control("GET", "/v1/sessions").json["sessions"]:
        gateway.control("DELETE", f"/v1/sessions/{session['id']}")


def test_create_sets_both_halves_and_binds_to_the_address(host: Host) -> None:
    """What the ancestor's callers read afterwards; the repositories are the ones named, no more."""
    ran = host.run(
        f"create_gateway_session {BOX} {ADDRESS} octo/hello,octo/docs\n"
        'printf "%s:%s" "$GATEWAY_TOKEN" "$GATEWAY_SECRET"'
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [len(half) for half in ran.stdout.split(":")] == [43, 43]
    (session,) = host.gateway.control("GET", "/v1/sessions").json["sessions"]
    assert (session["label"], session["bind"]) == (BOX, f"{ADDRESS}/32")
    assert [grant["repo"] for grant in session["repos"]] == ["octo/hello", "octo/docs"]


@pytest.mark.parametrize("repos", ["", "''", "','"])
def test_no_repository_grants_none_and_says_so(host: Host, repos: str) -> None:
    """The ancestor's empty list meant every repository; whoever relied on that must hear of it."""
    ran = host.run(f"create_gateway_session {BOX} {ADDRESS} {repos}")
    assert ran.returncode == 0
    assert "may use none" in ran.stderr
    assert host.gateway.control("GET", "/v1/sessions").json["sessions"][0]["repos"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "container id"),
        (BOX, "address"),
        (f"'{BOX}\"' {ADDRESS}", "container id"),
        (f"{BOX} '1\", \"x'", "address"),
        (f"{BOX} 999.1.1.1", "HTTP 400: container_ip must be a valid IP address"),
        (f"{BOX} {ADDRESS} 'a/b\"'", "not a repository"),
        (f"{BOX} {ADDRESS} 'a/b\\'", "not a repository"),
        (f"{BOX} {ADDRESS} nonsense", "HTTP 400: Invalid repo format: nonsense"),
    ],
)
def test_what_cannot_be_made_is_refused(host: Host, arguments: str, said: str) -> None:
    """With 1, no halves left from an earlier call, and nothing that breaks out of the JSON."""
    ran = host.run(f"GATEWAY_TOKEN=old\ncreate_gateway_session {arguments} || echo $? [$GATEWAY_TOKEN$GATEWAY_SECRET]")
    assert (ran.returncode, ran.stdout) == (0, "1 []\n")
    assert said in ran.stderr
    assert host.sessions() == []


def test_destroy_ends_the_session_and_then_says_that_it_is_gone(host: Host) -> None:
    """The ancestor's reported 403 and 404 as success."""
    ran = host.run(
        f"create_gateway_session {BOX} {ADDRESS} octo/hello\n"
        'destroy_gateway_session "$GATEWAY_TOKEN"; echo $?\n'
        'destroy_gateway_session "$GATEWAY_TOKEN" || echo $?'
    )
    assert ran.stdout == "0\n1\n"
    assert "HTTP 404: Session not found" in ran.stderr
    assert host.sessions() == []


def test_health_is_waited_for(host: Host) -> None:
    """0 at once when it answers."""
    assert host.run("wait_for_gateway_health; wait_for_gateway_health 5").returncode == 0


@pytest.mark.parametrize("path", ["/nonexistent/control.sock", ""])
def test_no_gateway_is_a_failure_that_says_what_to_do(host: Host, path: str) -> None:
    """After as long as was asked; every function has its own word on it."""
    if not path and Path("/run/credgate/control.sock").exists():
        not_here("a gateway of this machine serves the default socket")
    ran = host.run("wait_for_gateway_health 0 || echo $?", GATEWAY_SOCKET_PATH=path)
    assert ran.stdout == "1\n"
    assert "GATEWAY_SOCKET_PATH" in ran.stderr if not path else "compose logs gateway" in ran.stderr
    ran = host.run(f"create_gateway_session {BOX} {ADDRESS} a/b || echo $?", GATEWAY_SOCKET_PATH=path)
    assert (ran.stdout, "cannot be reached" in ran.stderr) == ("1\n", True)
    ran = host.run("destroy_gateway_session abc || echo $?", GATEWAY_SOCKET_PATH=path)
    assert (ran.stdout, "cannot be reached" in ran.stderr) == ("1\n", True)


def test_the_token_is_written_as_the_sandbox_expects_it(host: Host) -> None:
    """One line, 0400, the sandbox's owner; the folder is made if need be, and passable."""
    ran = host.run(f"write_gateway_token_to_container {BOX} tok sec")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert host.token_file.read_text() == "tok:sec\n"
    found = host.token_file.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o400, os.getuid(), os.getgid())
    assert stat.S_IMODE(host.secrets.stat().st_mode) == 0o755
    assert [path.name for path in host.secrets.iterdir()] == ["gateway_token"]


def test_a_new_token_replaces_the_old_one_and_no_link_is_followed(host: Host) -> None:
    """The sandbox owns the folder: a link that it laid there must not aim root's writing elsewhere."""
    host.secrets.mkdir()
    victim = host.folder / "victim"
    victim.write_text("theirs")
    host.token_file.symlink_to(victim)
    assert host.run(f"write_gateway_token_to_container {BOX} tok sec").returncode == 0
    assert host.run(f"write_gateway_token_to_container {BOX} tok2 sec2").returncode == 0
    assert (victim.read_text(), host.token_file.read_text()) == ("theirs", "tok2:sec2\n")
    assert not host.token_file.is_symlink()


def test_a_container_whose_root_may_nothing_is_served_by_its_own_user(host: Host) -> None:
    """``cap_drop: ALL`` takes chown from root, too."""
    (host.folder / "rootless").touch()
    ran = host.run(f"write_gateway_token_to_container {BOX} tok sec")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert host.token_file.read_text() == "tok:sec\n"
    assert "-u\n0\n" in host.argv
    assert f"-u\n{os.getuid()}:{os.getgid()}\n" in host.argv


ESCAPE = r"400\n\033]0;title\007\033[31mred \\033[2J"
"""For ``printf``: what moves a terminal, and what moves one where echo reads backslashes."""


@pytest.mark.parametrize(
    ("stat", "said"),
    [
        (f"printf '{ESCAPE}'", ""),
        (f"printf '{ESCAPE}' >&2; exit 1", f"{BOX} says: 400   0 title   31mred  033 2J"),
        ("head -c 5000000 /dev/zero", ""),
        ("printf '%01000d' 0", ""),
        ("echo 0644", ": mode 0644"),
        ("echo 644", ": mode 644"),
        ("echo 4000", ": mode 4000"),
        ("echo 400 x", ""),
        ("echo 400; exit 1", ""),
    ],
)
def test_what_a_container_says_does_not_reach_the_terminal(host: Host, stat: str, said: str) -> None:
    """Its ``stat`` is its own: only a file's mode is shown, and of its errors harmless characters, 200 at most."""
    (host.folder / "bin" / "stat").write_text(f"#!/bin/sh\n{stat}\n")
    (host.folder / "bin" / "stat").chmod(0o755)
    ran = host.run(f"write_gateway_token_to_container {BOX} tok sec || echo $?")
    assert ran.stdout == "1\n"
    assert all(char.isascii() and (char.isprintable() or char == "\n") and char != "\\" for char in ran.stderr), ran
    assert f"gateway_token in {BOX}{said if said.startswith(':') else ''}\n" in ran.stderr
    assert said in ran.stderr
    assert len(ran.stderr) < 400


@pytest.mark.parametrize(
    ("file", "call"), [("address", f"get_container_ip {BOX}"), ("port", "get_gateway_host_port x")]
)
def test_what_the_runtime_says_of_a_container_is_shown_in_one_form_only(host: Host, file: str, call: str) -> None:
    """An address, a port; anything else is none (positive controls: the tests of these functions)."""
    (host.folder / file).write_text("127.0.0.1:80\x1b[31m\n")
    assert host.run(f"{call} || :").stdout == ""


@pytest.mark.parametrize("arguments", ["", BOX, f"{BOX} tok", "'a b' tok sec"])
def test_writing_wants_all_its_arguments(host: Host, arguments: str) -> None:
    """And asks docker nothing without them."""
    ran = host.run(f"write_gateway_token_to_container {arguments} || echo $?")
    assert (ran.stdout, "required" in ran.stderr, host.argv) == ("1\n", True, "")


def test_the_address_is_that_of_the_network(host: Host) -> None:
    """The default one, or the one that is named; 1 and nothing where there is none."""
    assert host.run(f"get_container_ip {BOX}").stdout == f"{ADDRESS}\n"
    ran = host.run(f"get_container_ip {BOX} other || echo $?")
    assert (ran.stdout, ran.stderr) == ("1\n", "")
    (host.folder / "network").write_text("other\n")
    assert host.run(f"get_container_ip {BOX} other").stdout == f"{ADDRESS}\n"


NETWORKS = ["credential-isolation", "box_credential-isolation", "box_credential-isolation-2", "credential-isolation-3"]


@pytest.mark.parametrize("network", NETWORKS)
def test_set_up_does_it_all(host: Host, network: str) -> None:
    """Whether compose has put its project before the network's name or not, and on a second sandbox's network."""
    (host.folder / "network").write_text(f"{network}\n")
    ran = host.run(f'setup_gateway_session {BOX} octo/hello\nprintf "%s:%s" "$GATEWAY_TOKEN" "$GATEWAY_SECRET"')
    assert ran.returncode == 0, ran.stderr
    assert host.token_file.read_text() == ran.stdout + "\n"
    assert host.sessions() == [BOX]


def test_set_up_that_cannot_write_leaves_no_session(host: Host) -> None:
    """Else a session lives that nobody holds; the positive control is the test before."""
    host.secrets.write_text("a file where the folder should be")
    ran = host.run(f"setup_gateway_session {BOX} octo/hello || echo $? [$GATEWAY_TOKEN$GATEWAY_SECRET]")
    assert ran.stdout == "1 []\n"
    assert "could not be written" in ran.stderr
    assert host.sessions() == []
    created = [line["reason"] for line in host.gateway.audit() if line["event"] == "session-created"]
    assert created, "it was made, and then ended"


def test_set_up_without_an_address_makes_no_session(host: Host) -> None:
    """A session that is bound to nothing could be used from anywhere."""
    (host.folder / "network").write_text("another-credential-isolation-x\n")
    ran = host.run(f"setup_gateway_session {BOX} octo/hello || echo $?")
    assert (ran.stdout, "no address" in ran.stderr, host.sessions()) == ("1\n", True, [])


def test_clean_up_ends_what_belongs_to_the_container_and_nothing_else(host: Host) -> None:
    """Even when the container is gone; a name is no pattern and no prefix."""
    for name in (BOX, BOX, "box-dev-11", "other", "boxxdev-1", "box.dev-1"):
        host.gateway.grant([], label=name)
    (host.folder / "gone").touch()
    ran = host.run(f"cleanup_gateway_session {BOX}")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert sorted(host.sessions()) == ["box-dev-11", "box.dev-1", "boxxdev-1", "other"]
    host.run("cleanup_gateway_session box.dev-1")
    assert sorted(host.sessions()) == ["box-dev-11", "boxxdev-1", "other"]


def test_clean_up_of_a_session_with_another_name_asks_the_container(host: Host) -> None:
    """As the ancestor did."""
    lease = host.gateway.grant([], label="somebody-else")
    host.secrets.mkdir()
    host.token_file.write_text(lease.line + "\n")
    assert host.run(f"cleanup_gateway_session {BOX}").returncode == 0
    assert host.sessions() == []


@pytest.mark.parametrize("path", ["/nonexistent/control.sock", ""])
def test_clean_up_never_fails(host: Host, path: str) -> None:
    """It runs in traps and before ``compose down``."""
    assert host.run(f"cleanup_gateway_session {BOX}; cleanup_gateway_session", GATEWAY_SOCKET_PATH=path).returncode == 0


def test_no_secret_is_an_argument(host: Host) -> None:
    """/proc/PID/cmdline is open to every user: no half of a session, and no key, may stand there."""
    ran = host.run(
        f"setup_gateway_session {BOX} octo/hello\n"
        'printf "%s %s" "$GATEWAY_TOKEN" "$GATEWAY_SECRET"\n'
        f'cleanup_gateway_session {BOX}\ndestroy_gateway_session "$GATEWAY_TOKEN" || :'
    )
    token, secret = ran.stdout.split(" ")
    assert "--config" in host.argv  # curl's arguments are among them,
    assert "inspect" in host.argv  # and docker's
    for half in (token, secret):
        assert not traces(half, host.argv.encode())
        assert not traces(half, ran.stderr.encode())


def test_nothing_is_exported_to_children(host: Host) -> None:
    """An environment is as public as an argument to the same user's processes."""
    script = f"create_gateway_session {BOX} {ADDRESS} a/b\nenv"
    ran = host.run(script)
    assert ran.returncode == 0
    assert "GATEWAY_SECRET" not in ran.stdout
    assert "GATEWAY_TOKEN=" not in ran.stdout


def test_the_users_own_curl_configuration_is_not_read(host: Host) -> None:
    """A ``trace`` or a proxy in ~/.curlrc would have the secret."""
    (host.folder / ".curlrc").write_text(f'trace-ascii = "{host.folder}/trace"\n')
    assert host.run(f"create_gateway_session {BOX} {ADDRESS} a/b", HOME=str(host.folder)).returncode == 0
    assert not (host.folder / "trace").exists()


def test_another_runtime_is_used_when_it_is_named_or_alone(host: Host) -> None:
    """``CONTAINER_RUNTIME`` first, docker before podman, and a word when there is neither."""
    binaries = host.folder / "bin"
    (binaries / "docker").rename(binaries / "podman")
    assert host.run(f"get_container_ip {BOX}", CONTAINER_RUNTIME="podman").stdout == f"{ADDRESS}\n"
    path = f"{binaries}:{host.folder}/tools"
    (host.folder / "tools").mkdir()
    for tool in ("cat", "sed"):
        (host.folder / "tools" / tool).symlink_to(str(shutil.which(tool)))
    shell = str(shutil.which(host.shell[0]))
    host.shell[0] = shell
    (binaries / "sh").symlink_to("/bin/sh")
    assert host.run(f"get_container_ip {BOX}", PATH=path).stdout == f"{ADDRESS}\n"
    (binaries / "podman").unlink()
    ran = host.run(f"setup_gateway_session {BOX} a/b || echo $?", PATH=path)
    assert (ran.stdout, "neither docker nor podman" in ran.stderr) == ("1\n", True)


@pytest.fixture
def published(gateway: Gateway) -> Iterator[str]:
    """Publish the control API."""
    with publish(gateway) as url:
        yield url


def test_a_published_control_api_works_as_before(host: Host, published: str) -> None:
    """``setup_gateway_url`` finds its port; the key is shown, and is no argument."""
    (host.folder / "port").write_text(f"127.0.0.1:{published.rpartition(':')[2]}\n")
    ran = host.run(
        f"setup_gateway_url box\necho $GATEWAY_URL\nsetup_gateway_session {BOX} octo/hello\n"
        f"get_gateway_host_port box\ncleanup_gateway_session {BOX}",
        GATEWAY_SOCKET_PATH="",
        GATEWAY_SESSION_MGMT_KEY=MANAGEMENT_KEY,
    )
    assert (ran.returncode, ran.stdout) == (0, f"{published}\n{published.rpartition(':')[2]}\n")
    assert host.token_file.exists()
    assert host.sessions() == []
    assert "box-gateway-1\n8080\n" in host.argv
    assert MANAGEMENT_KEY not in host.argv


@pytest.mark.parametrize("key", ["", 'a"b'])
def test_a_published_control_api_wants_a_key(host: Host, published: str, key: str) -> None:
    """Without one it would be open to every process of the host; nothing is asked."""
    environ = {"GATEWAY_SOCKET_PATH": "", "GATEWAY_URL": published, "GATEWAY_SESSION_MGMT_KEY": key}
    ran = host.run(f"create_gateway_session {BOX} {ADDRESS} a/b || echo $?", **environ)
    assert (ran.stdout, "GATEWAY_SESSION_MGMT_KEY" in ran.stderr) == ("1\n", True)
    wrong = environ | {"GATEWAY_SESSION_MGMT_KEY": "wrong"}
    ran = host.run(f"create_gateway_session {BOX} {ADDRESS} a/b || echo $?", **wrong)
    assert (ran.stdout, "HTTP 403" in ran.stderr) == ("1\n", True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("GATEWAY_SOCKET_PATH", 'a"\nurl="x'), ("GATEWAY_URL", "ftp://x"), ("GATEWAY_URL", 'http://x"\n')],
)
def test_an_address_that_cannot_be_written_down_is_refused(host: Host, name: str, value: str) -> None:
    """It goes into curl's configuration: nothing may break out of its quotes."""
    environ = {"GATEWAY_SOCKET_PATH": "", "GATEWAY_SESSION_MGMT_KEY": MANAGEMENT_KEY} | {name: value}
    ran = host.run(f"create_gateway_session {BOX} {ADDRESS} a/b || echo $?", **environ)
    assert (ran.stdout, name in ran.stderr, host.argv) == ("1\n", True, "")


def test_with_the_socket_there_is_no_url_to_set_up(host: Host) -> None:
    """The ancestor's call pattern goes on to work, without a published port."""
    ran = host.run("setup_gateway_url box\necho [${GATEWAY_URL:-}]")
    assert (ran.returncode, ran.stdout, host.argv) == (0, "[]\n", "")


def test_the_callers_own_log_functions_are_used(host: Host) -> None:
    """Scripts that source it have their own."""
    ran = host.run(f'log_error() {{ echo "mine: $*"; }}\n. {SCRIPT}\ndestroy_gateway_session || echo $?')
    assert ran.stdout == "mine: destroy_gateway_session: the token of a session is required\n1\n"


@pytest.mark.needs("shellcheck")
def test_shellcheck_finds_nothing() -> None:
    """As POSIX sh."""
    ran = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, check=False, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")
