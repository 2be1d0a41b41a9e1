"""Defaults from the environment: directories for this process, and the variables of the ancestor.

The ancestor (the gateway of foundry-sandbox v0.7) was configured by environment variables only. They keep their
meaning; a key in a file overrides them. An empty variable counts as unset: compose files blank GITHUB_TOKEN that way.
Directories follow systemd.exec(5) (``STATE_DIRECTORY``, ``RUNTIME_DIRECTORY``) and the XDG base directory
specification, which says that relative paths must be ignored.

Only names and numbers are read. The variable that holds the token is referred to, but its value is not used here.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve, frozen

from credgate.config import forms
from credgate.config.schema import Config, ForgeConfig, Limits, ListenConfig, SessionsConfig
from credgate.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

TOKEN_VARIABLES = ("GITHUB_TOKEN", "GH_TOKEN")
"""Variables with the token for github.com; the first that is set is used."""

GITHUB = ForgeConfig(name="github.com", kind="github", url="https://github.com")


@frozen(slots=True)
class Environment:
    """The environment variables and the user id of the process."""

    variables: Mapping[str, str]
    uid: int

    def get(self, name: str) -> str:
        """Return a variable, ``""`` if it is unset or blank."""
        # A blank variable counts as unset, because compose files blank GITHUB_TOKEN that way.
        return self.variables.get(name, "").strip()

    def read(self, name: str, form: Callable[[str], T], default: T) -> T:
        """Return a variable read by ``form``, or ``default`` if it is unset. Raises ``ConfigError`` that names it."""
        if not (text := self.get(name)):
            return default
        try:
            return form(text)
        except ValueError as error:
            raise ConfigError(str(error), key=name) from None


def defaults(environment: Environment) -> Config:
    """Return the configuration of a process without a file. Raises ``ConfigError`` for an invalid variable.

    ``sessions.store`` and ``listen.control`` are empty if no directory is known (no ``HOME``). A file may still set
    them; ``loading.consistency`` refuses empty ones.
    """
    limits, sessions = Limits(), SessionsConfig()
    return Config(
        listen=ListenConfig(git=_git(environment), control=_control(environment), dns=_dns(environment)),
        sessions=evolve(
            sessions,
            store=_store(environment),
            max_sessions=environment.read("GATEWAY_MAX_SESSIONS", _count, sessions.max_sessions),
        ),
        limits=evolve(
            limits,
            connect_timeout=environment.read("GATEWAY_CONNECT_TIMEOUT", _seconds, limits.connect_timeout),
            forge_timeout=environment.read("GATEWAY_READ_TIMEOUT", _seconds, limits.forge_timeout),
        ),
        forges={GITHUB.name: evolve(GITHUB, credential=github_credential(environment))},
    )


def github_credential(environment: Environment) -> str:
    """Return the reference to the token for github.com, ``""`` if no variable has one."""
    return next((f"env://{name}" for name in TOKEN_VARIABLES if environment.get(name)), "")


def _git(environment: Environment) -> str:
    if not (environment.get("GATEWAY_PORT") or environment.get("GATEWAY_HOST")):
        return ListenConfig().git
    # A colon separates the fields of an endpoint string, so those of IPv6 addresses are escaped.
    address = environment.read("GATEWAY_HOST", _address, "127.0.0.1").replace(":", r"\:")
    return f"tcp:{environment.read('GATEWAY_PORT', _port, 8080)}:interface={address}"


def _dns(environment: Environment) -> str:
    return ListenConfig().dns if environment.read("GATEWAY_ENABLE_DNS", _switch, default=True) else ""


def _control(environment: Environment) -> str:
    """Return the path of the control socket: in the first directory that is known."""
    if path := environment.read("GATEWAY_SOCKET_PATH", forms.socket_path, ""):
        return path
    directory = _first(environment.get("RUNTIME_DIRECTORY"))
    if not directory and environment.uid == 0:
        directory = "/run/credgate"
    if not directory and (base := environment.get("XDG_RUNTIME_DIR")).startswith("/"):
        directory = f"{base.rstrip('/')}/credgate"
    directory = directory or _state(environment)
    return f"{directory}/control.sock" if directory else ""


def _store(environment: Environment) -> str:
    directory = _state(environment)
    return forms.store_url(f"sqlite://{directory}/sessions.db") if directory else ""


def _state(environment: Environment) -> str:
    """Return the directory for persistent state, ``""`` if none is known."""
    if directory := environment.read("CREDGATE_STATE_DIRECTORY", _directory, ""):
        return directory
    if directory := _first(environment.get("STATE_DIRECTORY")):
        return directory
    if environment.uid == 0:
        return "/var/lib/credgate"
    # The XDG base directory specification says that relative paths must be ignored.
    if (base := environment.get("XDG_STATE_HOME")).startswith("/"):
        return f"{base.rstrip('/')}/credgate"
    home = environment.get("HOME").rstrip("/")
    return f"{home}/.local/state/credgate" if home.startswith("/") else ""


def _first(directories: str) -> str:
    """Return the first of several directories, ``""`` if it is not absolute."""
    # systemd.exec(5): ``STATE_DIRECTORY`` and ``RUNTIME_DIRECTORY`` are separated by colons.
    first = directories.split(":", maxsplit=1)[0].rstrip("/")
    return first if first.startswith("/") else ""


def _directory(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("expected the absolute path of a directory")
    return text.rstrip("/")


def _address(text: str) -> str:
    if text == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("expected an address to listen on, such as 127.0.0.1") from None


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("expected a whole number")
    return int(text)


def _port(text: str) -> int:
    return forms.whole(0, 65535)(_number(text))


def _count(text: str) -> int:
    return forms.whole(1)(_number(text))


def _seconds(text: str) -> float:
    """Accept seconds without a unit, or a duration."""
    # The ancestor's variables are numbers without a unit.
    return forms.duration(f"{text}s" if re.fullmatch(r"[0-9.]+", text) else text)


def _switch(text: str) -> bool:
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    raise ValueError("expected true or false")
