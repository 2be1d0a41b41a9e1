"""Loading: which of file, environment and default holds, and that every mistake is one line with its place.

``testdata`` holds one broken configuration a file; its first line is the error that must come of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli_w
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from credgate.errors import ConfigError
from credgate.loading.load import MAX_FILE_BYTES, config_hash, from_environment, load

if TYPE_CHECKING:
    from credgate.config.schema import Config

TESTDATA = Path(__file__).parent / "testdata"
BROKEN = sorted(TESTDATA.glob("*.toml"))
HOME = {"HOME": "/home/agent"}


def _load(folder: Path, text: str, environ: dict[str, str] | None = None, uid: int = 1000) -> Config:
    path = folder / "credgate.toml"
    path.write_text(text)
    return load(path, HOME if environ is None else environ, uid=uid)


def _refused(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(folder, text, environ)
    return str(caught.value).removeprefix(str(folder / "credgate.toml"))


@pytest.mark.parametrize("path", BROKEN, ids=[path.stem for path in BROKEN])
def test_broken_file_is_refused_with_one_line(path: Path) -> None:
    """The line has file, line number, key and the expected form, and no credential."""
    with pytest.raises(ConfigError) as caught:
        load(path, HOME, uid=1000)
    line = str(caught.value)
    expected = path.read_text().splitlines()[0].removeprefix("# error: ")
    if path.stem.startswith("syntax"):
        # The sentence is tomllib's and differs between Pythons; place and beginning are ours.
        line, expected = line[: line.index("TOML:")], expected[: expected.index("TOML:")]
    assert line == f"{path}:{expected}"
    assert "\n" not in line
    assert "CANARY" not in line


def test_broken_files_exist() -> None:
    """The parametrized test must not become empty if the folder moves."""
    assert len(BROKEN) >= 80


def test_empty_file_equals_no_file(tmp_path: Path) -> None:
    """A file only overrides defaults."""
    assert _load(tmp_path, "") == _sourced(from_environment(HOME, uid=1000), tmp_path)


def _sourced(config: Config, folder: Path) -> Config:
    return evolve(config, source=str(folder / "credgate.toml"))


def test_keys_in_the_file_override_the_environment_separately(tmp_path: Path) -> None:
    """Other keys of the table keep the value of the environment."""
    environ = HOME | {"GATEWAY_CONNECT_TIMEOUT": "5", "GATEWAY_READ_TIMEOUT": "50", "GATEWAY_PORT": "9000"}
    config = _load(tmp_path, '[limits]\nconnect_timeout = "7s"\n[listen]\ndns = ""', environ)
    assert (config.limits.connect_timeout, config.limits.forge_timeout) == (7.0, 50.0)
    assert (config.listen.git, config.listen.dns) == ("tcp:9000:interface=127.0.0.1", "")


def test_omitted_directories_come_from_the_environment(tmp_path: Path) -> None:
    """The defaults are the same as without a file."""
    config = _load(tmp_path, "[sessions]\nmax_sessions = 7", {"CREDGATE_STATE_DIRECTORY": "/srv/state"})
    assert config.sessions.store == "sqlite:////srv/state/sessions.db"
    assert config.listen.control == "/srv/state/control.sock"
    assert config.sessions.max_sessions == 7


def test_configured_directories_need_no_home(tmp_path: Path) -> None:
    """A container without HOME must start."""
    text = '[sessions]\nstore = "memory:"\n[listen]\ncontrol = "/run/c.sock"'
    assert _load(tmp_path, text, {}).sessions.store_path == ""
    assert _refused(tmp_path, '[listen]\ncontrol = "/run/c.sock"', {}).startswith(
        ": sessions.store: no default directory"
    )


def test_forges_in_the_file_replace_the_built_in_one(tmp_path: Path) -> None:
    """The file lists all forges."""
    text = 'default_forge = "git.example.com"\n[forges."git.example.com"]\nurl = "https://GIT.example.com:8443/scm/"'
    config = _load(tmp_path, text, HOME | {"GITHUB_TOKEN": "t"})
    assert {name: forge.url for name, forge in config.forges.items()} == {
        "git.example.com": "https://git.example.com:8443/scm"
    }
    assert config.forges["git.example.com"].name == "git.example.com"
    assert config.forges["git.example.com"].credential == ""


def test_empty_github_table_has_defaults(tmp_path: Path) -> None:
    """Keys in the file win, even an empty credential."""
    environ = HOME | {"GH_TOKEN": "t"}
    assert _load(tmp_path, '[forges."github.com"]', environ).forges == from_environment(environ, uid=1).forges
    written = _load(tmp_path, '[forges."github.com"]\ncredential = ""', environ).forges["github.com"]
    assert (written.kind, written.url, written.credential) == ("github", "https://github.com", "")
    generic = _load(tmp_path, '[forges."github.com"]\nkind = "generic"', environ).forges["github.com"]
    assert (generic.kind, generic.credential) == ("generic", "env://GH_TOKEN")


def test_token_of_the_environment_is_sent_to_github_only(tmp_path: Path) -> None:
    """A table of that name with another URL must not get it."""
    text = '[forges."github.com"]\nurl = "http://127.0.0.1:8000"'
    assert _load(tmp_path, text, HOME | {"GITHUB_TOKEN": "t"}).forges["github.com"].credential == ""


def test_invalid_variable_is_named_even_with_a_file(tmp_path: Path) -> None:
    """The mistake is in the variable, not in the file."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, "", HOME | {"GATEWAY_PORT": "http"})
    assert str(caught.value) == "GATEWAY_PORT: expected a whole number"


def test_uid_defaults_to_that_of_the_process(tmp_path: Path) -> None:
    """Callers that leave uid out get root's or the user's directories."""
    path = tmp_path / "credgate.toml"
    path.write_text("")
    assert load(path, HOME) == load(path, HOME, uid=os.geteuid())
    assert from_environment(HOME) == from_environment(HOME, uid=os.geteuid())


def test_missing_file_is_reported_in_one_line(tmp_path: Path) -> None:
    """This is the most common mistake."""
    path = tmp_path / "none.toml"
    with pytest.raises(ConfigError) as caught:
        load(path, HOME)
    assert str(caught.value) == f"{path}: the file cannot be read: No such file or directory"


def test_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    """TOML must be UTF-8."""
    path = tmp_path / "credgate.toml"
    path.write_bytes(b"# one\n\xff = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(path, HOME)
    assert str(caught.value) == f"{path}:2: the file is not UTF-8 text"


def test_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """A device or a log must not be read to its end."""
    assert _load(tmp_path, "#" * MAX_FILE_BYTES)
    assert _refused(tmp_path, "#" * (MAX_FILE_BYTES + 1)) == ": the file is too large: at most 1 MiB is read"


def test_excessive_nesting_and_digits_are_refused(tmp_path: Path) -> None:
    """For these, tomllib raises other exceptions for these."""
    assert "not TOML" in _refused(tmp_path, "a = " + "[" * 20000)
    assert "not TOML" in _refused(tmp_path, "a = " + "1" * 5000)


def test_crlf_counts_as_one_line_end(tmp_path: Path) -> None:
    """The line number must match an editor."""
    path = tmp_path / "credgate.toml"
    path.write_bytes(b"# one\r\n\r\n[session]\r\n")
    with pytest.raises(ConfigError, match=r"toml:3: session: "):
        load(path, HOME)


def test_service_error_has_file_and_line(tmp_path: Path) -> None:
    """Only Twisted can check an endpoint."""
    config = _load(tmp_path, '[listen]\n\ngit = "tpc:8080"')
    assert str(config.error("no such endpoint", "listen", "git")) == f"{config.source}:3: listen.git: no such endpoint"


def test_hash_changes_with_values_only(tmp_path: Path) -> None:
    """Operators compare it after a reload."""
    one = _load(tmp_path, '[sessions]\nidle_ttl = "60m"')
    same = _load(tmp_path, '# a comment\nsessions.idle_ttl = "1h"')
    other = _load(tmp_path, '[sessions]\nidle_ttl = "61m"')
    assert config_hash(one) == config_hash(same) != config_hash(other)
    assert len(config_hash(one)) == 12


_NAMES = st.sampled_from(["listen", "sessions", "forges", "dns", "limits", "git", "store", "url", "github.com", "x"])
_VALUES = st.recursive(
    st.one_of(
        st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["1h", "memory:", "any"])
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=4),
)


@given(st.dictionaries(_NAMES, _VALUES, max_size=4))
def test_arbitrary_document_is_loaded_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    """The tree of exceptions of cattrs must not escape."""
    line = "loaded"
    try:
        _load(tmp_path_factory.getbasetemp(), tomli_w.dumps(values))
    except ConfigError as error:
        line = str(error)
    assert len(line.splitlines()) == 1


def test_loading_does_not_import_twisted(tmp_path: Path) -> None:
    """The CLI loads a configuration without a reactor."""
    (tmp_path / "credgate.toml").write_text("")
    script = "import sys, pathlib; sys.modules['twisted'] = None\nfrom credgate.loading.load import load\n"
    script += "load(pathlib.Path(sys.argv[1]), {'HOME': '/h'})"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "credgate.toml")], check=True, timeout=60)
