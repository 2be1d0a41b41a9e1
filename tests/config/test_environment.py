"""Defaults without a file: directories for each kind of process, and the ancestor's variables."""

from __future__ import annotations

import pytest

from credgate.config.environment import Environment, defaults, github_credential
from credgate.config.schema import Config
from credgate.errors import ConfigError


def _defaults(uid: int = 1000, **variables: str) -> Config:
    return defaults(Environment({"HOME": "/home/agent", **variables}, uid))


def test_empty_environment_of_root_gives_the_defaults_of_the_schema() -> None:
    """The schema documents the defaults of root."""
    assert _defaults(uid=0) == Config()


STORES = [
    ({}, 1000, "/home/agent/.local/state/credgate"),
    ({"XDG_STATE_HOME": "/xdg/"}, 1000, "/xdg/credgate"),
    ({"XDG_STATE_HOME": "xdg"}, 1000, "/home/agent/.local/state/credgate"),
    ({"XDG_STATE_HOME": "/xdg"}, 0, "/var/lib/credgate"),
    ({"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}, 0, "/var/lib/one"),
    ({"STATE_DIRECTORY": "one", "XDG_STATE_HOME": "/xdg"}, 1000, "/xdg/credgate"),
    ({"CREDGATE_STATE_DIRECTORY": "/srv/state/", "STATE_DIRECTORY": "/var/lib/one"}, 0, "/srv/state"),
    ({"CREDGATE_STATE_DIRECTORY": "", "STATE_DIRECTORY": " "}, 1000, "/home/agent/.local/state/credgate"),
]


@pytest.mark.parametrize(("variables", "uid", "directory"), STORES)
def test_store_is_in_the_first_known_state_directory(variables: dict[str, str], uid: int, directory: str) -> None:
    """The order is credgate's variable, systemd, root, XDG, home; an empty variable is unset."""
    assert _defaults(uid, **variables).sessions.store_path == f"{directory}/sessions.db"


SOCKETS = [
    ({}, 1000, "/home/agent/.local/state/credgate/control.sock"),
    ({}, 0, "/run/credgate/control.sock"),
    ({"XDG_RUNTIME_DIR": "/run/user/1000/"}, 1000, "/run/user/1000/credgate/control.sock"),
    ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/credgate/control.sock"),
    ({"XDG_RUNTIME_DIR": "run"}, 1000, "/home/agent/.local/state/credgate/control.sock"),
    ({"CREDGATE_STATE_DIRECTORY": "/srv"}, 1000, "/srv/control.sock"),
    ({"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, "/run/a/control.sock"),
    (
        {"GATEWAY_SOCKET_PATH": "/var/run/gateway/gateway.sock", "RUNTIME_DIRECTORY": "/run/a"},
        0,
        "/var/run/gateway/gateway.sock",
    ),
]


@pytest.mark.parametrize(("variables", "uid", "path"), SOCKETS)
def test_control_socket_is_in_the_first_known_runtime_directory(variables: dict[str, str], uid: int, path: str) -> None:
    """The order is the ancestor's variable, systemd, root, XDG, the state directory."""
    assert _defaults(uid, **variables).listen.control == path


@pytest.mark.parametrize("home", ["", "relative"])
def test_without_home_no_directory_is_assumed(home: str) -> None:
    """The working directory of a daemon must not receive sessions."""
    config = _defaults(HOME=home)
    assert (config.listen.control, config.sessions.store) == ("", "")


LISTENERS = [
    ({}, "tcp:8080:interface=127.0.0.1"),
    ({"GATEWAY_PORT": "9000"}, "tcp:9000:interface=127.0.0.1"),
    ({"GATEWAY_HOST": "0.0.0.0"}, "tcp:8080:interface=0.0.0.0"),
    ({"GATEWAY_HOST": "localhost", "GATEWAY_PORT": "0"}, "tcp:0:interface=127.0.0.1"),
    ({"GATEWAY_HOST": "::1"}, r"tcp:8080:interface=\:\:1"),
    ({"GATEWAY_HOST": "", "GATEWAY_PORT": ""}, "tcp:8080:interface=127.0.0.1"),
]


@pytest.mark.parametrize(("variables", "endpoint"), LISTENERS)
def test_host_and_port_variables_make_the_endpoint(variables: dict[str, str], endpoint: str) -> None:
    """Colons of IPv6 addresses are escaped in Twisted's endpoint syntax."""
    assert _defaults(**variables).listen.git == endpoint


def test_endpoint_is_accepted_by_twisted() -> None:
    """Twisted's own parser checks the escaping."""
    from twisted.internet.endpoints import _parseServer  # noqa: PLC0415 - the only use of a shell's library here

    description = _defaults(GATEWAY_HOST="2001:db8::1").listen.git
    assert _parseServer(description, None)[2] == {"interface": "2001:db8::1", "backlog": 50}


def test_numeric_variables_of_the_ancestor_are_read() -> None:
    """Seconds without a unit are accepted, and durations too."""
    config = _defaults(GATEWAY_CONNECT_TIMEOUT="5", GATEWAY_READ_TIMEOUT="10m", GATEWAY_MAX_SESSIONS="3")
    assert config.limits.connect_timeout == 5.0
    assert config.limits.forge_timeout == 600.0
    assert config.sessions.max_sessions == 3


@pytest.mark.parametrize(
    ("word", "dns"),
    [
        ("true", "127.0.0.1:5353"),
        ("1", "127.0.0.1:5353"),
        ("", "127.0.0.1:5353"),
        ("FALSE", ""),
        ("0", ""),
        ("off", ""),
    ],
)
def test_dns_is_on_by_default(word: str, dns: str) -> None:
    """It was off by default in the ancestor."""
    assert _defaults(GATEWAY_ENABLE_DNS=word).listen.dns == dns


@pytest.mark.parametrize(
    ("variables", "reference"),
    [
        ({"GITHUB_TOKEN": "a", "GH_TOKEN": "b"}, "env://GITHUB_TOKEN"),
        ({"GITHUB_TOKEN": "", "GH_TOKEN": "b"}, "env://GH_TOKEN"),
        ({"GITHUB_TOKEN": "", "GH_TOKEN": " "}, ""),
        ({}, ""),
    ],
)
def test_github_credential_refers_to_the_first_variable_set(variables: dict[str, str], reference: str) -> None:
    """Compose files blank GITHUB_TOKEN, so empty is unset; the value is not read."""
    assert github_credential(Environment(variables, 1000)) == reference
    assert _defaults(**variables).forges["github.com"].credential == reference


BAD = [
    ("GATEWAY_PORT", "http", "expected a whole number"),
    ("GATEWAY_PORT", "65536", "out of range: must be 0 to 65535"),
    ("GATEWAY_HOST", "gateway", "expected an address to listen on, such as 127.0.0.1"),
    ("GATEWAY_MAX_SESSIONS", "0", "out of range: must be at least 1"),
    ("GATEWAY_MAX_SESSIONS", "-1", "expected a whole number"),
    ("GATEWAY_CONNECT_TIMEOUT", "0", "the duration must be longer than zero"),
    ("GATEWAY_SOCKET_PATH", "gateway.sock", "expected the absolute path of a file"),
    ("GATEWAY_ENABLE_DNS", "maybe", "expected true or false"),
    ("CREDGATE_STATE_DIRECTORY", "state", "expected the absolute path of a directory"),
]


@pytest.mark.parametrize(("name", "value", "text"), BAD)
def test_invalid_variable_is_named(name: str, value: str, text: str) -> None:
    """A silent default would hide the mistake."""
    with pytest.raises(ConfigError) as caught:
        _defaults(**{name: value})
    assert str(caught.value) == f"{name}: {text}"
