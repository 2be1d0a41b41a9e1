"""Where the gateway connects: names of this machine are refused unless the forge is internal; proxies by configuration.

The names are the real resolver's: the gateway runs with an ``/etc/hosts`` of its own, in a mount namespace.
"""

from __future__ import annotations

import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.fakes.connectproxy import ConnectProxy
from tests.fakes.needs import demand, not_here
from tests.fakes.recorder import Recorder
from tests.fakes.sandbox import address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Enter, Forge, StartGateway
    from tests.fakes.recorder import Exchange
    from tests.fakes.repositories import Repositories

TABLE = 'forges."github.com"'
NAME = "git.forge.example"


def _words(hosts: Path) -> tuple[str, ...]:
    setup = 'mount --bind "$0" /etc/hosts && exec "$@"'
    return ("unshare", "--map-root-user", "--mount", "sh", "-c", setup, str(hosts))


@cache
def _possible() -> bool:
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", "mount --bind /etc/hosts /etc/hosts"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _came(forge: Forge, before: list[Exchange]) -> list[Exchange]:
    """Return the connections to the forge that are newer; other gateways of this run keep some."""
    return [one for one in forge.plain.exchanges if one not in before]


@pytest.fixture
def own_names(tmp_path: Path) -> tuple[str, ...]:
    """Give the words before the gateway's command that give it its own names: NAME leads to this machine."""
    demand("unshare")
    if not _possible():
        not_here("no mount namespaces here: no process can be given names of its own")
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n127.0.0.1 {NAME}\n")
    return _words(hosts)


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    """Start a proxy."""
    one = ConnectProxy()
    yield one
    one.close()


def test_forge_name_of_this_machine_is_refused_with_reason(
    repos: Repositories, enter: Enter, login: str, start_gateway: StartGateway, forge: Forge, own_names: tuple[str, ...]
) -> None:
    """The forge gets not even a connection; with ``internal`` the same name works."""
    path = repos.seeded()
    url = f"http://{NAME}:{forge.plain.port}"
    table = {"allow_plain_http": True}
    door = start_gateway(url=url, settings={TABLE: table}, prefix=own_names)
    before = list(forge.plain.exchanges)
    said = enter([path], login=login, door=door).box.git("clone", address(path), "clone").refused()
    assert "remote: credgate: github.com is not dialled" in said
    assert "non-public addresses (loopback)" in said
    assert _came(forge, before) == []
    assert door.gateway.audited(repo=path)["reason"] == "forge-address"

    before = list(forge.plain.exchanges)
    internal = start_gateway(url=url, settings={TABLE: table | {"internal": True}}, prefix=own_names)
    enter([path], login=login, door=internal).box.git("clone", address(path), "clone").fine()
    assert _came(forge, before) != []


def test_a_forge_is_reached_through_its_proxy_and_the_tunnel_shows_nothing(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge, proxy: ConnectProxy
) -> None:
    """TLS is the forge's own, inside; the proxy is told a host and a port, and no login of any kind."""
    path = repos.seeded()
    settings = {TABLE: {"ca_file": str(forge.authority.ca_file), "proxy": proxy.url}}
    door = start_gateway(url=forge.tls.url, settings=settings)
    box = enter([path], door=door).box
    box.git("clone", address(path), "clone").fine()
    pushed = box.commit("clone", "file", b"new\n")
    box.git("push", "origin", "HEAD:main", cwd="clone").fine()
    assert repos.head(path) == pushed
    assert set(proxy.targets) == {f"localhost:{forge.tls.port}"}
    assert b"authorization" not in b"".join(proxy.heads).lower()
    assert b"git-receive-pack" in forge.tls.up
    assert b"git-receive-pack" not in proxy.through
    assert forge.secret.encode() not in proxy.through


def test_through_a_proxy_a_certificate_is_checked_as_without_one(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge, proxy: ConnectProxy
) -> None:
    """The proxy could connect the tunnel to any server, so the certificate is verified inside it."""
    path = repos.seeded()
    stranger = Recorder(forge.server.port, tls=forge.authority.server_context("stranger.localhost"))
    settings = {TABLE: {"ca_file": str(forge.authority.ca_file), "proxy": proxy.url}}
    try:
        door = start_gateway(url=stranger.url, settings=settings)
        said = enter([path], door=door).box.git("ls-remote", address(path)).refused()
        assert "its TLS certificate is not accepted" in said
        assert proxy.targets == [f"localhost:{stranger.port}"]
        assert stranger.up == b""
    finally:
        stranger.close()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy requires authentication"),
        (b"HTTP/1.1 403 <secret>\r\n\r\n", "the proxy answered 403"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n", "the proxy sent data after its response"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "the proxy's response is not HTTP"),
    ],
)
def test_proxy_refusal_is_shown_by_git(
    repos: Repositories,
    enter: Enter,
    start_gateway: StartGateway,
    forge: Forge,
    proxy: ConnectProxy,
    answer: bytes,
    words: str,
) -> None:
    """No connection bypasses the proxy."""
    path = repos.seeded()
    proxy.answer = answer
    door = start_gateway(settings={TABLE: {"proxy": proxy.url}})
    before = list(forge.plain.exchanges)
    said = enter([path], door=door).box.git("ls-remote", address(path)).refused()
    assert f"remote: credgate: github.com cannot be reached: {words}" in said
    assert "<secret>" not in said
    assert _came(forge, before) == []
    assert door.gateway.audited(repo=path)["reason"] == "forge-unreachable"


def test_proxies_of_the_environment_are_not_used(
    repos: Repositories, enter: Enter, start_gateway: StartGateway, forge: Forge, proxy: ConnectProxy
) -> None:
    """Only the configured proxy is used."""
    path = repos.seeded()
    names = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
    settings = {TABLE: {"ca_file": str(forge.authority.ca_file)}}
    door = start_gateway(url=forge.tls.url, settings=settings, environ=dict.fromkeys(names, proxy.url))
    enter([path], door=door).box.git("clone", address(path), "clone").fine()
    assert proxy.heads == []
    assert b"git-upload-pack" in forge.tls.up
