"""git in a sandbox that has no way out but the gateway, with a session that the host's scripts made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.containers.conftest import healthy
from tests.fakes.needs import demand
from tests.fakes.waiting import wait_until

if TYPE_CHECKING:
    from tests.containers.stand import Stand

HELLO = "https://github.com/octo/hello.git"
pytestmark = pytest.mark.usefixtures("session")


def test_clone_commit_and_push(stand: Stand) -> None:
    """The main job; the forge was shown its credential, which is nowhere in the sandbox."""
    stand.inside("dev", "rm", "-rf", "hello").fine()
    stand.inside("dev", "git", "clone", "-q", HELLO, "hello").fine()
    stand.inside(
        "dev", "sh", "-c", "echo new > new && git add new && git commit -q -m new", cwd="/workspace/hello"
    ).fine()
    commit = stand.inside("dev", "git", "rev-parse", "HEAD", cwd="/workspace/hello").fine()
    stand.inside("dev", "git", "push", "-q", "origin", "HEAD:refs/heads/agent/one", cwd="/workspace/hello").fine()
    assert stand.outside.repositories.head("octo/hello", "refs/heads/agent/one") == commit
    assert b"Authorization: Basic" in stand.outside.record.up


def test_lfs_objects_go_both_ways(stand: Stand) -> None:
    """Pushed by one clone, they come out of the next; the LFS server has them, and the sandbox no href of its."""
    lfs = stand.outside.lfs
    if lfs is None:
        demand("giftless", "nginx", "fcgiwrap")
    stand.inside("dev", "rm", "-rf", "large", "again").fine()
    stand.inside("dev", "git", "clone", "-q", HELLO, "large").fine()
    change = "git lfs track '*.bin' && head -c 3000000 /dev/urandom > a.bin && git add . && git commit -q -m large"
    stand.inside("dev", "sh", "-c", change, cwd="/workspace/large").fine()
    stand.inside("dev", "git", "push", "-q", "origin", "HEAD:refs/heads/agent/large", cwd="/workspace/large").fine()
    oid = stand.inside("dev", "sha256sum", "large/a.bin").fine().split()[0]
    assert lfs.has("octo/hello", oid)
    stand.inside("dev", "git", "clone", "-q", "-b", "agent/large", HELLO, "again").fine()
    assert stand.inside("dev", "sha256sum", "again/a.bin").fine().split()[0] == oid


def test_what_was_not_granted_is_refused(stand: Stand) -> None:
    """By us, in git's own words; the positive control is the test before."""
    ran = stand.inside("dev", "git", "ls-remote", "https://github.com/octo/secret-plans.git")
    assert ran.code != 0
    assert "credgate" in ran.err
    assert "octo/hello" in ran.err


def test_a_stolen_session_is_refused_to_another_sandbox(stand: Stand, session: str) -> None:
    """Sessions are bound to their sandbox's address, which another cannot take."""
    own = stand.inside("dev2", "cat", "/run/secrets/gateway_token").fine()
    assert stand.inside("dev2", "git", "ls-remote", "https://github.com/octo/docs.git").code == 0
    write = "umask 377; rm -f /run/secrets/gateway_token; cat > /run/secrets/gateway_token"
    stand.inside("dev2", "sh", "-c", write, stdin=session + "\n").fine()
    try:
        ran = stand.inside("dev2", "git", "ls-remote", HELLO)
    finally:
        stand.inside("dev2", "sh", "-c", write, stdin=own + "\n").fine()
    assert ran.code != 0
    assert '"bad-credential"' in stand.audit()
    assert stand.inside("dev", "git", "ls-remote", HELLO).code == 0
    assert stand.inside("dev2", "git", "ls-remote", "https://github.com/octo/docs.git").code == 0


def test_a_restart_of_the_gateway_keeps_sessions(stand: Stand) -> None:
    """What was promised is on disk, in a directory of the host's."""
    before = stand.audit().count('"event":"started"')
    stand.compose("restart", "gateway").fine()
    wait_until(lambda: healthy(stand), "the gateway is healthy again", seconds=60)
    assert stand.audit().count('"event":"started"') == before + 1
    assert stand.inside("dev", "git", "ls-remote", HELLO).fine()


def test_a_session_of_the_command_line_works(stand: Stand) -> None:
    """Made inside the gateway's container: the way for engines whose sockets cannot be reached from the host."""
    address = stand.host(f"get_container_ip {stand.container('dev2')} {stand.project}_credential-isolation-2").fine()
    create = ["credgate", "session", "create", "--repo", "octo/hello", "--bind", address, "--label", "cli"]
    made = stand.inside("gateway", *create)
    if made.code == 2 and "No such command" in made.err:
        pytest.skip("this credgate has no `credgate session`")
    own = stand.inside("dev2", "cat", "/run/secrets/gateway_token").fine()
    stand.host(f"write_gateway_token_to_container {stand.container('dev2')} {made.fine().replace(':', ' ')}").fine()
    assert stand.inside("dev2", "git", "ls-remote", HELLO).fine()
    stand.host(f"write_gateway_token_to_container {stand.container('dev2')} {own.replace(':', ' ')}").fine()


def test_cleaning_up_ends_the_session(stand: Stand) -> None:
    """By the container's name, before or after its end; whoever still has the session has nothing."""
    container = stand.container("dev2")
    assert stand.inside("dev2", "git", "ls-remote", "https://github.com/octo/docs.git").code == 0
    stand.host(f"cleanup_gateway_session {container}").fine()
    assert stand.inside("dev2", "git", "ls-remote", "https://github.com/octo/docs.git").code != 0
    stand.host(f"setup_gateway_session {container} octo/docs").fine()
    assert stand.inside("dev2", "git", "ls-remote", "https://github.com/octo/docs.git").code == 0
