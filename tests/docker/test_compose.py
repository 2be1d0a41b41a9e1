"""The compose files have the settings that isolate sandboxes. ``tox run -e containers`` tests them with an engine."""

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
    """Return the gateway's service."""
    service: dict[str, Any] = compose("compose.yml")["services"]["gateway"]
    return service


@pytest.fixture(params=SANDBOXES, ids=[name for _, name in SANDBOXES])
def sandbox(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the service of each sandbox."""
    file, name = request.param
    service: dict[str, Any] = compose(file)["services"][name]
    return service


@pytest.mark.parametrize("file", FILES)
def test_isolated_networks_are_internal_and_without_the_engines_resolver(file: str) -> None:
    """That resolver would answer any name with the host's resolver."""
    for name, network in compose(file)["networks"].items():
        assert (network.get("internal", False), network.get("x-podman.disable_dns", False)) == (
            (True, True) if name.startswith("credential-isolation") else (False, False)
        )


def test_each_sandbox_shares_its_network_with_the_gateway_only(sandbox: dict[str, Any]) -> None:
    """So no traffic between sandboxes is possible."""
    (network,) = sandbox["networks"]
    assert network.startswith("credential-isolation")
    services = compose("compose.yml")["services"] | compose("compose.second.yml")["services"]
    gateways = compose("compose.yml")["services"]["gateway"]["networks"]
    gateways |= compose("compose.second.yml")["services"]["gateway"]["networks"]
    assert network in gateways
    assert [name for name, one in services.items() if network in one["networks"] and name != "gateway"] == [
        name for name, one in services.items() if one == sandbox
    ]


def test_only_the_gateway_is_on_the_egress_network() -> None:
    """In both files."""
    for file in FILES:
        for name, service in compose(file)["services"].items():
            assert "egress" not in service["networks"] or name == "gateway"
    assert "egress" in compose("compose.yml")["services"]["gateway"]["networks"]


def test_gateway_has_no_capability_and_does_not_forward(gateway: dict[str, Any]) -> None:
    """A sysctl of its own network allows port 53."""
    assert gateway["cap_drop"] == ["ALL"]
    assert "cap_add" not in gateway
    assert "privileged" not in gateway
    assert gateway["security_opt"] == ["no-new-privileges:true"]
    assert gateway["sysctls"] == {"net.ipv4.ip_unprivileged_port_start": "53", "net.ipv4.ip_forward": "0"}
    user, group = gateway["user"].split(":")
    assert min(int(user), int(group)) > 0


def test_gateway_has_a_read_only_root_and_two_writable_directories(gateway: dict[str, Any]) -> None:
    """Configuration and credentials are read-only, too."""
    assert gateway["read_only"] is True
    mounts = {mount.split(":")[1]: mount.split(":")[2:] for mount in gateway["volumes"]}
    assert mounts == {
        "/run/credgate": [],
        "/var/lib/credgate": [],
        "/etc/credgate/credentials": ["ro"],
        "/etc/credgate/credgate.toml": ["ro"],
    }


def test_credential_is_not_an_environment_variable(gateway: dict[str, Any]) -> None:
    """``inspect`` prints these."""
    assert "environment" not in gateway
    assert "env_file" not in gateway


def test_no_port_is_published(gateway: dict[str, Any], sandbox: dict[str, Any]) -> None:
    """The control API is a socket in a directory of the host."""
    assert "ports" not in gateway
    assert "ports" not in sandbox


def test_sandbox_has_no_volume_and_no_shared_namespace(sandbox: dict[str, Any]) -> None:
    """So it cannot access the gateway's socket, credentials or processes."""
    assert "volumes" not in sandbox
    assert not {"pid", "ipc", "network_mode", "volumes_from", "privileged", "cap_add", "userns_mode"} & set(sandbox)


def test_sandbox_has_no_capability(sandbox: dict[str, Any]) -> None:
    """With CAP_NET_ADMIN or CAP_NET_RAW it could use the address of another session."""
    assert sandbox["cap_drop"] == ["ALL"]
    assert sandbox["security_opt"] == ["no-new-privileges:true"]


def test_sandbox_has_empty_token_variables(sandbox: dict[str, Any]) -> None:
    """They override values of merged files."""
    environment = sandbox["environment"]
    assert (environment["GITHUB_TOKEN"], environment["GH_TOKEN"]) == ("", "")
    assert environment["SANDBOX_GATEWAY_ENABLED"] == ""


@pytest.mark.parametrize(("file", "name"), SANDBOXES)
def test_sandbox_is_enabled_by_its_variable(file: str, name: str) -> None:
    """The default is not enabled."""
    environment = compose(file, SANDBOX_GATEWAY_ENABLED="true")["services"][name]["environment"]
    assert environment["SANDBOX_GATEWAY_ENABLED"] == "true"


@pytest.mark.parametrize(("file", "name"), SANDBOXES)
def test_dns_and_git_of_the_sandbox_use_the_gateway(file: str, name: str) -> None:
    """With the gateway's address on the sandbox's network."""
    read = compose(file)
    sandbox = read["services"][name]
    (network,) = sandbox["networks"]
    subnet = ipaddress.ip_network(read["networks"][network]["ipam"]["config"][0]["subnet"])
    gateway = read["services"]["gateway"]["networks"][network]
    assert sandbox["dns"] == [gateway["ipv4_address"]]
    assert sandbox["extra_hosts"] == [f"gateway:{gateway['ipv4_address']}"]
    assert sandbox["environment"]["CREDGATE_URL"] == "http://gateway:8080"
    assert "gateway" in gateway["aliases"]
    assert gateway["x-podman.mac_address"].startswith("02:")  # a restart must not change it
    own = sandbox["networks"][network]["ipv4_address"]
    assert ipaddress.ip_address(own) in subnet
    assert ipaddress.ip_address(gateway["ipv4_address"]) in subnet
    assert own != gateway["ipv4_address"]
    assert sandbox["depends_on"] == {"gateway": {"condition": "service_healthy"}}


@pytest.mark.parametrize("file", FILES)
def test_every_variable_is_documented_in_the_head_of_its_file(file: str) -> None:
    """And every documented variable exists."""
    head, _, rest = (DOCKER / file).read_text().partition("\nservices:")
    used = {found["name"] for found in VARIABLE.finditer(rest)}
    known = {found["name"] for name in FILES[: FILES.index(file)] for found in VARIABLE.finditer(_text(name))}
    assert used - known <= set(re.findall(r"[A-Z0-9_]{6,}", head.partition("Variables:")[2]))
    assert set(re.findall(r"[A-Z0-9]+_[A-Z0-9_]+", head.partition("Variables:")[2])) <= used


def _text(name: str) -> str:
    return (DOCKER / name).read_text()


def test_second_sandbox_has_the_settings_of_the_first() -> None:
    """Except its network."""
    first, second = compose("compose.yml")["services"]["dev"], compose("compose.second.yml")["services"]["dev2"]
    for key in set(first) | set(second) - {"build"}:
        if key not in {"build", "dns", "extra_hosts", "networks"}:
            assert first[key] == second[key], key
