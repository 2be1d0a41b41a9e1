"""``docs/control-api.md`` shows what a real gateway answers: each ``$`` line is run here, by a shell with curl.

In the order of the document, against one gateway with two forges: one that accepts its credential, and one that does
not. Lines of an answer are broken in the document where it has spaces; what differs from run to run is made alike.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import random_secret
from tests.fakes.api import Asked, Reply
from tests.fakes.canary import traces
from tests.fakes.files import write_secret
from tests.fakes.forge import PythonForge
from tests.fakes.repositories import Repositories
from tests.fakes.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import StartGateway

DOCUMENT = Path(__file__).parents[2] / "docs" / "control-api.md"

SESSION = "s-0123456789abcdef"
"""The document's name for the session that was made last."""
ALIKE = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "2026-01-31T12:00:00.000Z"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "2026-01-31T12:00:00Z"),
    (r"s-[0-9a-f]{16}", SESSION),
    (r"at most \d+s left", "at most 604799s left"),
    (r'(?<="token": ")[\w-]{43}', "..."),
    (r'(?<="secret": ")[\w-]{43}', "..."),
    (r'(?<="uptime": )[0-9.]+', "900.0"),
    (r'"[0-9a-f]{12}"', '"0123456789ab"'),
    (r'"[1-9]\d*:[0-9a-f]{64}"', '"12:DIGEST"'),
    (r"https?://(github\.com|git\.example|127\.0\.0\.1:\d+)(?=\")", "FORGE"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:8080"),
    (r'"/[^"]+/(?=control\.sock|audit\.jsonl)', '"/run/credgate/'),
]


def examples() -> list[tuple[str, str]]:
    """Return the ``$`` lines of the document, each with what is shown below it."""
    found: list[list[str]] = []
    below = False
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if found and found[-1][0].endswith("\\"):
            found[-1][0] += f"\n{line}"
        elif line.startswith("    $ "):
            found.append([line.removeprefix("    $ "), ""])
            below = True
        elif below and line.startswith("    "):
            found[-1][1] += line[4:] + "\n"
        elif line.strip():
            below = False
    return [(command, shown) for command, shown in found]


def alike(text: str) -> str:
    """Return an answer in which what differs from run to run does not, on one line."""
    for pattern, instead in ALIKE:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return " ".join(text.split())


@pytest.fixture
def github(tmp_path: Path) -> Iterator[PythonForge]:
    """Start a forge with an API and a private ``octo/hello``."""
    for name in ("forge", "repositories"):
        (tmp_path / name).mkdir()
    Repositories(tmp_path / "repositories").seeded("octo/hello")
    secret = random_secret()
    server = PythonForge(tmp_path / "repositories", secret, tmp_path / "forge")

    def meta(asked: Asked) -> Reply:
        return Reply(200 if asked.headers.get("authorization") == f"Bearer {secret}" else 401, {})

    server.pages["/api/v3/meta"] = meta
    yield server
    server.close()


@pytest.mark.needs("curl")
def test_document_shows_the_responses_of_a_real_gateway(
    start_gateway: StartGateway, github: PythonForge, tmp_path: Path
) -> None:
    """People copy these lines; no response contains a credential."""
    url, wrong = f"http://127.0.0.1:{github.port}", random_secret()
    reference = f"file://{write_secret(tmp_path / 'wrong', wrong)}"
    table = {"kind": "generic", "url": url, "credential": reference}
    settings = {'forges."git.example"': table, "listen": {"metrics": f"127.0.0.1:{free_port()}"}}
    door = start_gateway(url=url, secret=github.secret, settings=settings)
    wait_until(lambda: door.gateway.control("GET", "/v1/status").json["audit_head"], "the first audit line is written")
    shell = {"SOCKET": str(door.gateway.control_socket), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    said, session = b"", SESSION
    for command, shown in examples():
        words = ["sh", "-c", command.replace(SESSION, session)]
        ran = subprocess.run(words, env=shell, capture_output=True, timeout=30, check=False)
        said += ran.stdout + ran.stderr
        if made := re.search(rb'"token": "([\w-]+)"', ran.stdout):
            shell["TOKEN"] = made[1].decode()
        if made := re.search(rb'"id": "(s-[0-9a-f]{16})"', ran.stdout):
            session = made[1].decode()
        assert alike(ran.stdout.decode() + ran.stderr.decode()) == alike(shown), f"$ {command}"
    log = door.gateway.log().encode() + door.gateway.audit_file.read_bytes()
    assert traces(github.secret, said + log) | traces(wrong, said + log) == set()


def test_document_has_all_its_examples() -> None:
    """The test above must not become empty."""
    assert len(examples()) == 23
