"""A gibibyte of one object each way leaves the process as small as it was."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from typing import TYPE_CHECKING

from tests.e2e.conftest import random_secret
from tests.e2e.test_memory import MIB, Watch, judge
from tests.fakes.lfsforge import PIECE, LfsForge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Door, StartGateway
    from tests.fakes.gateway import Lease

SIZE = 1024 * MIB
SETTINGS = {'forges."github.com"': {"lfs_hosts": ["localhost"], "internal": True}}


def zeros(size: int) -> Iterator[bytes]:
    """Make an object in pieces."""
    piece = bytes(PIECE)
    for _ in range(size // PIECE):
        yield piece


def oid_of(size: int) -> str:
    """Name it."""
    digest = hashlib.sha256()
    for piece in zeros(size):
        digest.update(piece)
    return digest.hexdigest()


def connect(door: Door) -> http.client.HTTPConnection:
    """Connect to the gateway itself: a recorder would keep all of it."""
    return http.client.HTTPConnection("127.0.0.1", door.gateway.port, timeout=60)


def fields(lease: Lease, **more: str) -> dict[str, str]:
    """Show the session."""
    login = base64.b64encode(f"x:{lease.line}".encode()).decode()
    return {"Authorization": f"Basic {login}", **{name.replace("_", "-"): value for name, value in more.items()}}


def target(door: Door, lease: Lease, operation: str, oid: str, size: int) -> str:
    """Ask for a batch."""
    connection = connect(door)
    body = json.dumps({"operation": operation, "objects": [{"oid": oid, "size": size}]})
    sent = fields(lease, Content_Type="application/vnd.git-lfs+json")
    connection.request("POST", "/git/octo/big.git/info/lfs/objects/batch", body, sent)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    href: str = answer["objects"][0]["actions"][operation]["href"]
    return "/git/" + href.partition("/git/")[2]


def up(door: Door, lease: Lease, oid: str, size: int) -> None:
    """Upload it."""
    place = target(door, lease, "upload", oid, size)
    connection = connect(door)
    connection.request("PUT", place, zeros(size), fields(lease, Content_Length=str(size)))
    assert connection.getresponse().status == 200
    connection.close()


def down(door: Door, lease: Lease, oid: str, size: int) -> None:
    """Download it."""
    connection = connect(door)
    connection.request("GET", target(door, lease, "download", oid, size), headers=fields(lease))
    answer, got = connection.getresponse(), 0
    assert answer.status == 200
    while piece := answer.read(PIECE):
        got += len(piece)
    assert got == size
    connection.close()


def test_transfer_of_a_gibibyte_is_not_held_in_memory(start_gateway: StartGateway) -> None:
    """Counted and hashed on its way; nothing is spooled either."""
    forge = LfsForge(random_secret())
    try:
        door = start_gateway(forge.url, forge.state.secret, settings=SETTINGS)
        lease = door.gateway.grant(["octo/big"])
        small, large = oid_of(256 * MIB), oid_of(SIZE)
        up(door, lease, small, 256 * MIB)  # what the first transfer loads is loaded
        down(door, lease, small, 256 * MIB)
        with Watch(door.gateway.pid) as watch:
            up(door, lease, large, SIZE)
            down(door, lease, large, SIZE)
            watch.rest()
        judge(watch, door)
        lines = [line for line in door.gateway.audit() if line.get("size") == SIZE]
        assert [(line["bytes_up"], line["bytes_down"], line["reason"]) for line in lines] == [
            (SIZE, 0, "allowed"),
            (0, SIZE, "allowed"),
        ]
    finally:
        forge.close()
