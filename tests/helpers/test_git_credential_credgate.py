"""``git-credential-credgate`` in each shell, called as git calls it."""

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
    """Select each installed shell."""
    return str(request.param).split()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Create the token file."""
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
    """Run the helper with this input."""
    environ = {"PATH": "/usr/bin:/bin", "CREDGATE_TOKEN_FILE": str(token_file)} | ({"CREDGATE_URL": url} if url else {})
    given = said if isinstance(said, bytes) else said.encode()
    command = [*shell, str(HELPERS / name), *(arguments or ("get",))]
    return subprocess.run(command, input=given, env=environ, capture_output=True, check=False, timeout=20)


@pytest.mark.parametrize("name", ["git-credential-credgate", "gateway-credential-helper"])
def test_get_for_the_gateway_is_answered(shell: list[str], token_file: Path, name: str) -> None:
    """Under both names, and with the default address."""
    ran = ask(shell, token_file, name=name)
    assert (ran.returncode, ran.stdout.decode(), ran.stderr) == (0, ANSWER, b"")


@pytest.mark.parametrize("action", ["store", "erase", "capability", "", "GET"])
def test_other_actions_are_not_answered(shell: list[str], token_file: Path, action: str) -> None:
    """The token file is not changed, either."""
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
def test_gateway_is_recognised_in_every_spelling(shell: list[str], token_file: Path, gateway: str, said: str) -> None:
    """Case, default port, path and order of lines do not matter."""
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
def test_other_hosts_get_no_answer(shell: list[str], token_file: Path, said: str) -> None:
    """A repository can make git connect to any host."""
    ran = ask(shell, token_file, said=said)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


@pytest.mark.parametrize("content", [None, "", "\n", "   \n"])
def test_missing_session_gets_no_answer(shell: list[str], token_file: Path, content: str | None) -> None:
    """Git then reports a missing credential."""
    token_file.unlink() if content is None else token_file.write_text(content)
    ran = ask(shell, token_file)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


@pytest.mark.parametrize("content", [LINE, LINE + "\r\n", "  " + LINE + "\t\n", LINE + "\nmore\n"])
def test_first_line_is_used_without_surrounding_spaces(shell: list[str], token_file: Path, content: str) -> None:
    """With any line ending."""
    token_file.write_bytes(content.encode())
    assert ask(shell, token_file).stdout.decode() == ANSWER


@pytest.mark.parametrize("content", ["ghp_realtoken", "a:b:c", ":b", "a:", "a:b c$(id)`id`", "a:ü", "-n:%s\\n;x"])
def test_malformed_token_file_is_named_but_not_printed(shell: list[str], token_file: Path, content: str) -> None:
    """It may contain a real credential."""
    token_file.write_text(content + "\n")
    ran = ask(shell, token_file)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"does not contain TOKEN:SECRET" in ran.stderr
    assert content.encode() not in ran.stderr


def test_secret_that_looks_like_an_option_is_printed_unchanged(shell: list[str], token_file: Path) -> None:
    """Secrets may start with ``-``, and some echo commands would read ``-n`` as an option."""
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
    """Return the answer by git's documentation: the last value of each key before the first empty line counts."""
    block = lines[: lines.index("")] if "" in lines else lines
    asked = dict(line.partition("=")[::2] for line in block)
    return ANSWER if (asked.get("protocol"), asked.get("host", "").lower()) == ("http", "gateway:8080") else ""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.sampled_from(LINES), max_size=7), ended=st.booleans())
def test_input_is_parsed_as_git_documents_it(token_file: Path, lines: list[str], *, ended: bool) -> None:
    """Compared with a model of gitcredentials(7), in any order, with repetitions and unknown lines."""
    said = "\n".join(lines) + ("\n" if ended else "")
    ran = ask(["sh"], token_file, said=said)
    assert (ran.returncode, ran.stdout.decode()) == (0, expected_answer(lines))


@given(st.binary(max_size=200))
def test_any_input_is_accepted_without_an_answer(said: bytes) -> None:
    """For any bytes."""
    ran = ask(["sh"], Path("/dev/null"), said=said)
    assert (ran.returncode, ran.stdout) == (0, b"")


def test_git_uses_the_answer(token_file: Path, tmp_path: Path) -> None:
    """As configured by the template: an absolute path with an option, to which git adds the action."""
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
def test_shellcheck_finds_no_problem_in_scripts(name: str) -> None:
    """With the rules of POSIX sh."""
    ran = subprocess.run(["shellcheck", "--shell=sh", HELPERS / name], capture_output=True, check=False, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")
