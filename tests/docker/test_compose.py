"""The compose files say what the sandboxes' safety hangs on. ``tox run -e containers`` shows that engines obey."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import pytest

from tests.docker.shipped import DOCKER, VARIABLE, compose

FILES = ("compose.yml", "compose.second.yml")
SANDBOXES = (("compose.yml", "dev"), ("compose.second.yml", "dev2"))


@pytest.fixture
def gateway() -> dict[str, Any]:
    """Read the gateway's service."""
    service: dict[str, Any] = compose("compose.yml")["services"]["gateway"]
    return service


@pytest.fixture(params=SANDBOXES, ids=[name for _, name in SANDBOXES])
def sandbox(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Read each sandbox's service."""
    file, name = request.param
    service: dict[str, Any] = compose(file)["services"][name]
    return service


@pytest.mark.parametrize("file", FILES)
def test_every_isolated_network_is_internal_and_has_no_other_resolver(file: str) -> None:
    """An engine's own resolver on it would ask the host's: a way out for names."""
    for name, network in compose(file)["networks"].items():
        assert (network.get("internal", False), network.get("x-podman.disable_dns", False)) == (
            (True, True) if name.startswith("credential-isolation") else (False, False)
        )


def test_each_sandbox_is_alone_with_the_gateway(sandbox: dict[str, Any]) -> None:
    """One network, and nobody on it but those two: no traffic between sandboxes, however an engine bridges."""
    (network,) = sandbox["networks"]
    assert network.startswith("credential-isolation")
    services = compose("compose.yml")["services"] | compose("compose.second.yml")["services"]
    gateways = compose("compose.yml")["services"]["gateway"]["networks"]
    gateways |= compose("compose.second.yml")["services"]["gateway"]["networks"]
    assert network in gateways
    assert [name for name, one in services.items() if network in one["networks"] and name != "gateway"] == [
        name for name, one in services.items() if one == sandbox
    ]


def test_only_the_gateway_has_a_way_out() -> None:
    """Egress is its alone."""
    for file in FILES:
        for name, service in compose(file)["services"].items():
            assert "egress" not in service["networks"] or name == "gateway"
    assert "egress" in compose("compose.yml")["services"]["gateway"]["networks"]


def test_the_gateway_has_no_privilege(gateway: dict[str, Any]) -> None:
    """No capability at all: port 53 is opened by a sysctl of its own network, and nothing is forwarded."""
    assert gateway["cap_drop"] == ["ALL"]
    assert "cap_add" not in gateway
    assert "privileged" not in gateway
    assert gateway["security_opt"] == ["no-new-privileges:true"]
    assert gateway["sysctls"] == {"net.ipv4.ip_unprivileged_port_start": "53", "net.ipv4.ip_forward": "0"}
    user, group = gateway["user"].split(":")
    assert min(int(user), int(group)) > 0


def test_the_gateway_writes_nowhere_but_where_it_must(gateway: dict[str, Any]) -> None:
    """Its root is read-only, and so are configuration and credentials."""
    assert gateway["read_only"] is True
    mounts = {mount.split(":")[1]: mount.split(":")[2:] for mount in gateway["volumes"]}
    assert mounts == {
        "/run/credgate": [],
        "/var/lib/credgate": [],
        "/etc/credgate/credentials": ["ro"],
        "/etc/credgate/credgate.toml": ["ro"],
    }


def test_the_credential_is_no_variable(gateway: dict[str, Any]) -> None:
    """What is in a container's environment is in ``inspect``; a file is not."""
    assert "environment" not in gateway
    assert "env_file" not in gateway


def test_nothing_is_published(gateway: dict[str, Any], sandbox: dict[str, Any]) -> None:
    """The control API is a socket in a directory of the host's; git and DNS are for the sandbox alone."""
    assert "ports" not in gateway
    assert "ports" not in sandbox


def test_the_sandbox_sees_nothing_of_the_gateways_files(sandbox: dict[str, Any]) -> None:
    """Neither its socket nor its credentials, nor its processes."""
    assert "volumes" not in sandbox
    assert not {"pid", "ipc", "network_mode", "volumes_from", "privileged", "cap_add", "userns_mode"} & set(sandbox)


def test_the_sandbox_cannot_take_another_address(sandbox: dict[str, Any]) -> None:
    """CAP_NET_ADMIN and CAP_NET_RAW could; address binding hangs on their absence."""
    assert sandbox["cap_drop"] == ["ALL"]
    assert sandbox["security_opt"] == ["no-new-privileges:true"]


def test_the_sandbox_has_empty_tokens(sandbox: dict[str, Any]) -> None:
    """Empty, not absent: a merged file once let the host's through."""
    environment = sandbox["environment"]
    assert (environment["GITHUB_TOKEN"], environment["GH_TOKEN"]) == ("", "")
    assert environment["SANDBOX_GATEWAY_ENABLED"] == ""


@pytest.mark.parametrize(("file", "name"), SANDBOXES)
def test_the_sandbox_is_enabled_by_the_variable_alone(file: str, name: str) -> None:
    """The positive control to the test before."""
    environment = compose(file, SANDBOX_GATEWAY_ENABLED="true")["services"][name]["environment"]
    assert environment["SANDBOX_GATEWAY_ENABLED"] == "true"


@pytest.mark.parametrize(("file", "name"), SANDBOXES)
def test_names_and_git_lead_to_the_gateway(file: str, name: str) -> None:
    """Its address on that sandbox's network, in the network, and not the sandbox's own."""
    read = compose(file)
    sandbox = read["services"][name]
    (network,) = sandbox["networks"]
    subnet = ipaddress.ip_network(read["networks"][network]["ipam"]["config"][0]["subnet"])
    door = read["services"]["gateway"]["networks"][network]
    assert sandbox["dns"] == [door["ipv4_address"]]
    assert sandbox["extra_hosts"] == [f"gateway:{door['ipv4_address']}"]
    assert sandbox["environment"]["CREDGATE_URL"] == "http://gateway:8080"
    assert "gateway" in door["aliases"]
    assert door["x-podman.mac_address"].startswith("02:")  # a restart must not change it
    own = sandbox["networks"][network]["ipv4_address"]
    assert ipaddress.ip_address(own) in subnet
    assert ipaddress.ip_address(door["ipv4_address"]) in subnet
    assert own != door["ipv4_address"]
    assert sandbox["depends_on"] == {"gateway": {"condition": "service_healthy"}}


@pytest.mark.parametrize("file", FILES)
def test_every_variable_is_explained_and_there(file: str) -> None:
    """Its head is all the documentation that an operator has open."""
    head, _, rest = (DOCKER / file).read_text().partition("\nservices:")
    used = {found["name"] for found in VARIABLE.finditer(rest)}
    known = {found["name"] for name in FILES[: FILES.index(file)] for found in VARIABLE.finditer(_text(name))}
    assert used - known <= set(re.findall(r"[A-Z0-9_]{6,}", head.partition("Variables:")[2]))
    assert set(re.findall(r"[A-Z0-9]+_[A-Z0-9_]+", head.partition("Variables:")[2])) <= used


def _text(name: str) -> str:
    return (DOCKER / name).read_text()


def test_the_second_sandbox_is_like_the_first() -> None:
    """Whoever hardens one hardens both."""
    first, second = compose("compose.yml")["services"]["dev"], compose("compose.second.yml")["services"]["dev2"]
    for key in set(first) | set(second) - {"build"}:
        if key not in {"build", "dns", "extra_hosts", "networks"}:
            assert first[key] == second[key], key
