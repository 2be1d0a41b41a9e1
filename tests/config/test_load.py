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

from credgate.config.load import MAX_FILE_BYTES, config_hash, from_environment, load
from credgate.errors import ConfigError

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
def test_a_broken_file_is_refused_with_one_line(path: Path) -> None:
    """The operator reads file, line, key and what was meant; nothing that looks like a credential is repeated."""
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


def test_there_are_broken_files_of_every_table() -> None:
    """The table above must not have become empty by a moved folder."""
    assert len(BROKEN) >= 80


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    """A file only says what differs."""
    assert _load(tmp_path, "") == _sourced(from_environment(HOME, uid=1000), tmp_path)


def _sourced(config: Config, folder: Path) -> Config:
    return evolve(config, source=str(folder / "credgate.toml"))


def test_written_keys_win_over_the_environment_one_by_one(tmp_path: Path) -> None:
    """A key that is written says so; its neighbours keep what the ancestor's variables say."""
    environ = HOME | {"GATEWAY_CONNECT_TIMEOUT": "5", "GATEWAY_READ_TIMEOUT": "50", "GATEWAY_PORT": "9000"}
    config = _load(tmp_path, '[limits]\nconnect_timeout = "7s"\n[listen]\ndns = ""', environ)
    assert (config.limits.connect_timeout, config.limits.forge_timeout) == (7.0, 50.0)
    assert (config.listen.git, config.listen.dns) == ("tcp:9000:interface=127.0.0.1", "")


def test_left_out_directories_are_the_environments(tmp_path: Path) -> None:
    """The same defaults serve a file that leaves store and socket out."""
    config = _load(tmp_path, "[sessions]\nmax_sessions = 7", {"CREDGATE_STATE_DIRECTORY": "/srv/state"})
    assert config.sessions.store == "sqlite:////srv/state/sessions.db"
    assert config.listen.control == "/srv/state/control.sock"
    assert config.sessions.max_sessions == 7


def test_written_directories_need_no_home(tmp_path: Path) -> None:
    """A container without HOME starts when its file names both places."""
    text = '[sessions]\nstore = "memory:"\n[listen]\ncontrol = "/run/c.sock"'
    assert _load(tmp_path, text, {}).sessions.store_path == ""
    assert _refused(tmp_path, '[listen]\ncontrol = "/run/c.sock"', {}).startswith(
        ": sessions.store: no default directory"
    )


def test_tables_of_forges_replace_the_built_in_one(tmp_path: Path) -> None:
    """Who writes forges says which exist: github.com is not served beside them unasked."""
    text = 'default_forge = "git.example.com"\n[forges."git.example.com"]\nurl = "https://GIT.example.com:8443/scm/"'
    config = _load(tmp_path, text, HOME | {"GITHUB_TOKEN": "t"})
    assert {name: forge.url for name, forge in config.forges.items()} == {
        "git.example.com": "https://git.example.com:8443/scm"
    }
    assert config.forges["git.example.com"].name == "git.example.com"
    assert config.forges["git.example.com"].credential == ""


def test_github_needs_no_more_than_its_name(tmp_path: Path) -> None:
    """Kind, URL and the environment's token are known; what is written wins, the empty credential too."""
    environ = HOME | {"GH_TOKEN": "t"}
    assert _load(tmp_path, '[forges."github.com"]', environ).forges == from_environment(environ, uid=1).forges
    written = _load(tmp_path, '[forges."github.com"]\ncredential = ""', environ).forges["github.com"]
    assert (written.kind, written.url, written.credential) == ("github", "https://github.com", "")
    generic = _load(tmp_path, '[forges."github.com"]\nkind = "generic"', environ).forges["github.com"]
    assert (generic.kind, generic.credential) == ("generic", "env://GH_TOKEN")


def test_the_environments_token_goes_to_github_alone(tmp_path: Path) -> None:
    """A table of that name that points elsewhere must not carry the token there."""
    text = '[forges."github.com"]\nurl = "http://127.0.0.1:8000"'
    assert _load(tmp_path, text, HOME | {"GITHUB_TOKEN": "t"}).forges["github.com"].credential == ""


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    """Under a file too: the place of that mistake is the variable."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, "", HOME | {"GATEWAY_PORT": "http"})
    assert str(caught.value) == "GATEWAY_PORT: expected a whole number"


def test_this_processs_uid_is_the_default(tmp_path: Path) -> None:
    """Callers that leave uid out get root's or the user's directories."""
    path = tmp_path / "credgate.toml"
    path.write_text("")
    assert load(path, HOME) == load(path, HOME, uid=os.geteuid())
    assert from_environment(HOME) == from_environment(HOME, uid=os.geteuid())


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """The most common mistake of all."""
    path = tmp_path / "none.toml"
    with pytest.raises(ConfigError) as caught:
        load(path, HOME)
    assert str(caught.value) == f"{path}: the file cannot be read: No such file or directory"


def test_a_file_that_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    """TOML is UTF-8; the byte that is not has a line."""
    path = tmp_path / "credgate.toml"
    path.write_bytes(b"# one\n\xff = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(path, HOME)
    assert str(caught.value) == f"{path}:2: the file is not UTF-8 text"


def test_a_file_beyond_measure_is_refused(tmp_path: Path) -> None:
    """A device or a log in place of a configuration is not read to its end."""
    assert _load(tmp_path, "#" * MAX_FILE_BYTES)
    assert _refused(tmp_path, "#" * (MAX_FILE_BYTES + 1)) == ": the file is too large: at most 1 MiB is read"


def test_nesting_and_digits_beyond_measure_are_refused(tmp_path: Path) -> None:
    """What tomllib gives up on is a line too, not a traceback."""
    assert "not TOML" in _refused(tmp_path, "a = " + "[" * 20000)
    assert "not TOML" in _refused(tmp_path, "a = " + "1" * 5000)


def test_line_ends_of_windows_count_once(tmp_path: Path) -> None:
    """The line named is the line an editor shows."""
    path = tmp_path / "credgate.toml"
    path.write_bytes(b"# one\r\n\r\n[session]\r\n")
    with pytest.raises(ConfigError, match=r"toml:3: session: "):
        load(path, HOME)


def test_a_shell_can_place_its_own_error(tmp_path: Path) -> None:
    """What only Twisted can judge is reported in the same form."""
    config = _load(tmp_path, '[listen]\n\ngit = "tpc:8080"')
    assert str(config.error("no such endpoint", "listen", "git")) == f"{config.source}:3: listen.git: no such endpoint"


def test_the_hash_changes_with_values_only(tmp_path: Path) -> None:
    """Two files that mean the same have one hash; it is what operators compare after a reload."""
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
def test_any_document_is_loaded_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]
) -> None:
    """Never another exception: cattrs' tree of errors ends here."""
    line = "loaded"
    try:
        _load(tmp_path_factory.getbasetemp(), tomli_w.dumps(values))
    except ConfigError as error:
        line = str(error)
    assert len(line.splitlines()) == 1


def test_loading_needs_no_twisted(tmp_path: Path) -> None:
    """A core: the CLI and the checks load a configuration without a reactor."""
    (tmp_path / "credgate.toml").write_text("")
    script = "import sys, pathlib; sys.modules['twisted'] = None\nfrom credgate.config.load import load\n"
    script += "load(pathlib.Path(sys.argv[1]), {'HOME': '/h'})"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "credgate.toml")], check=True, timeout=60)
