"""``credgate policy test`` and ``check-config``: one line for each result, exit statuses, no tracebacks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from credgate.cli.main import main
from credgate.cli.offline import result_line
from credgate.git.fixtures import FixtureOutcome
from credgate.values import Decision, Reason
from tests.fakes.cli import credgate
from tests.fakes.schemas import schema

if TYPE_CHECKING:
    from click.testing import Result

OWN = sorted((Path(__file__).parents[1] / "git" / "testdata" / "policy").glob("*.toml"))
MET = """\
grants = ["octo/hello"]
[[push]]
name = "a branch"
repo = "octo/hello"
refs = [{ref = "refs/heads/x", verb = "create", expect = "allowed"}]
"""
MISSED = MET.replace('"create"', '"delete"')
CLOSED = 'push = [{refs = "refs/heads/x", allow = []}]\n'


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def run(*words: str) -> Result:
    """Run ``credgate`` as its console script does."""
    return CliRunner().invoke(main, words)


def write(name: str, text: str) -> str:
    """Write a file in the current directory; return its name."""
    Path(name).write_text(text, encoding="utf-8")
    return name


def outcome(result: Result) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error; an unexpected exception fails the test."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_met_expectations_are_status_0() -> None:
    """One line for each expectation."""
    assert outcome(run("policy", "test", write("a.toml", MET))) == (
        0,
        "ok   a.toml: a branch: refs/heads/x: allowed\n",
        "",
    )


def test_failed_expectation_is_status_1_with_the_actual_decision() -> None:
    """With the rule that decided and git's message. Other files are evaluated, too."""
    status, out, err = outcome(run("policy", "test", write("a.toml", MISSED), write("b.toml", MET)))
    assert (status, err) == (1, "")
    assert out == (
        "FAIL a.toml: a branch: refs/heads/x: expected allowed, got push-verb by default.push[0] refs/heads/**: "
        "default.push[0] refs/heads/** does not allow delete; this session may push refs/heads/** (create, update), "
        "refs/tags/** (create)\n"
        "ok   b.toml: a branch: refs/heads/x: allowed\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = [", "credgate: a.toml: not TOML: "),
        ("", "credgate: a.toml: no expectations: write [[push]] or [[fetch]]\n"),
        (MET.replace("allowed", "fine"), "credgate: a.toml: a branch: expect: fine is not a reason code\n"),
        (MET + "[policy]\nmax_refs = 0\n", "credgate: a.toml: policy.max_refs: "),
    ],
)
def test_invalid_fixture_is_status_2(text: str, said: str) -> None:
    """One line on standard error, whatever the results of other files."""
    status, out, err = outcome(run("policy", "test", write("a.toml", text), write("b.toml", MISSED)))
    assert (status, out[:13], err.count("\n")) == (2, "FAIL b.toml: ", 1)
    assert err.startswith(said)
    assert outcome(run("policy", "test", write("a.toml", MET)))[0] == 0


def test_unreadable_file_is_status_2() -> None:
    """Missing, a directory, or not text."""
    Path("folder").mkdir()
    Path("latin.toml").write_bytes(b'label = "\xe9"\n')
    result = run("policy", "test", "missing.toml", "folder", "latin.toml")
    assert outcome(result) == (
        2,
        "",
        (
            "credgate: missing.toml: No such file or directory\n"
            "credgate: folder: Is a directory\n"
            "credgate: latin.toml: not TOML: it is not UTF-8\n"
        ),
    )


def test_configured_forges_and_policy_are_used() -> None:
    """No secret is read."""
    forge = '[forges."git.example"]\nurl = "https://git.example"\ncredential = "env://NOT_SET_HERE"\n'
    config = write("credgate.toml", f'default_forge = "git.example"\n[policy]\n{CLOSED}{forge}')
    fixture = write("a.toml", MET.replace("octo/hello", "deep/er/hello"))
    status, out, _ = outcome(run("policy", "test", fixture, "--config", config))
    assert (status, "got push-verb by policy.push[0] refs/heads/x" in out) == (1, True)
    own = write("b.toml", Path(fixture).read_text(encoding="utf-8") + "[policy]\n")
    assert outcome(run("policy", "test", "--config", config, own))[0] == 0
    assert outcome(run("policy", "test", fixture))[0] == 2  # that repository is none on github.com


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[policy]\nmax_ref = 1\n", "credgate: credgate.toml:2: policy.max_ref: unknown key"),
        ('[policy]\npush = [{refs = "main", allow = []}]\n', "credgate: credgate.toml:2: policy.push"),
        ('[forges.x]\nurl = "http://x.example"\n', "credgate: "),
        ("[", "credgate: credgate.toml:1: "),
    ],
)
def test_invalid_configuration_is_status_2(text: str, said: str) -> None:
    """With file and line; no fixture is evaluated."""
    status, out, err = outcome(run("policy", "test", write("a.toml", MET), "--config", write("credgate.toml", text)))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(said)


def test_missing_configuration_is_status_2() -> None:
    """Without a policy the results would differ from production."""
    status, out, err = outcome(run("policy", "test", write("a.toml", MET), "--config", "none.toml"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "none.toml" in err


def test_quiet_prints_failed_expectations_only() -> None:
    """Both options, short and long."""
    names = write("a.toml", MET), write("b.toml", MISSED)
    assert outcome(run("policy", "test", "-q", names[0])) == (0, "", "")
    status, out, _ = outcome(run("policy", "test", "--quiet", *names))
    assert (status, out.count("\n"), out[:12]) == (1, 1, "FAIL b.toml:")


def test_project_fixtures_pass() -> None:
    """The tests of the rules use the same command."""
    status, out, err = outcome(run("policy", "test", *map(str, OWN)))
    assert (status, err) == (0, "")
    assert len(out.splitlines()) > 35


@given(st.text())
def test_result_is_always_one_line(name: str) -> None:
    """For any text: CI systems may interpret lines of the log as commands."""
    decision = Decision(allow=True, reason=Reason.ALLOWED)
    result = result_line(Path("a.toml"), FixtureOutcome(name, "", "allowed", "", decision))
    assert (result[:13], result.isascii(), result.isprintable()) == ("ok   a.toml: ", True, True)


def test_output_is_escaped_to_ascii() -> None:
    """Expectations, errors and file names."""
    text = MET.replace("a branch", "caf\xe9\\n::error::x")
    assert outcome(run("policy", "test", write("a.toml", text)))[1] == (
        "ok   a.toml: caf\\xe9\\n::error::x: refs/heads/x: allowed\n"
    )
    _, _, err = outcome(run("policy", "test", "n\xf6\n.toml"))
    assert err == "credgate: n\\xf6\\n.toml: No such file or directory\n"


# ``credgate check-config``.

GOOD = '[forges."github.com"]\nkind = "github"\nurl = "https://github.com"\ncredential = "env://NOT_SET"\n'


def test_valid_configuration_is_reported_with_its_digests(tmp_path: Path) -> None:
    """No secret is read."""
    file = tmp_path / "credgate.toml"
    file.write_text(GOOD)
    result = credgate("check-config", str(file))
    assert result.status == 0
    assert result.out.startswith(f"{file}: configuration ")
    assert result.out.endswith(", forges: github.com\n")
    result = credgate("check-config", str(file), "--json")
    jsonschema.validate(result.json, schema("check-config"))
    assert result.json["usable"] is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", ":1: not TOML"),
        ("[limits]\nmax_heads = 1\n", ":2: limits.max_heads: unknown key"),
        ('[dns]\nallow = ["*"]\n', ":2: dns.allow"),
        (GOOD.replace('"github"', '"cvs"'), ':2: forges."github.com".kind: "cvs" is unknown'),
        (GOOD.replace("env://NOT_SET", "ghp_0123"), "credential"),
    ],
)
def test_invalid_configuration_is_reported_with_file_line_and_key(tmp_path: Path, text: str, said: str) -> None:
    """The message never contains a literal secret."""
    file = tmp_path / "credgate.toml"
    file.write_text(text)
    result = credgate("check-config", str(file))
    assert result.status == 2
    assert said in result.line
    assert "ghp_0123" not in result.line
    result = credgate("--json", "check-config", str(file))
    jsonschema.validate(result.json, schema("check-config"))
    assert (result.status, result.json["usable"]) == (2, False)
