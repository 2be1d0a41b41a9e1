"""What git must be told so that it works through the gateway: configuration entries, and the forms they are told in.

Every way of writing a configured forge's address leads to the gateway (``url.<base>.insteadOf``, git-config(1)); the
session is shown to the gateway only, by a credential helper that reads it from a file. ``everything`` leads all other
addresses there, too, where they are refused in git's own words: for a command that shall have no other way.

No secret here: only the path of the file that holds one.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Entries = list[tuple[str, str]]

SOMEWHERE = ("https://", "http://", "ssh://git@", "ssh://", "git://", "git@")
"""The beginnings of any remote address; a longer beginning that also matches wins, so that forges keep their own."""
_HTTPS, _SSH = 443, 22


def entries(url: str, status: Mapping[str, Any], helper: str, *, everything: bool = False) -> Entries:
    """Return git's entries for the gateway at ``url`` (no slash at its end), as ``GET /v1/status`` knows its forges.

    ``helper`` is the value of ``credential.<url>.helper``.
    """
    found: Entries = []
    for forge in status["forges"]:
        default = forge["name"] == status["default_forge"]
        base = f"{url}/git/" if default else f"{url}/forge/{forge['name']}/"
        found += [(f"url.{base}.insteadOf", one) for one in dict.fromkeys(spellings(forge["name"], forge["url"]))]
    if everything:
        found += [(f"url.{url}/forge/.insteadOf", one) for one in SOMEWHERE]
        found += [(f"url.{url}/.insteadOf", f"{url}/")]
    # The empty one forgets the helpers named before: none of them shall be handed the session to store.
    found += [(f"credential.{url}.helper", ""), (f"credential.{url}.helper", helper)]
    # git-lfs would find out by a first request without a login, and write it into each repository's configuration.
    return [*found, (f"http.{url}.proxy", ""), (f"lfs.{url}/.access", "basic")]


def spellings(name: str, url: str) -> Iterator[str]:
    """Yield how people write addresses of the forge ``name`` at ``url``, up to the repository's path."""
    yield f"{url}/"
    parts = urlsplit(url)
    hosts = [parts.hostname or "", name] if "." in name else [parts.hostname or ""]
    plain = parts.port in {None, _HTTPS} and not parts.path.strip("/")
    for host in hosts:
        if host and (plain or host == name):
            yield from (f"https://{host}/", f"http://{host}/", f"git@{host}:", f"git://{host}/")
            yield from (f"ssh://git@{host}/", f"ssh://git@{host}:{_SSH}/", f"ssh://{host}/")
    if "github.com" in hosts:
        yield f"ssh://git@ssh.github.com:{_HTTPS}/"


def snippet(token_file: str) -> str:
    """Return a credential helper that needs nothing installed: git runs it with sh (gitcredentials(7))."""
    # It reads what git says to the end: git would die of SIGPIPE otherwise.
    said = f"printf 'username=x-gateway-token\\npassword=%s\\n' \"$(cat {shlex.quote(token_file)})\""
    return f'!f() {{ cat >/dev/null; if [ "$1" = get ]; then {said}; fi; }}; f'


def counted(found: Entries) -> dict[str, str]:
    """Return entries as the variables that git reads last, over every file (``GIT_CONFIG_COUNT``, git(1))."""
    variables = {"GIT_CONFIG_COUNT": str(len(found))}
    for number, (key, value) in enumerate(found):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


def gitconfig(found: Entries) -> str:
    """Return entries as a configuration file."""
    written, section = ["# Written by credgate env: git works through the gateway."], ""
    for key, value in found:
        place, _, name = key.rpartition(".")
        kind, _, base = place.partition(".")
        if place != section:
            written.append(f"[{kind} {_quoted(base)}]" if base else f"[{kind}]")
            section = place
        written.append(f"\t{name} = {_quoted(value)}")
    return "\n".join(written) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def shell(variables: Mapping[str, str]) -> str:
    """Return variables as lines for a POSIX shell to evaluate."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def docker(variables: Mapping[str, str]) -> str:
    """Return variables as ``docker run --env-file`` reads them: as they are, one a line. Raises ValueError."""
    if any("\n" in value for value in variables.values()):
        raise ValueError("a value of more than one line cannot stand in an --env-file")
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def reached(address: str, kinds: Iterable[str] = ("0.0.0.0", "[::]")) -> str:  # noqa: S104 - compared, not bound
    """Return the URL of a git listener for programs on this machine; "" for what is no TCP address."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return ""
    local = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - as above
    return f"http://{local[host] if host in kinds else host}:{port}"
