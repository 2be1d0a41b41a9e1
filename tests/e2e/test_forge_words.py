"""Every sentence of every driver, in the output of the real git; one gateway with a forge of each kind.

The forge is ``tests/fakes/refusing.py``, whose head says what it does not prove. What is proved is ours: the status
that a kind's forge answers with becomes the sentence that ``docs/operations.md`` lists, whole, in git's own output, and
nothing of the forge's page or headers with it.
"""

from __future__ import annotations

import base64
import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from credgate.config.schema import ForgeConfig
from credgate.config.structure import KINDS
from credgate.forges.registry import driver_for
from credgate.forges.sentences import COMMON
from credgate.values import Access
from tests.fakes.gateway import Gateway
from tests.fakes.refusing import OID, PAGE, RefusingForge
from tests.fakes.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "forge-secret-0123456789abcdefghij"
PATHS = {
    "github": "Octo/{}",
    "gitlab": "Group/Sub/Deep/{}",
    "gitea": "Owner/{}",
    "bitbucket": "Workspace/{}",
    "bitbucket-datacenter": "scm/PROJ/{}",
    "azure": "Org/Project/_git/{}",
    "generic": "Any/Depth/Of/{}",
}
LOGINS = {
    "github": f"x-access-token:{SECRET}",
    "gitlab": f"oauth2:{SECRET}",
    "gitea": f"x-access-token:{SECRET}",
    "bitbucket": f"x-token-auth:{SECRET}",
    "azure": f":{SECRET}",
    "generic": f"x-access-token:{SECRET}",
}
kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def refusing() -> Iterator[RefusingForge]:
    """Start the forge that says no."""
    forge = RefusingForge()
    yield forge
    forge.close()


@pytest.fixture(scope="module")
def box(refusing: RefusingForge, scratch: Path) -> Iterator[Sandbox]:
    """Start a gateway with a forge of each kind, and a sandbox that may use all of each."""
    folder = scratch / "kinds"
    folder.mkdir()
    secret = f"file://{folder / 'credential'}"
    tables = {f"forges.{kind}": {"kind": kind, "url": f"{refusing.url}/{kind}", "credential": secret} for kind in KINDS}
    with contextlib.ExitStack() as stack:
        gateway = Gateway(folder, f"{refusing.url}/github", SECRET, tables)
        stack.callback(gateway.stop, signal.SIGKILL)
        lease = gateway.start().grant([{"repo": "**", "forge": kind} for kind in KINDS])
        box = Sandbox(folder / "sandbox", gateway.url, "bearer").enable().show(lease.line)
        box.git("init", "-q", "work").fine()
        box.commit("work", "file", b"content\n")
        yield box


def place(box: Sandbox, kind: str, name: str) -> str:
    """Return how the sandbox's git addresses a repository."""
    return f"{box.gateway_url}/forge/{kind}/{PATHS[kind].format(name)}"


def cases(kind: str) -> list[tuple[int, Access]]:
    """Return one case for each sentence that a forge of this kind has for itself; the generic one has everybody's."""
    driver = driver_for(ForgeConfig(kind, kind, "http://127.0.0.1"))
    keys = driver.words or {**COMMON, 418: "", 503: ""}
    return [key if isinstance(key, tuple) else (key, Access.READ) for key in keys]


@kinds
def test_git_shows_the_sentence_of_every_status(kind: str, box: Sandbox) -> None:
    """Read or pushed to, git fails at discovery and prints our line; with the forge willing, it does not."""
    driver = driver_for(ForgeConfig(kind, kind, "http://127.0.0.1"))
    for status, access in cases(kind):
        url = place(box, kind, f"s{status}")
        command = ["ls-remote", url] if access is Access.READ else ["push", url, "HEAD:refs/heads/main"]
        said = box.git(*command, cwd="work").refused()
        assert f"remote: credgate: {driver.sentence(status, access)}\n" in said
        assert PAGE not in said
        assert "Username" not in said
    assert box.git("ls-remote", place(box, kind, "s200")).fine() == f"{OID}\trefs/heads/main"


@kinds
def test_git_shows_the_sentence_of_a_push_that_is_refused_late(kind: str, box: Sandbox) -> None:
    """Some forges offer a repository and refuse what is pushed: each ref says why, and git does not call it done."""
    driver = driver_for(ForgeConfig(kind, kind, "http://127.0.0.1"))
    said = box.git("push", place(box, kind, "p403"), "HEAD:refs/heads/main", cwd="work").refused()
    assert f"credgate: {driver.sentence(403, Access.WRITE)}" in said
    assert "! [remote rejected] HEAD -> main" in said
    assert PAGE not in said


@kinds
def test_each_kind_is_asked_in_its_own_way(kind: str, box: Sandbox, refusing: RefusingForge) -> None:
    """The login that the kind takes, below the path of its installation, with every request."""
    refusing.asked.clear()
    box.git("ls-remote", place(box, kind, "s200")).fine()
    assert refusing.asked
    basic = base64.b64encode(LOGINS.get(kind, "").encode()).decode()
    login = f"Bearer {SECRET}" if kind == "bitbucket-datacenter" else f"Basic {basic}"
    above = "/" + PATHS[kind].removesuffix("/{}")
    spelled = above if kind == "generic" else above.lower()  # under a pattern the normal form is what is sent
    assert {(one.kind, one.path, one.login) for one in refusing.asked} == {(kind, spelled, login)}


@kinds
def test_an_illegal_repository_name_is_refused_with_the_expected_form(kind: str, box: Sandbox) -> None:
    """The kinds differ in it."""
    shape = driver_for(ForgeConfig(kind, kind, "http://127.0.0.1")).shape
    said = box.git("ls-remote", f"{box.gateway_url}/forge/{kind}/a.git/b/_git/").refused()
    assert f"remote: credgate: not a repository name on this forge; write {shape}, with or without .git\n" in said


def test_an_unknown_forge_is_told_the_configured_ones(box: Sandbox) -> None:
    """And a sandbox without a session is not."""
    url = f"{box.gateway_url}/forge/github.org/octo/hello"
    said = box.git("ls-remote", url).refused()
    names = ", ".join(sorted([*KINDS, "github.com"]))
    assert f"remote: credgate: no forge of this name is configured in this gateway; configured: {names}\n" in said
    stranger = box.git("-c", f"http.{box.gateway_url}/.extraHeader=", "ls-remote", url).refused()
    assert "gitlab" not in stranger
