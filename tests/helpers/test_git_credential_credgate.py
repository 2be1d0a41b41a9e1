"""``git-credential-credgate`` under each shell that a sandbox may have, asked as git asks it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.needs import SHELLS

HELPERS = Path(__file__).resolve().parents[2] / "helpers"
LINE = "A" * 21 + "_-" + "b" * 20 + ":" + "c" * 43
ANSWER = f"username=x-gateway-token\npassword={LINE}\n"
HERE = "protocol=http\nhost=gateway:8080\n\n"


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """Run it by each shell that is here."""
    return str(request.param).split()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Lay a session where the helper looks."""
    path = tmp_path / "gateway_token"
    path.write_text(LINE + "\n")
    return path


def ask(
    shell: list[str],
    token_file: Path,
    *arguments: str,
    said: str | bytes = HERE,
    name: str = "git-credential-credgate",
    url: str = "",
) -> subprocess.CompletedProcess[bytes]:
    """Run the helper."""
    environ = {"PATH": "/usr/bin:/bin", "CREDGATE_TOKEN_FILE": str(token_file)} | ({"CREDGATE_URL": url} if url else {})
    told = said if isinstance(said, bytes) else said.encode()
    command = [*shell, str(HELPERS / name), *(arguments or ("get",))]
    return subprocess.run(command, input=told, env=environ, capture_output=True, check=False, timeout=20)


@pytest.mark.parametrize("name", ["git-credential-credgate", "gateway-credential-helper"])
def test_it_answers_get_for_the_gateway(shell: list[str], token_file: Path, name: str) -> None:
    """Under both names, without any option: the ancestor's gateway was at gateway:8080."""
    ran = ask(shell, token_file, name=name)
    assert (ran.returncode, ran.stdout.decode(), ran.stderr) == (0, ANSWER, b"")


@pytest.mark.parametrize("action", ["store", "erase", "capability", "", "GET"])
def test_it_answers_nothing_but_get(shell: list[str], token_file: Path, action: str) -> None:
    """The ancestor's answered ``erase`` and ``store`` alike; the file is not ours to change, either."""
    ran = ask(shell, token_file, action)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert token_file.read_text() == LINE + "\n"


@pytest.mark.parametrize(
    ("gateway", "said"),
    [
        ("http://gateway:8080", "protocol=http\nhost=gateway:8080\n"),
        ("http://gateway:8080", "protocol=http\nhost=GateWay:8080\npath=git/octo/x\nusername=me\nwwwauth[]=Basic\n\n"),
        ("http://gateway", "protocol=http\nhost=gateway:80\n\n"),
        ("http://gateway:80/", "protocol=http\nhost=gateway\n\n"),
        ("https://gateway:443", "protocol=https\nhost=gateway\n\n"),
        ("HTTP://127.0.0.1:9/git/", "host=127.0.0.1:9\nprotocol=http\n\n"),
    ],
)
def test_it_knows_the_gateway_however_it_is_written(
    shell: list[str], token_file: Path, gateway: str, said: str
) -> None:
    """Case, the scheme's own port, a path and the order of lines make no other place."""
    assert ask(shell, token_file, "--gateway", gateway, "get", said=said).stdout.decode() == ANSWER
    assert ask(shell, token_file, "get", said=said, url=gateway).stdout.decode() == ANSWER


@pytest.mark.parametrize(
    "said",
    [
        "protocol=https\nhost=gateway:8080\n\n",
        "protocol=http\nhost=gateway\n\n",
        "protocol=http\nhost=gateway:80801\n\n",
        "protocol=http\nhost=evil.gateway:8080\n\n",
        "protocol=http\nhost=gateway:8080.evil\n\n",
        "protocol=http\nhost=gatewayx8080\n\n",
        "protocol=http\nhost=github.com\n\n",
        "protocol=http\nhost=\n\n",
        "host=gateway:8080\n\n",
        "protocol=http\nHOST=gateway:8080\n\n",
        "\nprotocol=http\nhost=gateway:8080\n\n",
        "",
    ],
)
def test_it_is_silent_for_every_other_place(shell: list[str], token_file: Path, said: str) -> None:
    """A repository chooses which hosts git talks to; none but the gateway gets the session."""
    ran = ask(shell, token_file, said=said)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


@pytest.mark.parametrize("content", [None, "", "\n", "   \n"])
def test_it_is_silent_without_a_session(shell: list[str], token_file: Path, content: str | None) -> None:
    """Git then says what it says without a credential."""
    token_file.unlink() if content is None else token_file.write_text(content)
    ran = ask(shell, token_file)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


@pytest.mark.parametrize("content", [LINE, LINE + "\r\n", "  " + LINE + "\t\n", LINE + "\nmore\n"])
def test_it_takes_the_first_line_trimmed(shell: list[str], token_file: Path, content: str) -> None:
    """However the file was written."""
    token_file.write_bytes(content.encode())
    assert ask(shell, token_file).stdout.decode() == ANSWER


@pytest.mark.parametrize("content", ["ghp_realtoken", "a:b:c", ":b", "a:", "a:b c$(id)`id`", "a:ü", "-n:%s\\n;x"])
def test_a_file_that_holds_something_else_is_named_and_not_shown(
    shell: list[str], token_file: Path, content: str
) -> None:
    """It may be somebody's real credential: neither git nor the screen gets it."""
    token_file.write_text(content + "\n")
    ran = ask(shell, token_file)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"holds no TOKEN:SECRET" in ran.stderr
    assert content.encode() not in ran.stderr


def test_option_like_secrets_are_printed_as_they_are(shell: list[str], token_file: Path) -> None:
    """The alphabet of secrets holds ``-``: an echo would take ``-n`` for an option."""
    token_file.write_text("-n:-e\n")
    assert ask(shell, token_file).stdout == b"username=x-gateway-token\npassword=-n:-e\n"


LINES = ["protocol=http", "protocol=https", "host=gateway:8080", "host=GATEWAY:8080", "host=gateway", "host=", ""]
LINES += [
    " host=gateway:8080",
    "host =gateway:8080",
    "path=host=gateway:8080",
    "password=x",
    "quit=1",
    "=",
    "\\",
    "-n",
    "*",
]


def expected_answer(lines: list[str]) -> str:
    """Decide what git's documented form means: the last of each key before the first empty line counts."""
    block = lines[: lines.index("")] if "" in lines else lines
    asked = dict(line.partition("=")[::2] for line in block)
    return ANSWER if (asked.get("protocol"), asked.get("host", "").lower()) == ("http", "gateway:8080") else ""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.sampled_from(LINES), max_size=7), ended=st.booleans())
def test_it_reads_what_git_says_as_git_documents_it(token_file: Path, lines: list[str], *, ended: bool) -> None:
    """Against a model of gitcredentials(7): whatever the order, repetition or junk, in whole lines or cut."""
    said = "\n".join(lines) + ("\n" if ended else "")
    ran = ask(["sh"], token_file, said=said)
    assert (ran.returncode, ran.stdout.decode()) == (0, expected_answer(lines))


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(said: bytes) -> None:
    """Whatever arrives: silence."""
    ran = ask(["sh"], Path("/dev/null"), said=said)
    assert (ran.returncode, ran.stdout) == (0, b"")


def test_git_takes_the_answer(token_file: Path, tmp_path: Path) -> None:
    """As configured by the template: an absolute path and an option, the action added by git."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    environ |= {"CREDGATE_TOKEN_FILE": str(token_file), "GIT_TERMINAL_PROMPT": "0"}
    helper = f"credential.http://here:1.helper={HELPERS}/git-credential-credgate --gateway http://here:1"
    filled = subprocess.run(
        ["git", "-c", helper, "credential", "fill"],
        input=b"url=http://here:1/git/octo/x\n\n",
        env=environ,
        capture_output=True,
        check=True,
    )
    assert f"password={LINE}\n".encode() in filled.stdout


@pytest.mark.needs("shellcheck")
@pytest.mark.parametrize("name", ["git-credential-credgate", "credgate-sandbox", "../.ci/tox", "../.ci/run"])
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    """As POSIX sh, every severity."""
    ran = subprocess.run(["shellcheck", "--shell=sh", HELPERS / name], capture_output=True, check=False, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")
