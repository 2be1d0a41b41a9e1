"""From tables to sources: what cannot work stops the start, with its key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from cryptography.fernet import Fernet

from credgate.config.schema import Forge
from credgate.config.short_lived import App, OAuth, Rotate
from credgate.errors import ConfigError
from tests.fakes.github_api import make_key
from tests.fakes.minting import Lab

if TYPE_CHECKING:
    from pathlib import Path

PEM = make_key()[0]
ENVIRON = {"PEM": PEM, "TOKEN": "glpat-0123456789", "KEY": Fernet.generate_key().decode(), "SHORT": "x"}
APP = App("42", "env://PEM")
ROTATE = Rotate("env://TOKEN", "env://KEY")
OAUTH = OAuth("id", "env://TOKEN", "env://TOKEN", "env://KEY")


@pytest.mark.parametrize(
    ("forge", "kind"),
    [
        (Forge("a", "github", "https://github.com", app=APP), "app"),
        (Forge("a", "gitlab", "https://gitlab.com", rotate=ROTATE), "rotated"),
        (Forge("a", "gitea", "https://gitea.example", oauth=OAUTH), "oauth"),
        (Forge("a", "bitbucket", "https://bitbucket.org", oauth=OAUTH), "oauth"),
    ],
)
def test_each_table_makes_its_source(tmp_path: Path, forge: Forge, kind: str) -> None:
    """Nothing is asked yet."""
    assert Lab(tmp_path).source(forge, ENVIRON).kind == kind


@pytest.mark.parametrize(
    ("forge", "key"),
    [
        (Forge("a", "github", "https://github.com", app=App("42", "env://TOKEN")), "app.private_key"),
        (Forge("a", "github", "https://github.com", app=App("42", "env://NONE")), "app.private_key"),
        (Forge("a", "gitlab", "https://gitlab.com", rotate=Rotate("env://TOKEN", "env://SHORT")), "rotate.key"),
        (Forge("a", "gitlab", "https://gitlab.com", rotate=Rotate("env://NONE", "env://KEY")), "rotate.token"),
        (
            Forge("a", "gitea", "https://g.example", oauth=OAuth("id", "env://NONE", "env://TOKEN", "env://KEY")),
            "oauth.client_secret",
        ),
    ],
)
def test_what_cannot_work_is_named(tmp_path: Path, forge: Forge, key: str) -> None:
    """By its key, without a value."""
    with pytest.raises(ConfigError) as caught:
        Lab(tmp_path).source(forge, ENVIRON)
    assert caught.value.key == key
    assert "glpat" not in str(caught.value)
    assert "PATH" in os.environ
