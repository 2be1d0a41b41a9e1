"""Shows the main job: a sandbox without a credential clones, commits and pushes through credgate.

    python -m tests.demo

Starts a git forge (Python and git are enough), the gateway as ``twistd credgate``, and a sandbox with the shipped
helper. Runs ordinary git commands, including one that is refused, and prints their output and the audit line.
Everything is on loopback and in one temporary folder, which is deleted at the end. The exit status is 0 if each step
had the expected result.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import tempfile
import textwrap
from pathlib import Path

from tests.fakes.canary import traces
from tests.fakes.forge import PythonForge
from tests.fakes.gateway import Gateway
from tests.fakes.repositories import Repositories
from tests.fakes.sandbox import Ran, Sandbox

HELLO, OTHER = "octo/hello", "octo/secret-plans"
POINT_AT_GITHUB = """
Point it at github.com:
    GITHUB_TOKEN=... twistd -n credgate          # on the gateway's side; then, over its control socket:
    curl --unix-socket SOCKET -H 'Content-Type: application/json' -d '{"repos": ["you/it"]}' http://localhost/v1/sessions
    SANDBOX_GATEWAY_ENABLED=true credgate-sandbox enable --gateway http://GATEWAY:8080   # in the sandbox: helpers/
"""


class DemoFailedError(Exception):
    """A step did not have the expected result."""


def say(text: str = "") -> None:
    """Print a line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def expect(*, truth: bool, what: str) -> None:
    """Stop the demo if a result is not the expected one."""
    if not truth:
        raise DemoFailedError(what)


def show(box: Sandbox, *command: str, cwd: str = "") -> Ran:
    """Run a command in the sandbox, with everything it prints."""
    say(f"\nsandbox$ {' '.join(command)}")
    ran = box.run(*command, cwd=cwd)
    say(textwrap.indent((ran.out + ran.err).rstrip(), "    "))
    return ran


def set_up(stack: contextlib.ExitStack) -> tuple[Repositories, Gateway, Sandbox]:
    """Start a forge, a gateway and a sandbox; ``stack`` ends them."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="credgate-demo-")))
    for name in ("forge", "repositories", "gateway"):
        (folder / name).mkdir()
    repos = Repositories(folder / "repositories")
    repos.seeded(HELLO, files=[{"README": b"Hello from the forge.\n"}])
    repos.seeded(OTHER)
    credential = "ghp_" + secrets.token_hex(18)
    forge = PythonForge(repos.root, credential, folder / "forge")
    stack.callback(forge.close)
    gateway = Gateway(folder / "gateway", f"http://127.0.0.1:{forge.port}", credential)
    stack.callback(gateway.stop)
    gateway.start()
    say(f"A forge that plays github.com demands a credential: {gateway.forge_url}")
    say(f"credgate holds it, in {gateway.credential_file}: {gateway.url}")
    return repos, gateway, Sandbox(folder / "sandbox", gateway.url)


def main_job(repos: Repositories, box: Sandbox) -> None:
    """Clone, commit, push."""
    expect(truth=show(box, "git", "clone", f"https://github.com/{HELLO}.git", "hello").code == 0, what="the clone")
    commit = box.commit("hello", "hello.txt", b"Hello from a sandbox.\n")
    ran = show(box, "git", "push", "origin", "HEAD:refs/heads/agent/hello", cwd="hello")
    expect(truth=ran.code == 0, what="the push")
    expect(truth=repos.head(HELLO, "refs/heads/agent/hello") == commit, what="the forge has the commit")
    say(f"\nThe forge now has {commit[:12]} on agent/hello.")


def refusal(gateway: Gateway, box: Sandbox) -> None:
    """Clone what was not granted."""
    ran = show(box, "git", "clone", f"https://github.com/{OTHER}.git", "other")
    expect(truth=ran.code != 0 and "remote: credgate" in ran.err, what="the refusal, in git's words")
    gateway.audited(repo=OTHER, decision="deny", reason="outside-session")
    line = next(line for line in reversed(gateway.audit_file.read_text().splitlines()) if OTHER in line)
    say(f"\nIts audit line is in {gateway.audit_file}:\n    {line}")


def held(gateway: Gateway, box: Sandbox, line: str) -> None:
    """Show what the sandbox holds: a session, and not a piece of the credential."""
    say("\nWhat the sandbox holds, and all that it can lose: a session for one repository.")
    say(f"    {box.token_file}: {line[:6]}...:{line.partition(':')[2][:6]}...")
    everything = b"".join(path.read_bytes() for path in box.folder.rglob("*") if path.is_file())
    found = traces(gateway.secret, everything + "".join(box.said).encode())
    expect(truth=not found, what="no trace of the forge's credential in the sandbox")
    say("    no trace of the forge's credential in its files or on its screen (searched: plain, base64, hex, ...)")


def demo() -> None:
    """Show it all."""
    with contextlib.ExitStack() as stack:
        repos, gateway, box = set_up(stack)
        lease = gateway.grant([HELLO])
        say(f"Over {gateway.control_socket} a session was made, for {HELLO} alone: {lease.id}")
        box.enable().show(lease.line)
        show(box, "git", "config", "--show-origin", "--get-regexp", "^url")
        main_job(repos, box)
        refusal(gateway, box)
        held(gateway, box, lease.line)
        gateway.revoke(lease)
        say("\nThe session is revoked:")
        ran = show(box, "git", "fetch", cwd="hello")
        expect(truth=ran.code != 0 and "remote: credgate" in ran.err, what="a revoked session's refusal")
    say(POINT_AT_GITHUB)


if __name__ == "__main__":
    try:
        demo()
    except (DemoFailedError, AssertionError) as failed:
        sys.exit(f"demo: this did not go as told: {failed}")
