"""``credgate policy test``: one line for each expectation, three exit statuses, never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from credgate.cli.main import main
from credgate.cli.policy import line
from credgate.git.fixtures import FixtureOutcome
from credgate.values import Decision, Reason

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
    """Run ``credgate`` as its console script would."""
    return CliRunner().invoke(main, words)


def write(name: str, text: str) -> str:
    """Write a file in the current folder; return its name."""
    Path(name).write_text(text, encoding="utf-8")
    return name


def told(result: Result) -> tuple[int, str, str]:
    """Return the exit status and both outputs; whatever ended it was meant."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_what_is_as_expected_is_status_0() -> None:
    """One line for each expectation."""
    assert told(run("policy", "test", write("a.toml", MET))) == (
        0,
        "ok   a.toml: a branch: refs/heads/x: allowed\n",
        "",
    )


def test_what_is_not_is_status_1_and_says_what_came_instead() -> None:
    """With the rule that decided and what git would be told; the other files are judged, too."""
    status, out, err = told(run("policy", "test", write("a.toml", MISSED), write("b.toml", MET)))
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
def test_a_fixture_that_cannot_be_used_is_status_2(text: str, said: str) -> None:
    """One line on standard error; also when another file is judged well, or not as expected."""
    status, out, err = told(run("policy", "test", write("a.toml", text), write("b.toml", MISSED)))
    assert (status, out[:13], err.count("\n")) == (2, "FAIL b.toml: ", 1)
    assert err.startswith(said)
    assert told(run("policy", "test", write("a.toml", MET)))[0] == 0


def test_a_file_that_cannot_be_read_is_status_2() -> None:
    """Missing, a folder, or not text."""
    Path("folder").mkdir()
    Path("latin.toml").write_bytes(b'label = "\xe9"\n')
    result = run("policy", "test", "missing.toml", "folder", "latin.toml")
    assert told(result) == (
        2,
        "",
        (
            "credgate: missing.toml: No such file or directory\n"
            "credgate: folder: Is a directory\n"
            "credgate: latin.toml: not TOML: it is not UTF-8\n"
        ),
    )


def test_the_configured_forges_and_policy_hold() -> None:
    """Without the secrets that the gateway itself would need: CI has none."""
    forge = '[forges."git.example"]\nurl = "https://git.example"\ncredential = "env://NOT_SET_HERE"\n'
    config = write("credgate.toml", f'default_forge = "git.example"\n[policy]\n{CLOSED}{forge}')
    fixture = write("a.toml", MET.replace("octo/hello", "deep/er/hello"))
    status, out, _ = told(run("policy", "test", fixture, "--config", config))
    assert (status, "got push-verb by policy.push[0] refs/heads/x" in out) == (1, True)
    own = write("b.toml", Path(fixture).read_text(encoding="utf-8") + "[policy]\n")
    assert told(run("policy", "test", "--config", config, own))[0] == 0
    assert told(run("policy", "test", fixture))[0] == 2  # that repository is none on github.com


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[policy]\nmax_ref = 1\n", "credgate: credgate.toml:2: policy.max_ref: unknown key"),
        ('[policy]\npush = [{refs = "main", allow = []}]\n', "credgate: credgate.toml:2: policy.push"),
        ('[forges.x]\nurl = "http://x.example"\n', "credgate: "),
        ("[", "credgate: credgate.toml:1: "),
    ],
)
def test_a_configuration_that_cannot_be_used_is_status_2(text: str, said: str) -> None:
    """With file and line, and nothing is judged."""
    status, out, err = told(run("policy", "test", write("a.toml", MET), "--config", write("credgate.toml", text)))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(said)


def test_a_missing_configuration_is_status_2() -> None:
    """Judging by no policy at all instead would pass what production refuses."""
    status, out, err = told(run("policy", "test", write("a.toml", MET), "--config", "none.toml"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "none.toml" in err


def test_quiet_prints_what_is_not_as_expected_alone() -> None:
    """A log of a thousand good lines hides the bad one."""
    names = write("a.toml", MET), write("b.toml", MISSED)
    assert told(run("policy", "test", "-q", names[0])) == (0, "", "")
    status, out, _ = told(run("policy", "test", "--quiet", *names))
    assert (status, out.count("\n"), out[:12]) == (1, 1, "FAIL b.toml:")


def test_the_projects_own_fixtures_pass() -> None:
    """The rules' tests and operators use the same command."""
    status, out, err = told(run("policy", "test", *map(str, OWN)))
    assert (status, err) == (0, "")
    assert len(out.splitlines()) > 35


@given(st.text())
def test_a_line_stays_a_line(name: str) -> None:
    """A pull request's texts are printed in somebody's CI, whose log may read commands out of lines."""
    decision = Decision(allow=True, reason=Reason.ALLOWED)
    told_line = line(Path("a.toml"), FixtureOutcome(name, "", "allowed", "", decision))
    assert (told_line[:13], told_line.isascii(), told_line.isprintable()) == ("ok   a.toml: ", True, True)


def test_what_is_no_ascii_is_escaped() -> None:
    """In what is expected, in what is complained of, and in a file's own name."""
    text = MET.replace("a branch", "caf\xe9\\n::error::x")
    assert told(run("policy", "test", write("a.toml", text)))[1] == (
        "ok   a.toml: caf\\xe9\\n::error::x: refs/heads/x: allowed\n"
    )
    _, _, err = told(run("policy", "test", "n\xf6\n.toml"))
    assert err == "credgate: n\\xf6\\n.toml: No such file or directory\n"
