"""``gateway.sh`` in each shell, with a real gateway process and a ``docker`` script that records its arguments."""

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
    """Start the gateway of these tests, in a directory with a short path because of its socket."""
    with tempfile.TemporaryDirectory(prefix="cg-") as folder:
        started = Gateway(Path(folder), "http://127.0.0.1:9", "ghp_nobody")
        try:
            yield started.start()
        finally:
            started.stop(signal.SIGKILL)


@pytest.fixture(params=[*SHELLS, needed("bash")])
def host(request: pytest.FixtureRequest, tmp_path: Path, gateway: Gateway) -> Iterator[Host]:
    """Create a host; its sessions are revoked afterwards."""
    made = Host(str(request.param).split(), tmp_path, gateway)
    made.equip()
    yield made
    for session in gateway.control("GET", "/v1/sessions").json["sessions"]:
        gateway.control("DELETE", f"/v1/sessions/{session['id']}")


def test_create_sets_token_and_secret_and_binds_to_the_address(host: Host) -> None:
    """The session has the named repositories only."""
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
def test_create_without_repositories_grants_nothing_and_warns(host: Host, repos: str) -> None:
    """In foundry-sandbox an empty list granted every repository."""
    ran = host.run(f"create_gateway_session {BOX} {ADDRESS} {repos}")
    assert ran.returncode == 0
    assert "grants nothing" in ran.stderr
    assert host.gateway.control("GET", "/v1/sessions").json["sessions"][0]["repos"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "container id"),
        (BOX, "address"),
        (f"'{BOX}\"' {ADDRESS}", "container id"),
        (f"{BOX} '1\", \"x'", "address"),
        (f"{BOX} 999.1.1.1", "HTTP 400: container_ip must be a valid IP address"),
        (f"{BOX} {ADDRESS} 'a/b\"'", "invalid repository"),
        (f"{BOX} {ADDRESS} 'a/b\\'", "invalid repository"),
        (f"{BOX} {ADDRESS} nonsense", "HTTP 400: Invalid repo format: nonsense"),
    ],
)
def test_create_with_invalid_arguments_fails(host: Host, arguments: str, said: str) -> None:
    """It returns 1 and clears the variables. No argument can change the structure of the JSON."""
    ran = host.run(f"GATEWAY_TOKEN=old\ncreate_gateway_session {arguments} || echo $? [$GATEWAY_TOKEN$GATEWAY_SECRET]")
    assert (ran.returncode, ran.stdout) == (0, "1 []\n")
    assert said in ran.stderr
    assert host.sessions() == []


def test_destroy_fails_for_a_session_that_does_not_exist(host: Host) -> None:
    """In foundry-sandbox 403 and 404 were success."""
    ran = host.run(
        f"create_gateway_session {BOX} {ADDRESS} octo/hello\n"
        'destroy_gateway_session "$GATEWAY_TOKEN"; echo $?\n'
        'destroy_gateway_session "$GATEWAY_TOKEN" || echo $?'
    )
    assert ran.stdout == "0\n1\n"
    assert "HTTP 404: Session not found" in ran.stderr
    assert host.sessions() == []


def test_wait_for_health_returns_0_if_the_gateway_answers(host: Host) -> None:
    """With and without a number of seconds."""
    assert host.run("wait_for_gateway_health; wait_for_gateway_health 5").returncode == 0


@pytest.mark.parametrize("path", ["/nonexistent/control.sock", ""])
def test_missing_gateway_is_a_failure_with_a_hint(host: Host, path: str) -> None:
    """After the given time; every function has a message."""
    if not path and Path("/run/credgate/control.sock").exists():
        not_here("a gateway of this machine serves the default socket")
    ran = host.run("wait_for_gateway_health 0 || echo $?", GATEWAY_SOCKET_PATH=path)
    assert ran.stdout == "1\n"
    assert "GATEWAY_SOCKET_PATH" in ran.stderr if not path else "compose logs gateway" in ran.stderr
    ran = host.run(f"create_gateway_session {BOX} {ADDRESS} a/b || echo $?", GATEWAY_SOCKET_PATH=path)
    assert (ran.stdout, "cannot be reached" in ran.stderr) == ("1\n", True)
    ran = host.run("destroy_gateway_session abc || echo $?", GATEWAY_SOCKET_PATH=path)
    assert (ran.stdout, "cannot be reached" in ran.stderr) == ("1\n", True)


def test_token_file_has_one_line_mode_0400_and_the_sandboxs_owner(host: Host) -> None:
    """Its directory is created and can be entered by all users."""
    ran = host.run(f"write_gateway_token_to_container {BOX} tok sec")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert host.token_file.read_text() == "tok:sec\n"
    found = host.token_file.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o400, os.getuid(), os.getgid())
    assert stat.S_IMODE(host.secrets.stat().st_mode) == 0o755
    assert [path.name for path in host.secrets.iterdir()] == ["gateway_token"]


def test_new_token_replaces_the_file_or_link_of_that_name(host: Host) -> None:
    """The sandbox owns the directory: root must not write to the target of a link in it."""
    host.secrets.mkdir()
    victim = host.folder / "victim"
    victim.write_text("theirs")
    host.token_file.symlink_to(victim)
    assert host.run(f"write_gateway_token_to_container {BOX} tok sec").returncode == 0
    assert host.run(f"write_gateway_token_to_container {BOX} tok2 sec2").returncode == 0
    assert (victim.read_text(), host.token_file.read_text()) == ("theirs", "tok2:sec2\n")
    assert not host.token_file.is_symlink()


def test_token_is_written_by_the_sandboxs_user_if_root_may_not(host: Host) -> None:
    """With ``cap_drop: ALL`` root may not change owners."""
    (host.folder / "rootless").touch()
    ran = host.run(f"write_gateway_token_to_container {BOX} tok sec")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert host.token_file.read_text() == "tok:sec\n"
    assert "-u\n0\n" in host.argv
    assert f"-u\n{os.getuid()}:{os.getgid()}\n" in host.argv


ESCAPE = r"400\n\033]0;title\007\033[31mred \\033[2J"
"""For ``printf``: control sequences, and backslashes from which some echo commands create them."""


@pytest.mark.parametrize(
    ("stat", "said"),
    [
        (f"printf '{ESCAPE}'", ""),
        (f"printf '{ESCAPE}' >&2; exit 1", f"output of {BOX}: 400   0 title   31mred  033 2J"),
        ("head -c 5000000 /dev/zero", ""),
        ("printf '%01000d' 0", ""),
        ("echo 0644", ": mode 0644"),
        ("echo 644", ": mode 644"),
        ("echo 4000", ": mode 4000"),
        ("echo 400 x", ""),
        ("echo 400; exit 1", ""),
    ],
)
def test_output_of_a_container_is_sanitised(host: Host, stat: str, said: str) -> None:
    """Its ``stat`` may print anything: only a file mode is printed, and at most 200 plain characters of its errors."""
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
def test_malformed_address_or_port_is_not_printed(host: Host, file: str, call: str) -> None:
    """Other tests print valid ones."""
    (host.folder / file).write_text("127.0.0.1:80\x1b[31m\n")
    assert host.run(f"{call} || :").stdout == ""


@pytest.mark.parametrize("arguments", ["", BOX, f"{BOX} tok", "'a b' tok sec"])
def test_write_token_needs_all_arguments(host: Host, arguments: str) -> None:
    """Docker is not called without them."""
    ran = host.run(f"write_gateway_token_to_container {arguments} || echo $?")
    assert (ran.stdout, "required" in ran.stderr, host.argv) == ("1\n", True, "")


def test_container_ip_is_that_of_the_network(host: Host) -> None:
    """The default network or the named one; without an address it returns 1."""
    assert host.run(f"get_container_ip {BOX}").stdout == f"{ADDRESS}\n"
    ran = host.run(f"get_container_ip {BOX} other || echo $?")
    assert (ran.stdout, ran.stderr) == ("1\n", "")
    (host.folder / "network").write_text("other\n")
    assert host.run(f"get_container_ip {BOX} other").stdout == f"{ADDRESS}\n"


NETWORKS = ["credential-isolation", "box_credential-isolation", "box_credential-isolation-2", "credential-isolation-3"]


@pytest.mark.parametrize("network", NETWORKS)
def test_setup_creates_a_session_and_writes_its_token(host: Host, network: str) -> None:
    """With and without compose's project in the name of the network, and for a second sandbox."""
    (host.folder / "network").write_text(f"{network}\n")
    ran = host.run(f'setup_gateway_session {BOX} octo/hello\nprintf "%s:%s" "$GATEWAY_TOKEN" "$GATEWAY_SECRET"')
    assert ran.returncode == 0, ran.stderr
    assert host.token_file.read_text() == ran.stdout + "\n"
    assert host.sessions() == [BOX]


def test_setup_revokes_the_session_if_the_token_cannot_be_written(host: Host) -> None:
    """Nobody has its secret."""
    host.secrets.write_text("a file where the folder should be")
    ran = host.run(f"setup_gateway_session {BOX} octo/hello || echo $? [$GATEWAY_TOKEN$GATEWAY_SECRET]")
    assert ran.stdout == "1 []\n"
    assert "could not be written" in ran.stderr
    assert host.sessions() == []
    created = [line["reason"] for line in host.gateway.audit() if line["event"] == "session-created"]
    assert created, "it was created and then revoked"


def test_setup_without_an_address_creates_no_session(host: Host) -> None:
    """A session that is not bound could be used from any address."""
    (host.folder / "network").write_text("another-credential-isolation-x\n")
    ran = host.run(f"setup_gateway_session {BOX} octo/hello || echo $?")
    assert (ran.stdout, "no address" in ran.stderr, host.sessions()) == ("1\n", True, [])


def test_cleanup_revokes_only_the_sessions_of_the_container(host: Host) -> None:
    """Even if the container does not exist. Its name is not a pattern or a prefix."""
    for name in (BOX, BOX, "box-dev-11", "other", "boxxdev-1", "box.dev-1"):
        host.gateway.grant([], label=name)
    (host.folder / "gone").touch()
    ran = host.run(f"cleanup_gateway_session {BOX}")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert sorted(host.sessions()) == ["box-dev-11", "box.dev-1", "boxxdev-1", "other"]
    host.run("cleanup_gateway_session box.dev-1")
    assert sorted(host.sessions()) == ["box-dev-11", "boxxdev-1", "other"]


def test_cleanup_reads_the_token_from_the_container_without_a_label(host: Host) -> None:
    """For a container that was set up with another name."""
    lease = host.gateway.grant([], label="somebody-else")
    host.secrets.mkdir()
    host.token_file.write_text(lease.line + "\n")
    assert host.run(f"cleanup_gateway_session {BOX}").returncode == 0
    assert host.sessions() == []


@pytest.mark.parametrize("path", ["/nonexistent/control.sock", ""])
def test_cleanup_never_fails(host: Host, path: str) -> None:
    """It is called in traps and before ``compose down``."""
    assert host.run(f"cleanup_gateway_session {BOX}; cleanup_gateway_session", GATEWAY_SOCKET_PATH=path).returncode == 0


def test_no_secret_is_an_argument(host: Host) -> None:
    """Every user can read /proc/PID/cmdline."""
    ran = host.run(
        f"setup_gateway_session {BOX} octo/hello\n"
        'printf "%s %s" "$GATEWAY_TOKEN" "$GATEWAY_SECRET"\n'
        f'cleanup_gateway_session {BOX}\ndestroy_gateway_session "$GATEWAY_TOKEN" || :'
    )
    token, secret = ran.stdout.split(" ")
    assert "--config" in host.argv  # curl's arguments are recorded
    assert "inspect" in host.argv  # and docker's, too
    for half in (token, secret):
        assert not traces(half, host.argv.encode())
        assert not traces(half, ran.stderr.encode())


def test_no_secret_is_exported_to_child_processes(host: Host) -> None:
    """Their environment is readable by other processes of the user."""
    script = f"create_gateway_session {BOX} {ADDRESS} a/b\nenv"
    ran = host.run(script)
    assert ran.returncode == 0
    assert "GATEWAY_SECRET" not in ran.stdout
    assert "GATEWAY_TOKEN=" not in ran.stdout


def test_curl_configuration_of_the_user_is_not_read(host: Host) -> None:
    """A ``trace`` or a proxy in ~/.curlrc would get the secret."""
    (host.folder / ".curlrc").write_text(f'trace-ascii = "{host.folder}/trace"\n')
    assert host.run(f"create_gateway_session {BOX} {ADDRESS} a/b", HOME=str(host.folder)).returncode == 0
    assert not (host.folder / "trace").exists()


def test_container_runtime_is_the_named_or_the_installed_one(host: Host) -> None:
    """``CONTAINER_RUNTIME`` first, docker before podman, and an error if there is neither."""
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
    """Publish the control API on TCP."""
    with publish(gateway) as url:
        yield url


def test_published_control_api_is_used_with_its_key(host: Host, published: str) -> None:
    """``setup_gateway_url`` finds the port. The key is not an argument."""
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
def test_published_control_api_without_a_valid_key_is_not_used(host: Host, published: str, key: str) -> None:
    """Without a key it would be open to every process of the host."""
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
def test_address_with_special_characters_is_refused(host: Host, name: str, value: str) -> None:
    """It is written to curl's configuration and must not end the quotes there."""
    environ = {"GATEWAY_SOCKET_PATH": "", "GATEWAY_SESSION_MGMT_KEY": MANAGEMENT_KEY} | {name: value}
    ran = host.run(f"create_gateway_session {BOX} {ADDRESS} a/b || echo $?", **environ)
    assert (ran.stdout, name in ran.stderr, host.argv) == ("1\n", True, "")


def test_setup_url_does_nothing_with_a_socket(host: Host) -> None:
    """Scripts of foundry-sandbox call it in any case."""
    ran = host.run("setup_gateway_url box\necho [${GATEWAY_URL:-}]")
    assert (ran.returncode, ran.stdout, host.argv) == (0, "[]\n", "")


def test_log_functions_of_the_caller_are_used(host: Host) -> None:
    """Scripts that source the file have their own."""
    ran = host.run(f'log_error() {{ echo "mine: $*"; }}\n. {SCRIPT}\ndestroy_gateway_session || echo $?')
    assert ran.stdout == "mine: destroy_gateway_session: the token of a session is required\n1\n"


@pytest.mark.needs("shellcheck")
def test_shellcheck_finds_no_problem() -> None:
    """With the rules of POSIX sh."""
    ran = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, check=False, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")
