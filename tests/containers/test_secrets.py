"""The forge's credential is in one file that the gateway reads, and nowhere else that anybody can look."""

from __future__ import annotations

import base64
import subprocess

import pytest

from tests.containers.machine import environment
from tests.containers.stand import IMAGES, Stand, engine
from tests.fakes.canary import traces

PIECE = 1 << 22
pytestmark = pytest.mark.usefixtures("session")
LOOK = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2> /dev/null || :"


def needles(secret: str) -> list[bytes]:
    """Write the secret plain, and in the encodings that a login or a file would give it."""
    found = [secret.encode(), secret.encode().hex().encode(), secret[::-1].encode()]
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + secret.encode())
        found.append(text[-(-offset * 8 // 6) : (offset + len(secret)) * 8 // 6])
    return found


def streamed(secret: str, *command: str) -> tuple[int, list[bytes]]:
    """Search all that a command of podman's writes; how many bytes it was, and what was found."""
    looked, found, tail = 0, [], b""
    with subprocess.Popen(["podman", *command], stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(PIECE):
            looked += len(piece)
            found += [needle for needle in needles(secret) if needle in tail + piece]
            tail = piece[-256:]
    assert process.returncode == 0
    return looked, found


def test_the_search_finds_what_it_looks_for(stand: Stand) -> None:
    """The positive control of all tests below: in the gateway's file, and what the forge was sent."""
    stand.inside("dev", "git", "ls-remote", "https://github.com/octo/hello.git").fine()
    held = stand.inside("gateway", "cat", "/etc/credgate/credentials/github").fine()
    assert traces(stand.outside.secret, held.encode())
    assert traces(stand.outside.secret, bytes(stand.outside.record.up))
    assert streamed(
        stand.outside.secret, "exec", stand.container("gateway"), "cat", "/etc/credgate/credentials/github"
    )[1]


@pytest.mark.parametrize("image", sorted(IMAGES.values()))
def test_no_layer_of_an_image_holds_it(stand: Stand, image: str) -> None:
    """Although it lay about in four places of the tree that was built from."""
    assert (stand.context / "docker/credentials/github").read_text().strip() == stand.outside.secret
    looked, found = streamed(stand.outside.secret, "save", "--format", "oci-archive", "--uncompressed", image)
    assert looked > 50_000_000
    assert found == []


@pytest.mark.parametrize("service", ["dev", "dev2"])
def test_no_file_of_a_sandbox_holds_it(stand: Stand, service: str) -> None:
    """Its whole file system, after clones and pushes."""
    looked, found = streamed(stand.outside.secret, "export", stand.container(service))
    assert looked > 50_000_000
    assert found == []


@pytest.mark.parametrize("service", ["dev", "dev2", "gateway"])
def test_no_process_was_told_it(stand: Stand, service: str) -> None:
    """Neither as an argument nor by the environment: of the gateway's, either."""
    told = stand.inside(service, "sh", "-c", LOOK).out
    assert "PATH=" in told
    assert not traces(stand.outside.secret, told.encode())


def test_the_engine_was_not_told_it(stand: Stand) -> None:
    """What ``inspect`` shows of containers, images and networks; what the session holds is not there, either."""
    names = [stand.container(service) for service in ("gateway", "dev", "dev2")]
    told = engine("inspect", *names).fine() + engine("image", "inspect", *IMAGES.values()).fine()
    told += stand.compose("config").out
    assert "GITHUB_TOKEN=" in told
    assert not traces(stand.outside.secret, told.encode())


def test_neither_log_nor_store_holds_a_secret(stand: Stand, session: str) -> None:
    """The gateway's log, its audit lines among it, and its files: no credential, and no half of a session."""
    kept = stand.audit().encode() + b"".join(path.read_bytes() for path in (stand.folder / "state").iterdir())
    assert b'"session-created"' in kept
    for secret in (stand.outside.secret, *session.split(":")):
        assert not traces(secret, kept)


def test_the_sandbox_cannot_see_the_gateways_processes(stand: Stand) -> None:
    """Each container has processes of its own."""
    told = stand.inside("dev", "sh", "-c", LOOK, user="0").out
    assert "twistd" not in told
    assert "twistd" in stand.inside("gateway", "sh", "-c", LOOK).out
