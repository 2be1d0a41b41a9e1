"""No way out of a sandbox but git and names through the gateway; a control beside each try shows that it could work."""

from __future__ import annotations

import pytest

from tests.containers.outside import ADDRESS, ANSWER
from tests.containers.stand import ALLOWED, Stand

CONNECT = """
import errno, socket, sys
s = socket.socket(); s.settimeout(5)
try:
    s.connect((sys.argv[1], int(sys.argv[2]))); print("connected")
except OSError as e:
    print(errno.errorcode.get(e.errno, type(e).__name__))
"""
ASK = """
import socket, sys
name = b"".join(bytes([len(l)]) + l.encode() for l in sys.argv[2].split(".")) + b"\\0"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
try:
    s.connect((sys.argv[1], int(sys.argv[3])))
    s.send(bytes.fromhex("123401000001000000000001") + name + bytes.fromhex("0001000100002904d0000000000000"))
    print(s.recv(4096))
except OSError as e:
    print(type(e).__name__, e.errno)
"""
SCAN = """
import socket, sys
found = []
for port in range(1, 65536):
    s = socket.socket(); s.settimeout(2)
    if s.connect_ex((sys.argv[1], port)) == 0:
        found.append(port)
    s.close()
print(*found)
"""
LISTEN = (
    "import socket; s = socket.socket(); s.bind(('0.0.0.0', 7777)); s.listen(); print('up', flush=True); s.accept()"
)
GATEWAY = "10.77.0.2"
SECOND = "10.77.1.9"
pytestmark = pytest.mark.usefixtures("session")


def connect(stand: Stand, service: str, address: str, port: int) -> str:
    """Try to connect from a container; ``connected``, or the error's name."""
    return stand.script(service, CONNECT, address, str(port)).fine()


def test_the_gateway_is_reached_and_nothing_beyond_it(stand: Stand) -> None:
    """Not the forge, whose address and port the sandbox is told here; not the gateway's side of that network."""
    assert connect(stand, "dev", GATEWAY, 8080) == "connected"
    assert connect(stand, "gateway", ADDRESS, stand.outside.port) == "connected"
    assert connect(stand, "dev", ADDRESS, stand.outside.port) == "ENETUNREACH"
    gateway_out = stand.host(f"get_container_ip {stand.container('gateway')} {stand.project}_egress").fine()
    assert connect(stand, "gateway", gateway_out, 8080) == "connected"
    assert connect(stand, "dev", gateway_out, 8080) == "ENETUNREACH"


def test_no_address_of_the_world_is_reached(stand: Stand) -> None:
    """There is no default route. (192.0.2.1 is nobody's: RFC 5737.)."""
    assert connect(stand, "dev", "192.0.2.1", 443) == "ENETUNREACH"
    routes = stand.inside("dev", "cat", "/proc/net/route").fine().splitlines()[1:]
    assert [line.split()[1] for line in routes] == ["00004D0A"]
    routes = stand.inside("gateway", "cat", "/proc/net/route").fine().splitlines()[1:]
    assert "00000000" in [line.split()[1] for line in routes]


def test_no_route_can_be_made(stand: Stand) -> None:
    """Neither address nor route can be changed, nor a raw packet be sent, by root in the sandbox, either."""
    raw = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"
    for user in ("", "0"):
        ran = stand.inside("dev", "python3", "-c", raw, user=user)
        assert (ran.code, "PermissionError" in ran.err) == (1, True)
        assert "CapBnd:\t0000000000000000" in stand.inside("dev", "cat", "/proc/self/status", user=user).fine()
    assert stand.inside("dev", "python3", "-c", "import socket; socket.socket()").code == 0


def test_another_sandbox_is_not_reached(stand: Stand) -> None:
    """It is on a network of its own, and the gateway forwards nothing between the two."""
    listening = ["sh", "-c", f'python3 -c "{LISTEN}" > /tmp/up 2>&1 & until grep -q up /tmp/up; do :; done']
    stand.inside("dev2", *listening).fine()
    assert connect(stand, "dev", SECOND, 7777) == "ENETUNREACH"
    assert connect(stand, "gateway", SECOND, 7777) == "connected"
    assert stand.inside("gateway", "cat", "/proc/sys/net/ipv4/ip_forward").fine() == "0"


def test_the_gateway_has_two_doors_to_the_sandbox(stand: Stand) -> None:
    """Git and names; every other port is shut, and nothing on its side of the world is served here."""
    assert stand.script("dev", SCAN, GATEWAY).fine() == "53 8080"


def test_the_control_socket_is_not_there(stand: Stand) -> None:
    """Not as a file, nor over the git port, whoever asks there."""
    assert stand.socket.is_socket()
    assert stand.inside("dev", "sh", "-c", "find / -xdev -type s 2> /dev/null || :").fine() == ""
    ask = "import http.client, sys; c = http.client.HTTPConnection('gateway', 8080, timeout=5)\n"
    ask += "c.request('GET', sys.argv[1]); print(c.getresponse().status)"
    assert stand.script("dev", ask, "/health").fine() == "200"
    for path in ("/v1/sessions", "/session/create", "/v1/ready"):
        assert stand.script("dev", ask, path).fine() == "404"


def test_allowed_names_resolve_and_others_are_refused(stand: Stand) -> None:
    """By the sandbox's own resolver; the refusal says that it is policy, and never left the gateway."""
    look = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    assert stand.script("dev", look, ALLOWED).fine() == ANSWER
    assert stand.script("dev", look, "gateway").fine() == GATEWAY
    ran = stand.script("dev", look, "data.evil.test")
    assert (ran.code, "gaierror" in ran.err) == (1, True)
    assert "credgate" in stand.script("dev", ASK, GATEWAY, "data.evil.test", "53").fine()
    assert ALLOWED in stand.outside.asked
    assert "data.evil.test" not in stand.outside.asked


@pytest.mark.parametrize("server", [ADDRESS, "192.0.2.53"])
def test_no_other_resolver_is_reached(stand: Stand, server: str) -> None:
    """Neither the engine's own nor the gateway's, nor one of the world."""
    assert stand.script("dev", ASK, server, ALLOWED, "53").fine() == "OSError 101"
    port = str(stand.outside.resolver_port)
    assert stand.script("dev", ASK, ADDRESS, ALLOWED, port).fine() == "OSError 101"
    assert ALLOWED in stand.script("gateway", ASK, ADDRESS, ALLOWED, port).fine().replace("\\x04test", ".test")


def test_the_engine_has_no_resolver_on_the_sandboxs_network(stand: Stand) -> None:
    """It would ask the host's for anything. The host's address is there: nobody listens on port 53 of it."""
    heard = stand.script("dev", ASK, "10.77.0.1", ALLOWED, "53").fine()
    assert heard in {"ConnectionRefusedError 111", "TimeoutError None"}
    assert stand.inside("dev", "cat", "/etc/resolv.conf").fine() == f"nameserver {GATEWAY}"
