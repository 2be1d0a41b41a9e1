"""Which driver serves what, and which tables stop the start."""

from __future__ import annotations

import pytest

from credgate.config.schema import Config, ForgeConfig
from credgate.config.structure import KINDS
from credgate.errors import ConfigError
from credgate.forges.generic import Generic
from credgate.forges.github import GitHub
from credgate.forges.registry import driver_for


def test_kinds_have_their_drivers() -> None:
    """The kind alone decides, never the URL."""
    assert isinstance(driver_for(ForgeConfig("a", "github", "https://git.example")), GitHub)
    assert isinstance(driver_for(ForgeConfig("b", "generic", "https://github.com")), Generic)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_may_be_written_has_a_driver_of_its_own(kind: str) -> None:
    """The configuration accepts a kind only if something serves it."""
    made = driver_for(ForgeConfig("a", kind, "https://git.example"))
    assert type(made).__name__.lower() == kind.replace("-", "")


def test_the_default_configuration_can_be_served() -> None:
    """No file is needed to serve github.com."""
    drivers = [driver_for(forge) for forge in Config().forges.values()]
    assert [driver.authority for driver in drivers] == ["github.com"]


@pytest.mark.parametrize(
    ("forge", "text"),
    [
        (
            ForgeConfig("x", "gitlub", "https://x.example"),
            (
                'forges."x".kind: unknown kind; known are azure, bitbucket, '
                "bitbucket-datacenter, generic, gitea, github, gitlab"
            ),
        ),
        (ForgeConfig("x", "generic", ""), 'forges."x".url: expected https://host[:port][/prefix]'),
        (
            ForgeConfig("x", "generic", "http://x.example"),
            ('forges."x".url: plain http sends the credential in clear: use https, or allow_plain_http = true'),
        ),
        (
            ForgeConfig("x", "generic", "https://x.example", "a:b"),
            ('forges."x".username: a user name is printable ASCII without a colon'),
        ),
        (
            ForgeConfig("x", "generic", "https://x.example", "a\nb"),
            ('forges."x".username: a user name is printable ASCII without a colon'),
        ),
        (
            ForgeConfig("a/b", "generic", "https://x.example"),
            ('forges."a/b": a forge\'s name is letters, digits, dots and hyphens, at most 63'),
        ),
        (
            ForgeConfig("", "generic", "https://x.example"),
            ('forges."": a forge\'s name is letters, digits, dots and hyphens, at most 63'),
        ),
    ],
)
def test_a_table_that_cannot_be_used_stops_the_start(forge: ForgeConfig, text: str) -> None:
    """The operator reads one line that names the key and what was meant."""
    with pytest.raises(ConfigError) as caught:
        driver_for(forge)
    assert str(caught.value) == text


def test_plain_http_is_allowed_by_configuration() -> None:
    """The positive control of the refusal above."""
    assert driver_for(ForgeConfig("x", "generic", "http://x.example", allow_plain_http=True)).tls is False


def test_a_forge_name_that_the_router_refuses_is_an_error() -> None:
    """Else a forge would be configured that no request can reach."""
    longest = "a" * 63
    assert driver_for(ForgeConfig(longest, "generic", "https://x.example")).forge.name == longest
    with pytest.raises(ConfigError, match="at most 63"):
        driver_for(ForgeConfig(longest + "a", "generic", "https://x.example"))
