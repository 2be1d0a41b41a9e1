"""A gateway does not start on libraries that are older than its bounds."""

from __future__ import annotations

from importlib import metadata

import pytest

from credgate.errors import ConfigError
from credgate.service import versions
from credgate.service.versions import check_installed, unfit_for

INSTALLED = metadata.version("attrs")


def test_what_is_new_enough_is_not_spoken_of() -> None:
    """The bound itself, an older one, none at all."""
    assert list(unfit_for([f"attrs>={INSTALLED}", "attrs>=1", "attrs"])) == []


def test_what_is_too_old_is_named_with_what_is_needed() -> None:
    """And the others are looked at as well."""
    assert list(unfit_for(["attrs>=9999", "treq", "klein>=9999.1"])) == [
        f"attrs {INSTALLED} is installed, and credgate needs >=9999",
        f"klein {metadata.version('klein')} is installed, and credgate needs >=9999.1",
    ]


def test_what_is_not_there_is_named() -> None:
    """Before it fails in the middle of something."""
    assert list(unfit_for(["no-such-library>=1"])) == [
        "no-such-library is not installed, and credgate needs no-such-library>=1"
    ]


def test_what_only_an_extra_needs_is_nobodys_matter() -> None:
    """Who did not ask for the keyring need not have it; markers of the machine are heeded."""
    others = ['no-such-library>=1; extra == "keyring"', 'no-such-library; python_version < "3"']
    assert list(unfit_for(others)) == []
    assert len(list(unfit_for(['no-such-library; python_version >= "3"']))) == 1


def test_the_start_ends_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With credgate's own bounds it goes on."""
    check_installed()
    monkeypatch.setattr(versions.metadata, "requires", lambda name: ["attrs>=9999"] if name == "credgate" else [])
    with pytest.raises(ConfigError) as raised:
        check_installed()
    assert str(raised.value) == (
        f"attrs {INSTALLED} is installed, and credgate needs >=9999: install credgate anew, with what it asks for"
    )


def test_a_checkout_that_was_never_installed_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no bounds that could be read."""

    def nothing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(versions.metadata, "requires", nothing)
    check_installed()
