"""``docs/configuration.md`` says what the code does: its example loads, its tables name every key and default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, fields_dict

from credgate.config.environment import GITHUB, Environment, defaults
from credgate.config.schema import FORGE_TABLES, SECTIONS, Config, DnsConfig, ForgeConfig
from credgate.config.structure import keys
from credgate.loading.load import load

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
EXAMPLE = "".join(re.findall(r"^```toml\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE))
TABLES: dict[str, type[Any]] = {
    **SECTIONS,
    'forges."NAME"': ForgeConfig,
    **{f'forges."NAME".{name}': cls for name, cls in FORGE_TABLES.items()},
}


def _rows(heading: str) -> dict[str, str]:
    """Return the keys under a heading with what stands as their default."""
    section = DOCUMENT.split(f"{heading}\n", maxsplit=1)[1].split("\n#", maxsplit=1)[0]
    return dict(re.findall(r"^\| `([a-z_]+)` \|[^|]*\| `?([^|`]*)`? \|", section, re.MULTILINE))


def test_example_loads_with_the_defaults(tmp_path: Path) -> None:
    """People copy the example, so it must load and have the default of every key it does not set."""
    path = tmp_path / "credgate.toml"
    path.write_text(EXAMPLE)
    shown = DnsConfig(
        allow=("*.example.com", "!internal.example.com", "example.org TXT,MX"), static={"gateway": ("10.0.0.2",)}
    )
    other = ForgeConfig(
        name="git.example.com",
        url="https://git.example.com/scm",
        username="gateway-bot",
        credential="file:///run/secrets/git-example",
        credentials={"team/*": "file:///run/secrets/git-example-team"},
    )
    forges = {GITHUB.name: evolve(GITHUB, credential="env://GITHUB_TOKEN"), other.name: other}
    assert load(path, {}, uid=0) == Config(dns=shown, forges=forges, source=str(path))


def test_example_contains_every_key() -> None:
    """A new key must be documented."""
    written = tomllib.loads(EXAMPLE)
    for section, cls in SECTIONS.items():
        assert set(written[section]) == set(keys(cls))
    assert set(written["forges"]["git.example.com"]) == set(keys(ForgeConfig)) - set(FORGE_TABLES)
    assert set(written) == set(keys(Config))


@pytest.mark.parametrize(("section", "cls"), TABLES.items(), ids=list(TABLES))
def test_tables_list_every_key_with_its_default(section: str, cls: type[Any]) -> None:
    """The documented default must equal that of the schema, read by the same form as a value in a file."""
    rows = _rows(f"### `[{section}]`")
    tables = set(FORGE_TABLES) if cls is ForgeConfig else set()
    assert set(rows) == set(keys(cls)) - tables
    schema = cls(name="x") if cls is ForgeConfig else cls()
    for key, text in rows.items():
        if text == "none":
            assert getattr(schema, key) == ""
        else:
            form = fields_dict(cls)[key].metadata["form"]
            assert form(tomllib.loads(f"key = {text}")["key"]) == getattr(schema, key), key


def test_top_level_keys_are_documented() -> None:
    """Keys outside of any table are documented separately."""
    assert _rows("## The keys") == {"default_forge": '"github.com"'}


def test_every_environment_variable_is_documented() -> None:
    """The variables are recorded while the code reads them."""
    looked: set[str] = set()

    class Noting(dict[str, str]):
        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            looked.add(name)
            return default

    defaults(Environment(Noting(), 1000))
    assert looked >= {"GITHUB_TOKEN", "GATEWAY_PORT", "CREDGATE_STATE_DIRECTORY"}
    missing = {name for name in looked - {"HOME"} if not re.search(rf"`\$?{name}\b", DOCUMENT)}
    assert missing == set()
