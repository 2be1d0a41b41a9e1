"""Reads ``keyring://SERVICE/USER``: an entry of the system's keyring, by the keyring library, an optional extra.

The library asks another process (Secret Service, KWallet) and may wait for a person, so it is called in a thread.
"""

from __future__ import annotations

import importlib.util

from credgate.config.credential_output import Printed
from credgate.errors import ConfigError


def check_installed() -> None:
    """Raise ``ConfigError`` (without place) unless the library is there."""
    if importlib.util.find_spec("keyring") is None:
        raise ConfigError("keyring:// needs the keyring library: pip install 'credgate[keyring]'")


def read_entry(service: str, user: str) -> Printed:
    """Return the secret of one line of an entry. Blocks. Raises ``ConfigError`` (without place) if there is none."""
    secret = _entry(service, user)
    if not secret.isprintable():
        raise ConfigError("the keyring's entry holds more than one line, or control characters")
    return Printed(secret)


def read_lines(service: str, user: str) -> Printed:
    """Return the secret of any number of lines of an entry, a key in PEM. Blocks. Raises as above."""
    return Printed(_entry(service, user) + "\n")


def _entry(service: str, user: str) -> str:
    import keyring  # noqa: PLC0415 - an extra
    from keyring.errors import KeyringError  # noqa: PLC0415 - the same

    try:
        secret = keyring.get_password(service, user)
    except KeyringError as error:
        # Its text is the backend's; the kind of it says enough.
        raise ConfigError(f"the keyring cannot be read ({type(error).__name__})") from None
    if not secret or not secret.strip():
        raise ConfigError("the keyring has no such entry")
    return str(secret).strip()
